//! Actors with checkpoints, which tell whether any call was lost or done twice.

use super::{Journal, JournalHandle};
use fdbray::{Blob, Checkpoint, RemoteFuture, prelude::*, remote};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, process, thread, time::Duration};

/// Adds up what it is told, and notes of each caller what came last. Callers count from one, so that whatever is missing or
/// comes twice is seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    total: u64,
    last: BTreeMap<u64, u64>,
    /// Calls that came out of turn.
    wrong: u64,
    /// Whether it can be saved, and be made again from that.
    flaw: Option<Flaw>,
    #[serde(default)]
    ballast: Vec<u8>,
    #[serde(default)]
    held: Vec<RemoteFuture<u64>>,
}

/// What is to go wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    /// `save` gives an error.
    Save,
    /// `save` panics.
    Panic,
    /// `restore` gives an error.
    Restore,
}

impl Book {
    fn add(&mut self, caller: u64, n: u64) -> Entry {
        let last = self.last.entry(caller).or_default();
        self.wrong += u64::from(n != *last + 1);
        *last = n;
        self.total += 1;
        Entry { n, total: self.total, wrong: self.wrong }
    }

    fn save(&self) -> fdbray::Result<Book> {
        match self.flaw {
            Some(Flaw::Save) => Err(Error::control("it will not be saved")),
            Some(Flaw::Panic) => panic!("broken while it is saved"),
            _ => Ok(Book {
                last: self.last.clone(),
                ballast: self.ballast.clone(),
                held: self.held.clone(),
                ..*self
            }),
        }
    }

    fn restore(saved: Book) -> fdbray::Result<Self> {
        match saved.flaw {
            Some(Flaw::Restore) => Err(Error::control("it will not be made again")),
            _ => Ok(saved),
        }
    }
}

/// What a call of [`Tally::add`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which of its caller's.
    pub n: u64,
    /// How many there are of all callers.
    pub total: u64,
    /// How many of them came out of turn.
    pub wrong: u64,
}

/// Of which each answer has a checkpoint behind it.
#[derive(Debug)]
pub struct Tally(Book);

impl Checkpoint for Tally {
    type Saved = Book;

    fn save(&self) -> fdbray::Result<Book> {
        self.0.save()
    }

    fn restore(saved: Book) -> fdbray::Result<Self> {
        Book::restore(saved).map(Tally)
    }
}

#[actor(checkpoint)]
impl Tally {
    /// Of nothing.
    #[allow(clippy::new_without_default)]
    #[actor(max_restarts = 100_000)]
    pub fn new() -> Self {
        Tally(Book::default())
    }

    /// Counts the call `n` of `caller`.
    pub fn add(&mut self, caller: u64, n: u64) -> Entry {
        self.0.add(caller, n)
    }

    /// The same, and waits before and after it.
    pub async fn add_slowly(&mut self, caller: u64, n: u64) -> Entry {
        tokio::time::sleep(Duration::from_micros(200)).await;
        let entry = self.0.add(caller, n);
        tokio::time::sleep(Duration::from_micros(200)).await;
        entry
    }

    /// The same, and gives many bytes.
    pub fn add_much(&mut self, caller: u64, n: u64, bytes: usize) -> (Entry, Blob) {
        (self.0.add(caller, n), Blob::from(vec![n as u8; bytes]))
    }

    /// Counts a call, and panics.
    ///
    /// # Panics
    /// Always.
    pub fn add_and_panic(&mut self, caller: u64, n: u64) {
        self.0.add(caller, n);
        panic!("after the {n}th call of {caller}")
    }

    /// Waits for a future that it was not given as an argument.
    ///
    /// # Errors
    /// What that ends with.
    pub async fn add_once_there(
        &mut self,
        caller: u64,
        n: u64,
        what: Vec<RemoteFuture<u64>>,
    ) -> fdbray::Result<u64> {
        self.0.add(caller, n);
        let mut sum = 0;
        for future in what {
            sum += future.await?;
        }
        Ok(sum)
    }

