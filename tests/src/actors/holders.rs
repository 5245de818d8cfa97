//! Who else holds handles: tasks, values, other actors; and actors by the thousand.

use super::{Journal, JournalHandle};
use fdbray::{ProcessId, prelude::*};
use serde::{Deserialize, Serialize};
use std::{
    fs, future, process,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// A value with handles inside.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// Says whose.
    pub name: String,
    /// The handles.
    pub journals: Vec<JournalHandle>,
}

/// Writes `count` lines as `caller` without waiting in between, then waits for all of them, and gives the handles back.
///
/// # Errors
/// If a line was not written.
#[remote(cpus = 0)]
pub async fn write_by(bundle: Bundle, caller: u64, count: u64) -> fdbray::Result<Bundle> {
    let mut written = Vec::new();
    for n in 0..count {
        written.extend(bundle.journals.iter().map(|journal| journal.write(caller, n)));
    }
    for result in fdbray::settle(written).await {
        result?;
    }
    Ok(bundle)
}

/// Writes `count` lines as `caller` without waiting for them, says so by a file, and never ends.
#[remote(cpus = 0, retries = 0)]
pub async fn write_on(bundle: Bundle, caller: u64, count: u64, file: String) {
    let written =
        (0..count).flat_map(|n| bundle.journals.iter().map(move |journal| journal.write(caller, n)));
    let _written: Vec<_> = written.collect();
    // Without it the test ends with what it waited for.
    let _ = fs::write(file, "written");
    future::pending().await
}

/// A value with a handle of a new actor inside, which nobody else has.
#[remote(cpus = 0)]
pub fn bundle(file: &str) -> Bundle {
    Bundle { name: "new".into(), journals: vec![Journal::remote_ending_with(file)] }
}

/// Blocks a thread for the number of lines.
///
/// # Errors
/// If it cannot be read.
#[remote]
pub fn read_by(journal: JournalHandle) -> fdbray::Result<usize> {
    journal.count().wait()
}

/// An actor that holds another.
#[derive(Debug)]
pub struct Keeper {
    journal: Option<JournalHandle>,
    /// A value with the handle inside, which is never decoded.
    value: Option<RemoteFuture<Bundle>>,
}

#[actor]
impl Keeper {
    /// Holds this one.
    pub fn new(journal: JournalHandle) -> Self {
        Keeper { journal: Some(journal), value: None }
    }

    /// Makes the one that it holds.
    pub fn making(file: &str) -> Self {
        Keeper { journal: Some(Journal::remote_ending_with(file)), value: None }
    }

    /// Makes the one that it holds in that worker.
    pub fn making_at(file: &str, worker: ProcessId) -> Self {
        let journal = Journal::options().on(worker).remote_ending_with(file);
        Keeper { journal: Some(journal), value: None }
    }

    /// The process that it is in.
    pub fn pid(&self) -> u32 {
        process::id()
    }

    /// Writes a line into the journal that it holds.
    ///
    /// # Errors
    /// If it could not.
    pub async fn write(&self, n: u64) -> fdbray::Result<usize> {
        match &self.journal {
            Some(journal) => journal.write(0, n).await,
            None => Ok(0),
        }
    }

    /// Another handle of it.
    pub fn shown(&self) -> Option<JournalHandle> {
        self.journal.clone()
    }

    /// Puts it into a value of this worker's, and keeps that.
    ///
    /// # Errors
    /// If there is no room.
    pub fn puts(&mut self) -> fdbray::Result<()> {
        let journals = self.journal.iter().cloned().collect();
        self.value = Some(fdbray::put(&Bundle { name: "kept".into(), journals })?);
        Ok(())
    }

    /// Lets go of it.
    pub fn releases(&mut self) {
        self.journal = None;
    }
}

static ENDED: AtomicU64 = AtomicU64::new(0);

/// One of many.
#[derive(Debug)]
pub struct Member(u64);

#[actor]
impl Member {
    /// With its number.
    pub fn new(n: u64) -> Self {
        Member(n)
    }

    /// Adds to it.
    pub fn add(&mut self, k: u64) -> u64 {
        self.0 += k;
        self.0
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        ENDED.fetch_add(1, SeqCst);
    }
}

/// How many of them have ended in the process that runs it.
#[remote(cpus = 0)]
pub fn ended_members() -> u64 {
    ENDED.load(SeqCst)
}

/// A list of them, as a value.
#[derive(Debug, Serialize, Deserialize)]
pub struct Roll(pub Vec<MemberHandle>);
