//! What this process asks of its stores, counted: for benchmarks, and for whoever wonders what a cluster costs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);
static COMMITS: AtomicU64 = AtomicU64::new(0);
static SETS: AtomicU64 = AtomicU64::new(0);
static CLEARS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static WATCHES: AtomicU64 = AtomicU64::new(0);

/// What this process has asked of all its stores since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Attempts of transactions, reading ones too.
    pub transactions: u64,
    /// Commits of the engine that wrote something. On LMDB several transactions may share one.
    pub commits: u64,
    /// Keys that were set, or added to.
    pub sets: u64,
    /// Keys, or ranges of them, that were removed.
    pub clears: u64,
    /// Bytes of the keys and values that were set.
    pub bytes: u64,
    /// Watches that are in use at this moment.
    pub watches: u64,
}

impl Usage {
    /// What was asked until now.
    pub fn now() -> Self {
        Usage {
            transactions: TRANSACTIONS.load(Relaxed),
            commits: COMMITS.load(Relaxed),
            sets: SETS.load(Relaxed),
            clears: CLEARS.load(Relaxed),
            bytes: BYTES.load(Relaxed),
            watches: WATCHES.load(Relaxed),
        }
    }
}

pub(super) fn transaction() {
    TRANSACTIONS.fetch_add(1, Relaxed);
}

pub(super) fn commit() {
    COMMITS.fetch_add(1, Relaxed);
}

pub(super) fn set(bytes: usize) {
    SETS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

pub(super) fn clear() {
    CLEARS.fetch_add(1, Relaxed);
}

/// Counts as a watch for as long as it lives.
pub(super) struct Watching(());

impl Watching {
    pub(super) fn begin() -> Self {
        WATCHES.fetch_add(1, Relaxed);
        Watching(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Relaxed);
    }
}