    /// From now on something goes wrong.
    pub fn spoil(&mut self, flaw: Flaw) {
        self.0.flaw = Some(flaw);
    }

    /// Has this many bytes more.
    pub fn grow(&mut self, bytes: usize) {
        self.0.ballast.resize(bytes, 7);
    }

    /// Keeps a future.
    pub fn hold(&mut self, future: Vec<RemoteFuture<u64>>) {
        self.0.held = future;
    }

    /// Gives an actor.
    pub fn child(&mut self, caller: u64, n: u64) -> JournalHandle {
        self.0.add(caller, n);
        Journal::remote()
    }

    /// How many calls there were, and how many of them came out of turn.
    pub fn total(&self) -> (u64, u64) {
        (self.0.total, self.0.wrong)
    }

    /// The process that it is in.
    pub fn pid(&self) -> u32 {
        process::id()
    }
}

/// The same, of which checkpoints are taken after some calls.
#[derive(Debug)]
pub struct GroupedTally(Book);

impl Checkpoint for GroupedTally {
    type Saved = Book;

    fn save(&self) -> fdbray::Result<Book> {
        self.0.save()
    }

    fn restore(saved: Book) -> fdbray::Result<Self> {
        Book::restore(saved).map(GroupedTally)
    }
}

#[actor(checkpoint = 100)]
impl GroupedTally {
    /// Of nothing.
    #[allow(clippy::new_without_default)]
    #[actor(max_restarts = 100_000)]
    pub fn new() -> Self {
        GroupedTally(Book::default())
    }

    /// Counts the call `n` of `caller`.
    pub fn add(&mut self, caller: u64, n: u64) -> Entry {
        self.0.add(caller, n)
    }

    /// The process that it is in.
    pub fn pid(&mut self) -> u32 {
        process::id()
    }
}

/// The same, of which checkpoints are taken when somebody asks.
#[derive(Debug)]
pub struct LooseTally(Book);

impl Checkpoint for LooseTally {
    type Saved = Book;

    fn save(&self) -> fdbray::Result<Book> {
        self.0.save()
    }

    fn restore(saved: Book) -> fdbray::Result<Self> {
        Book::restore(saved).map(LooseTally)
    }
}

#[actor(pub, checkpoint = "on_demand")]
impl LooseTally {
    /// Of nothing.
    #[allow(clippy::new_without_default)]
    #[actor(max_restarts = 100)]
    pub fn new() -> Self {
        LooseTally(Book::default())
    }

    /// Counts the call `n` of `caller`.
    pub fn add(&mut self, caller: u64, n: u64) -> Entry {
        self.0.add(caller, n)
    }

    /// From now on something goes wrong.
    pub fn spoil(&mut self, flaw: Flaw) {
        self.0.flaw = Some(flaw);
    }

    /// How many calls there were.
    #[actor(retries = 100)]
    pub fn total(&self) -> u64 {
        self.0.total
    }

    /// The process that it is in.
    #[actor(retries = 100)]
    pub fn pid(&self) -> u32 {
        process::id()
    }
}

/// What was the total of an answer.
#[remote(cpus = 0)]
pub fn total_of(entry: Entry) -> u64 {
    entry.total
}

/// Makes so many calls, of which some are under way at once, and says what was wrong with the answers.
///
/// # Errors
/// What a call ended with.
#[remote(cpus = 0, retries = 0)]
pub fn calls_tally(tally: TallyHandle, caller: u64, calls: u64) -> fdbray::Result<u64> {
    let mut wrong = 0;
    let mut total = 0;
    let mut pending = std::collections::VecDeque::new();
    for n in 1..=calls {
        pending.push_back((n, tally.add(caller, n)));
        while pending.len() > 20 || (n == calls && !pending.is_empty()) {
            let Some((n, call)) = pending.pop_front() else { break };
            let entry = call.wait()?;
            wrong += u64::from(entry.n != n || entry.total <= total || entry.wrong > 0);
            total = entry.total;
        }
        if n % 100 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(wrong)
}
