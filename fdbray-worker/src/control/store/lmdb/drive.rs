//! Runs one body to its end on the store thread: polls it, and performs what it asks for in between.

use super::environment::Environment;
use super::shared::bucket;
use super::watches::Watching;
use crate::control::store::engine::{
    Body, BoxFuture, Conflict, KeyValue, Mode, Operations, Write, added, start,
};
use crate::control::store::{Limits, Range, StampedKey, StoreError, Transaction, Watch};
use heed::{MdbError, RoTxn, RwTxn, WithoutTls};
use std::any::Any;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::sync::oneshot;

/// What a body did, to be told once its commit is certain.
#[derive(Default)]
pub(super) struct Done {
    pub(super) watches: Vec<Watching>,
    /// The buckets of the keys that were written, one bit each.
    pub(super) buckets: u64,
    pub(super) wrote: bool,
    /// The size of the transaction, as its limit counts it.
    pub(super) bytes: usize,
}

/// Why a body's writes must not be committed.
pub(super) enum Stop {
    /// The body said so.
    Aborted,
    Failed(StoreError),
    Panicked(Box<dyn Any + Send>),
    /// The map is full: nobody's fault, everything runs again in a larger one.
    MapFull,
}

/// The LMDB transaction in which a body runs.
pub(super) enum View<'a, 'e> {
    Read(&'a RoTxn<'e, WithoutTls>),
    Write(&'a mut RwTxn<'e>),
}

/// Runs the body. `stamp` is the versionstamp it will have if it commits.
pub(super) fn run(
    environment: &Environment,
    view: View<'_, '_>,
    body: &Body,
    limits: Limits,
    stamp: [u8; 10],
) -> Result<Done, Stop> {
    let mode = if matches!(view, View::Read(_)) { Mode::Read } else { Mode::Write };
    let slot = Arc::new(Slot { mode, queue: Mutex::new(Some(Vec::new())) });
    let transaction = Transaction::new(slot.clone(), limits);
    let mut driver =
        Driver { environment, view, stamped: Vec::new(), watches: Vec::new(), done: Done::default() };
    let result = driver.poll_to_end(body, &transaction, &slot);
    // What comes later is refused.
    let last = slot.take(true);
    result?;
    driver.perform(last)?;
    transaction.verdict().map_err(Stop::Failed)?;
    driver.done.bytes = transaction.size();
    driver.finish(stamp)
}

struct Driver<'a, 'e> {
    environment: &'a Environment,
    view: View<'a, 'e>,
    stamped: Vec<(StampedKey, Vec<u8>)>,
    watches: Vec<(Vec<u8>, oneshot::Sender<()>)>,
    done: Done,
}

impl Driver<'_, '_> {
    fn poll_to_end(&mut self, body: &Body, transaction: &Transaction, slot: &Slot) -> Result<(), Stop> {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        // A body that panics must not take the store thread with it. Nothing of it is used afterwards.
        let started = catch_unwind(AssertUnwindSafe(|| start(body, transaction.clone())));
        let mut run = started.map_err(Stop::Panicked)?;
        loop {
            let poll = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(&mut cx)));
            match poll.map_err(Stop::Panicked)? {
                Poll::Ready(true) => return Ok(()),
                Poll::Ready(false) => {
                    return Err(transaction.verdict().map_or_else(Stop::Failed, |()| Stop::Aborted));
                }
                Poll::Pending => {}
            }
            let queue = slot.take(false);
            let idle = queue.is_empty();
            self.perform(queue)?;
            if idle && !woken.0.swap(false, Ordering::AcqRel) {
                return Err(Stop::Failed(StoreError::ForeignAwait));
            }
            transaction.check_time().map_err(Stop::Failed)?;
        }
    }

    fn perform(&mut self, queue: Vec<Operation>) -> Result<(), Stop> {
        for operation in queue {
            match operation {
                // Whoever asked may have lost interest.
                Operation::Get(key, reply) => drop(reply.send(self.get(&key)?)),
                Operation::GetAll(keys, reply) => {
                    let values: Result<_, Stop> = keys.iter().map(|key| self.get(key)).collect();
                    drop(reply.send(values?));
                }
                Operation::Range(range, reply) => {
                    let found = self.range(&range);
                    drop(reply.send(self.value(found)?));
                }
                Operation::Write(write) => {
                    let written = self.write(write);
                    self.value(written)?;
                }
                Operation::Watch(key, fire) => self.watches.push((key, fire)),
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let value = self.environment.records.get(self.view.read(), key);
        self.value(value.map(|value| value.map(<[u8]>::to_vec)))
    }

    fn range(&self, range: &Range) -> heed::Result<Vec<KeyValue>> {
        if range.begin >= range.end {
            return Ok(Vec::new());
        }
        let (read, records) = (self.view.read(), self.environment.records);
        let own =
            |found: heed::Result<(&[u8], &[u8])>| found.map(|(key, value)| (key.to_vec(), value.to_vec()));
        let bounds = bounds(&range.begin, &range.end);
        if range.reverse {
            records.rev_range(read, &bounds)?.take(range.limit).map(own).collect()
        } else {
            records.range(read, &bounds)?.take(range.limit).map(own).collect()
        }
    }

    fn write(&mut self, write: Write) -> heed::Result<()> {
        let records = self.environment.records;
        let View::Write(txn) = &mut self.view else { return Ok(()) };
        self.done.wrote = true;
        match write {
            Write::Set(key, value) => {
                records.put(txn, &key, &value)?;
                self.done.buckets |= bucket(&key);
            }
            Write::Clear(key) => {
                if records.delete(txn, &key)? {
                    self.done.buckets |= bucket(&key);
                }
            }
            Write::ClearRange(begin, end) if begin < end => {
                if records.delete_range(txn, &bounds(&begin, &end))? > 0 {
                    self.done.buckets = u64::MAX;
                }
            }
            Write::ClearRange(..) => {}
            Write::Add(key, n) => {
                let value = added(records.get(txn, &key)?, n);
                records.put(txn, &key, &value)?;
                self.done.buckets |= bucket(&key);
            }
            Write::SetStamped(key, value) => self.stamped.push((key, value)),
        }
        Ok(())
    }

    fn finish(mut self, stamp: [u8; 10]) -> Result<Done, Stop> {
        for (key, value) in std::mem::take(&mut self.stamped) {
            let written = self.write(Write::Set(key.complete(stamp), value));
            self.value(written)?;
        }
        for (key, fire) in std::mem::take(&mut self.watches) {
            let value = self.get(&key)?;
            self.done.watches.push(Watching { key, value, fire });
        }
        Ok(self.done)
    }

    fn value<T>(&self, result: heed::Result<T>) -> Result<T, Stop> {
        result.map_err(|error| match error {
            heed::Error::Mdb(MdbError::MapFull) => Stop::MapFull,
            error => Stop::Failed(self.environment.error(error)),
        })
    }
}

impl View<'_, '_> {
    fn read(&self) -> &RoTxn<'_> {
        match self {
            View::Read(txn) => txn,
            View::Write(txn) => txn,
        }
    }
}

