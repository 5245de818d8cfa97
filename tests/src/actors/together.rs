//! An actor that tells what ran beside what.

use fdbray::prelude::*;
use std::{
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// Counts who is inside, and who should not be.
#[derive(Debug, Default)]
pub struct Together {
    readers: AtomicU32,
    writers: AtomicU32,
    most: AtomicU32,
    wrong: AtomicU32,
}

/// Inside, as one of those that a count is of.
struct Inside<'a>(&'a AtomicU32);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[actor]
impl Together {
    /// Nobody is inside.
    pub fn new() -> Self {
        Together::default()
    }

    /// Waits until `count` of these have come in: for ever, if they do not run beside each other.
    pub async fn meets(&self, count: u32) {
        let _inside = self.read();
        while self.most.load(SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The same, on a thread.
    pub fn meets_on_a_thread(&self, count: u32) {
        let _inside = self.read();
        while self.most.load(SeqCst) < count {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The same, three at a time.
    #[actor(concurrency = 3)]
    pub async fn meets_at_most_three(&self, count: u32) {
        let _inside = self.read();
        while self.most.load(SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Reads for a while.
    pub async fn reads(&self, millis: u64) {
        let _inside = self.read();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.nobody_writes();
    }

    /// Reads on a thread.
    pub fn reads_on_a_thread(&self, millis: u64) {
        let _inside = self.read();
        thread::sleep(Duration::from_millis(millis));
        self.nobody_writes();
    }

    /// Writes for a while, in several steps.
    pub async fn writes(&mut self, millis: u64) {
        let _inside = self.write();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            self.alone();
        }
    }

    /// Writes on a thread.
    pub fn writes_on_a_thread(&mut self, millis: u64) {
        let _inside = self.write();
        thread::sleep(Duration::from_millis(millis));
        self.alone();
    }

    /// How many were inside together at most, and how often somebody was there who should not have been.
    pub fn seen(&self) -> (u32, u32) {
        (self.most.load(SeqCst), self.wrong.load(SeqCst))
    }

    fn read(&self) -> Inside<'_> {
        let readers = self.readers.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(readers, SeqCst);
        self.nobody_writes();
        Inside(&self.readers)
    }

    /// By a shared reference, so that it could be seen if two were inside.
    fn write(&self) -> Inside<'_> {
        self.writers.fetch_add(1, SeqCst);
        self.alone();
        Inside(&self.writers)
    }

    fn nobody_writes(&self) {
        if self.writers.load(SeqCst) > 0 {
            self.wrong.fetch_add(1, SeqCst);
        }
    }

    fn alone(&self) {
        if self.writers.load(SeqCst) != 1 || self.readers.load(SeqCst) != 0 {
            self.wrong.fetch_add(1, SeqCst);
        }
    }
}
