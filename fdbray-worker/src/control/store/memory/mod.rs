//! The store in memory, for unit tests and the simulator: optimistic transactions, and faults from a seed.
//!
//! Each transaction reads one version of the data; at the commit, what it read is compared with what was written
//! since. [`Faults`] add conflicts that did not happen, pauses between operations (so that the transactions of one
//! thread interleave) and commits of unknown result, half of which took effect. The same seed gives the same faults
//! as long as the transactions come in the same order.

mod data;
#[cfg(test)]
mod tests;
mod transaction;

use super::engine::{Attempt, Body, BoxFuture, Engine, Mode, start};
use super::{Limits, Store, StoreError, Transaction};
use data::Data;
use futures_util::FutureExt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use transaction::Buffer;

/// Which faults to inject: of every thousand chances, how many are taken. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What the random choices follow from.
    pub seed: u64,
    /// Commits that fail as if another transaction had interfered.
    pub conflicts: u16,
    /// Operations that let other tasks run first.
    pub delays: u16,
    /// Commits whose result is unknown. Half of them took effect.
    pub unknown: u16,
}

/// A store in memory. Clones share the data.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    limits: Limits,
}

struct Shared {
    data: Mutex<Data>,
    faults: Faults,
    random: Mutex<u64>,
    unreachable: AtomicBool,
}

impl Memory {
    /// An empty store.
    pub fn new(faults: Faults) -> Self {
        let shared = Shared {
            data: Mutex::default(),
            faults,
            random: Mutex::new(faults.seed),
            unreachable: AtomicBool::new(false),
        };
        Memory { shared: Arc::new(shared), limits: Limits::default() }
    }

    /// With other limits than the usual ones, for tests.
    pub fn limits(self, limits: Limits) -> Self {
        Memory { limits, ..self }
    }

    /// A handle as every engine has it.
    pub fn store(&self) -> Store {
        Store { engine: Arc::new(self.clone()) }
    }

    /// Starts or ends an outage, in which every transaction fails with [`StoreError::Unreachable`].
    pub fn set_unreachable(&self, unreachable: bool) {
        self.shared.unreachable.store(unreachable, Ordering::SeqCst);
    }
}

impl Engine for Memory {
    fn attempt(&self, mode: Mode, body: Body) -> BoxFuture<'_, Attempt> {
        Box::pin(async move {
            let buffer = Arc::new(Buffer::begin(self.shared.clone(), mode));
            let transaction = Transaction::new(buffer.clone(), self.limits);
            // A panic may come when the body is called or when its future runs.
            let run =
                AssertUnwindSafe(async { start(&body, transaction.clone()).await }).catch_unwind().await;
            self.shared.pause().await;
            let attempt = match (run, transaction.verdict()) {
                (Err(panic), _) => Attempt::Panicked(panic),
                (_, Err(error)) => Attempt::Failed(error),
                (Ok(false), _) => Attempt::Aborted,
                (Ok(true), Ok(())) => buffer.commit(),
            };
            buffer.end();
            attempt
        })
    }

    fn pause(&self, _attempt: u32) -> BoxFuture<'_, ()> {
        Box::pin(yield_once())
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

impl Shared {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one chance.
    fn chance(&self, of_thousand: u16) -> bool {
        of_thousand > 0 && self.random() % 1000 < u64::from(of_thousand)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&self) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn reachable(&self) -> Result<(), StoreError> {
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(StoreError::Unreachable("an outage was injected".into()));
        }
        Ok(())
    }

    async fn pause(&self) {
        while self.chance(self.faults.delays.min(900)) {
            yield_once().await;
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
