//! Waiting until memory was freed.

use std::{
    pin::pin,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// A moment in the life of an arena: how often memory had been freed until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Counts, and wakes those who wait. Nobody waiting costs one addition.
#[derive(Default)]
pub(super) struct Room {
    freed: AtomicU64,
    tasks: Notify,
    /// How many threads sleep, or are about to.
    sleepers: AtomicUsize,
    /// Held between looking at `freed` and sleeping, so that no wake-up falls in between.
    gate: Mutex<()>,
    threads: Condvar,
}

impl Room {
    pub(super) fn now(&self) -> Moment {
        Moment(self.freed.load(Ordering::SeqCst))
    }

    /// Memory was freed.
    pub(super) fn tell(&self) {
        self.freed.fetch_add(1, Ordering::SeqCst);
        self.tasks.notify_waiters();
        // One of both sees the other: a sleeper counts itself before it looks at `freed`.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.threads.notify_all();
        }
    }

    pub(super) async fn since(&self, moment: Moment) {
        let mut told = pin!(self.tasks.notified());
        loop {
            told.as_mut().enable();
            if self.now() > moment {
                return;
            }
            told.as_mut().await;
            told.set(self.tasks.notified());
        }
    }

    pub(super) fn sleep_since(&self, moment: Moment, limit: Duration) -> bool {
        // None: for longer than a clock can say.
        let until = Instant::now().checked_add(limit);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while self.now() <= moment {
            let left = until.map_or(limit, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            gate = self.threads.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(gate);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.now() > moment
    }
}
