//! An actor that keeps what it was told, in the order in which it ran.

use fdbray::prelude::*;
use serde::{Deserialize, Serialize};
use std::{fs, io::Write, process, thread, time::Duration};

/// Keeps what it was told. When it is dropped it writes how much that was into a file, if it has one.
#[derive(Debug)]
pub struct Journal {
    lines: Vec<(u64, u64)>,
    end: Option<String>,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{n} is refused")]
pub struct Refused {
    /// What.
    pub n: u64,
}

#[actor]
impl Journal {
    /// An empty one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Journal { lines: Vec::new(), end: None }
    }

    /// One that writes this file at its end.
    pub fn ending_with(file: &str) -> Self {
        Journal { lines: Vec::new(), end: Some(file.to_owned()) }
    }

    /// Appends a line to a file when it starts to be made, and takes its time.
    ///
    /// # Errors
    /// If it cannot write.
    pub async fn slowly(starts: &str, millis: u64) -> std::io::Result<Self> {
        fs::OpenOptions::new().append(true).create(true).open(starts)?.write_all(b"start\n")?;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(Journal::new())
    }

    /// Never one.
    ///
    /// # Errors
    /// Always.
    pub fn refused(n: u64) -> Result<Self, Refused> {
        Err(Refused { n })
    }

    /// Never one either.
    ///
    /// # Panics
    /// Always.
    pub fn panicking(message: &str) -> Self {
        panic!("{message}")
    }

    /// Keeps a line and says how many there are.
    pub fn write(&mut self, caller: u64, n: u64) -> usize {
        self.lines.push((caller, n));
        self.lines.len()
    }

    /// The same, and waits before and after it.
    pub async fn write_slowly(&mut self, caller: u64, n: u64, millis: u64) -> usize {
        let pause = Duration::from_millis(millis);
        tokio::time::sleep(pause).await;
        self.lines.push((caller, n));
        let count = self.lines.len();
        tokio::time::sleep(pause).await;
        count
    }

    /// The same as `write`, sent again when the worker dies.
    #[actor(retries = 100)]
    pub fn write_surely(&mut self, caller: u64, n: u64) -> usize {
        self.write(caller, n)
    }

    /// Keeps a line unless it is refused.
    ///
    /// # Errors
    /// Where `n` is odd.
    pub fn write_even(&mut self, caller: u64, n: u64) -> Result<usize, Refused> {
        if n % 2 == 1 { Err(Refused { n }) } else { Ok(self.write(caller, n)) }
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// All of them.
    pub fn lines(&self) -> Vec<(u64, u64)> {
        self.lines.clone()
    }

    /// The process that it is in.
    pub fn pid(&self) -> u32 {
        process::id()
    }

    /// The same, asked again when the worker dies.
    #[actor(retries = 100)]
    pub fn pid_surely(&self) -> u32 {
        process::id()
    }

    /// Panics while it changes the state.
    ///
    /// # Panics
    /// Always.
    pub fn breaks(&mut self) {
        self.lines.clear();
        panic!("broken in the middle")
    }

    /// Panics while it reads.
    ///
    /// # Panics
    /// Always.
    pub fn stumbles(&self) {
        panic!("stumbled over {} lines", self.lines.len())
    }

    /// Awaits a call of itself, which can start only when this has ended.
    ///
    /// # Errors
    /// What that call ends with.
    pub fn asks_itself(&mut self, itself: JournalHandle) -> fdbray::Result<usize> {
        itself.write(0, 1).wait()
    }

    /// The same, async.
    ///
    /// # Errors
    /// What that call ends with.
    pub async fn asks_itself_later(&mut self, itself: JournalHandle) -> fdbray::Result<usize> {
        itself.write(0, 2).await
    }

    /// Says that it runs, by a file, and never returns.
    pub fn blocks(&mut self, file: &str) {
        // Without it the test ends with what it waited for.
        let _ = fs::write(file, "blocked");
        loop {
            thread::park();
        }
    }

    /// The same, async.
    pub async fn hangs(&mut self, file: &str) {
        let _ = fs::write(file, "hangs");
        std::future::pending().await
    }

    /// The same, and before it first waits it takes its time.
    pub async fn hangs_slowly(&mut self, file: &str, millis: u64) {
        let _ = fs::write(file, "hangs");
        thread::sleep(Duration::from_millis(millis));
        std::future::pending().await
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(file) = &self.end {
            // The test waits for the file, which is whole when it is there, and says so if it never comes.
            let unfinished = format!("{file}.unfinished");
            let _ = fs::write(&unfinished, self.lines.len().to_string())
                .and_then(|()| fs::rename(unfinished, file));
        }
    }
}
