//! The watches of this process: which keys, with what values, and the thread that sleeps for all of them.

use super::environment::Environment;
use super::shared::{BUCKETS, SharedPage, bucket};
use super::thread::Request;
use crate::control::store::StoreError;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest sleep: nothing should be missed, but if it were, it would be for no longer.
const SLEEP: Duration = Duration::from_secs(1);

/// One watch: fires when the key's value is another.
pub(super) struct Watching {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) fire: oneshot::Sender<()>,
}

/// What the watcher thread is to look for. Shared with it.
#[derive(Default)]
pub(super) struct Interest {
    /// The buckets, one bit each. Only ever too many.
    buckets: AtomicU64,
    stop: AtomicBool,
}

/// All watches. Only the store thread has it.
pub(super) struct Watches {
    by_bucket: HashMap<u64, Vec<Watching>>,
    interest: Arc<Interest>,
    page: Arc<SharedPage>,
}

impl Watches {
    pub(super) fn new(page: Arc<SharedPage>, interest: Arc<Interest>) -> Self {
        Watches { by_bucket: HashMap::new(), interest, page }
    }

    pub(super) fn add(&mut self, watching: Watching) {
        let bucket = bucket(&watching.key);
        self.by_bucket.entry(bucket).or_default().push(watching);
        if self.interest.buckets.fetch_or(bucket, Ordering::AcqRel) & bucket == 0 {
            self.page.nudge();
        }
    }

    /// Fires the watches of these buckets whose key has another value now.
    pub(super) fn check(&mut self, environment: &Environment, buckets: u64) -> Result<(), StoreError> {
        let read = environment.read_txn()?;
        for (_, watches) in self.by_bucket.iter_mut().filter(|(bucket, _)| **bucket & buckets != 0) {
            for at in (0..watches.len()).rev() {
                let watching = &watches[at];
                let value = environment
                    .records
                    .get(&read, &watching.key)
                    .map_err(|error| environment.error(error))?;
                if value != watching.value.as_deref() || watching.fire.is_closed() {
                    // Nobody waits any more if this fails.
                    let _ = watches.swap_remove(at).fire.send(());
                }
            }
        }
        Ok(())
    }

    /// Forgets the watches that nobody waits for, and stops looking at buckets without any.
    pub(super) fn tidy(&mut self) {
        self.by_bucket.retain(|_, watches| {
            watches.retain(|watching| !watching.fire.is_closed());
            !watches.is_empty()
        });
        let buckets = self.by_bucket.keys().fold(0, |buckets, bucket| buckets | bucket);
        self.interest.buckets.store(buckets, Ordering::Release);
    }

    /// Ends the watcher thread.
    pub(super) fn stop(&self) {
        self.interest.stop.store(true, Ordering::Release);
        self.page.nudge();
    }
}

/// The watcher thread: tells the store thread which of its buckets somebody wrote to.
/// `seen` are the counters from before the first transaction.
pub(super) fn sleep_for_all(
    page: &SharedPage,
    interest: &Interest,
    mut seen: [u32; BUCKETS],
    queue: &Sender<Request>,
) {
    loop {
        // In this order: what comes after `now` ends the sleep, what came before is seen by `changed`.
        let now = page.now();
        let buckets = interest.buckets.load(Ordering::Acquire);
        let changed = page.changed(&mut seen) & buckets;
        if interest.stop.load(Ordering::Acquire) {
            return;
        }
        if changed != 0 && queue.send(Request::Changed(changed)).is_err() {
            return;
        }
        page.sleep(now, buckets, SLEEP);
    }
}