/// What a body asks for, in its order. Reads wait for their answers; writes are performed before the next read.
enum Operation {
    Get(Vec<u8>, oneshot::Sender<Option<Vec<u8>>>),
    GetAll(Vec<Vec<u8>>, oneshot::Sender<Vec<Option<Vec<u8>>>>),
    Range(Range, oneshot::Sender<Vec<KeyValue>>),
    Write(Write),
    Watch(Vec<u8>, oneshot::Sender<()>),
}

/// Between a body and the store thread. The lock is never contended, unless a body takes its transaction elsewhere.
struct Slot {
    mode: Mode,
    /// None once the run has ended.
    queue: Mutex<Option<Vec<Operation>>>,
}

impl Slot {
    fn push(&self, operation: Operation) -> Result<(), StoreError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_mut().ok_or(StoreError::Ended)?.push(operation);
        Ok(())
    }

    fn take(&self, end: bool) -> Vec<Operation> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = queue.as_mut().map(std::mem::take).unwrap_or_default();
        if end {
            *queue = None;
        }
        taken
    }
}

impl Operations for Slot {
    fn get(&self, key: Vec<u8>, _snapshot: bool) -> BoxFuture<'static, Result<Option<Vec<u8>>, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.push(Operation::Get(key, reply));
        Box::pin(async move {
            pushed?;
            answer.await.map_err(|_| StoreError::Ended)
        })
    }

    fn get_all(
        &self,
        keys: Vec<Vec<u8>>,
        _snapshot: bool,
    ) -> BoxFuture<'static, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.push(Operation::GetAll(keys, reply));
        Box::pin(async move {
            pushed?;
            answer.await.map_err(|_| StoreError::Ended)
        })
    }

    fn range(&self, range: Range, _snapshot: bool) -> BoxFuture<'static, Result<Vec<KeyValue>, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.push(Operation::Range(range, reply));
        Box::pin(async move {
            pushed?;
            answer.await.map_err(|_| StoreError::Ended)
        })
    }

    fn write(&self, write: Write) -> Result<(), StoreError> {
        if self.mode == Mode::Read {
            return Err(StoreError::ReadOnly);
        }
        self.push(Operation::Write(write))
    }

    fn conflict(&self, _kind: Conflict, _begin: Vec<u8>, _end: Vec<u8>) -> Result<(), StoreError> {
        // One writer at a time: nothing can conflict.
        Ok(())
    }

    fn watch(&self, key: Vec<u8>) -> Result<Watch, StoreError> {
        let (fire, watch) = Watch::pair();
        self.push(Operation::Watch(key, fire))?;
        Ok(watch)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// LMDB has no empty keys, not even to begin a range with.
fn bounds<'a>(begin: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let begin = if begin.is_empty() { Bound::Unbounded } else { Bound::Included(begin) };
    (begin, Bound::Excluded(end))
}
