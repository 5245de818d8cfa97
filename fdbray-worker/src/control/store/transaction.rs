//! A transaction as its body sees it: the operations, checked against the limits that hold on every engine.

use super::engine::{BoxFuture, Conflict, KeyValue, Operations, Write};
use super::{StampedKey, StoreError, key, usage};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a transaction may be, on every engine, so that what works embedded works on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, in bytes.
    pub key: usize,
    /// The longest value, in bytes.
    pub value: usize,
    /// The most that keys, values and conflict ranges add up to, in bytes.
    pub transaction: usize,
    /// The longest time from the start of the body to the commit.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { key: 480, value: 100_000, transaction: 10_000_000, time: Duration::from_secs(5) }
    }
}

/// A transaction in its body's hands. A cheap clone; of no use after the body returned.
///
/// Reads see the transaction's own writes, but for versionstamped keys.
#[derive(Clone)]
pub struct Transaction {
    operations: Arc<dyn Operations>,
    account: Arc<Account>,
    snapshot: bool,
}

struct Account {
    limits: Limits,
    started: Instant,
    size: AtomicUsize,
    /// The first failure of the store: whatever the body makes of it, the attempt has failed.
    failure: Mutex<Option<StoreError>>,
}

impl Transaction {
    pub(crate) fn new(operations: Arc<dyn Operations>, limits: Limits) -> Self {
        let account =
            Account { limits, started: Instant::now(), size: AtomicUsize::new(0), failure: Mutex::new(None) };
        Transaction { operations, account: Arc::new(account), snapshot: false }
    }

    /// The same transaction, whose reads through this handle conflict with nobody's writes.
    pub fn snapshot(&self) -> Transaction {
        Transaction { snapshot: true, ..self.clone() }
    }

    /// The value of a key.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_key(key.as_ref())?;
        self.charge(if self.snapshot { 0 } else { 2 * key.as_ref().len() })?;
        let read = self.operations.get(key.as_ref().to_vec(), self.snapshot).await;
        self.note(read)
    }

    /// The values of many keys, in their order, asked for all at once.
    pub async fn get_all(
        &self,
        keys: impl IntoIterator<Item = impl Into<Vec<u8>>>,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let keys: Vec<Vec<u8>> = keys.into_iter().map(Into::into).collect();
        for key in &keys {
            self.check_key(key)?;
            self.charge(if self.snapshot { 0 } else { 2 * key.len() })?;
        }
        let read = self.operations.get_all(keys, self.snapshot).await;
        self.note(read)
    }

    /// The keys and values of a range, in order (the reverse one if asked for).
    pub async fn range(&self, range: Range) -> Result<Vec<KeyValue>, StoreError> {
        self.check_end(&range.end)?;
        self.charge(if self.snapshot { 0 } else { range.begin.len() + range.end.len() })?;
        let read = self.operations.range(range, self.snapshot).await;
        self.note(read)
    }

    /// Sets a key.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let (key, value) = (key.as_ref().to_vec(), value.as_ref().to_vec());
        self.check_key(&key)?;
        self.check_value(&value)?;
        self.charge(key.len() + value.len())?;
        usage::set(key.len() + value.len());
        self.note(self.operations.write(Write::Set(key, value)))
    }

    /// Removes a key, if it is there.
    pub fn clear(&self, key: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let key = key.as_ref().to_vec();
        self.check_key(&key)?;
        self.charge(2 * key.len())?;
        usage::clear();
        self.note(self.operations.write(Write::Clear(key)))
    }

    /// Removes all keys from `begin` to `end`, which is not included.
    pub fn clear_range(&self, begin: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let (begin, end) = (begin.as_ref().to_vec(), end.as_ref().to_vec());
        self.check_end(&end)?;
        self.charge(begin.len() + end.len())?;
        usage::clear();
        self.note(self.operations.write(Write::ClearRange(begin, end)))
    }

    /// Adds to a little-endian 64-bit number, signed or not, wrapping. A missing one counts as zero. Conflicts with
    /// readers of the key, not with other additions.
    pub fn add(&self, key: impl AsRef<[u8]>, n: i64) -> Result<(), StoreError> {
        let key = key.as_ref().to_vec();
        self.check_key(&key)?;
        self.charge(key.len() + 8)?;
        usage::set(key.len() + 8);
        self.note(self.operations.write(Write::Add(key, n)))
    }

    /// Sets the key that results when the commit's versionstamp is known.
    pub fn set_stamped(&self, key: StampedKey, value: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let value = value.as_ref().to_vec();
        self.check_key(&key.bytes)?;
        self.check_value(&value)?;
        self.charge(key.bytes.len() + value.len())?;
        usage::set(key.bytes.len() + value.len());
        self.note(self.operations.write(Write::SetStamped(key, value)))
    }

    /// Conflicts with writers of the range as if it had been read.
    pub fn conflict_read(&self, begin: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.conflict(Conflict::Read, begin.as_ref(), end.as_ref())
    }

    /// Conflicts with readers of the range as if it had been written.
    pub fn conflict_write(&self, begin: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.conflict(Conflict::Write, begin.as_ref(), end.as_ref())
    }

    /// A future that resolves when the key's value becomes another than this transaction leaves it with. It begins
    /// with the commit: return it from the body. A hint: it may resolve early, a change back may go unseen, and in
    /// doubt one reads again.
    pub fn watch(&self, key: impl AsRef<[u8]>) -> Result<Watch, StoreError> {
        self.check_key(key.as_ref())?;
        let watch = self.operations.watch(key.as_ref().to_vec());
        self.note(watch)
    }

    /// What it adds up to so far, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.account.size.load(Ordering::Relaxed)
    }

    /// What stands against a commit.
    pub(crate) fn verdict(&self) -> Result<(), StoreError> {
        if let Some(failure) = self.account.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(failure);
        }
        self.check_time()
    }

    pub(crate) fn check_time(&self) -> Result<(), StoreError> {
        let limit = self.account.limits.time;
        if self.account.started.elapsed() > limit { Err(StoreError::TimeLimit(limit)) } else { Ok(()) }
    }

    fn conflict(&self, kind: Conflict, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.check_end(end)?;
        self.charge(begin.len() + end.len())?;
        self.note(self.operations.conflict(kind, begin.to_vec(), end.to_vec()))
    }

    fn check_key(&self, key: &[u8]) -> Result<(), StoreError> {
        let limit = self.account.limits.key;
        let result = match key.first() {
            None | Some(0xff) => Err(StoreError::KeyReserved),
            Some(_) if key.len() > limit => Err(StoreError::KeyTooLong { len: key.len(), limit }),
            Some(_) => Ok(()),
        };
        self.note(result)
    }

    /// A range's end is no key: it may be one byte longer, and may be where the reserved keys begin.
    fn check_end(&self, end: &[u8]) -> Result<(), StoreError> {
        let limit = self.account.limits.key + 1;
        let result = if end > &[0xff][..] {
            Err(StoreError::KeyReserved)
        } else if end.len() > limit {
            Err(StoreError::KeyTooLong { len: end.len(), limit })
        } else {
            Ok(())
        };
        self.note(result)
    }

    fn check_value(&self, value: &[u8]) -> Result<(), StoreError> {
        let limit = self.account.limits.value;
        if value.len() <= limit {
            return Ok(());
        }
        self.note(Err(StoreError::ValueTooLong { len: value.len(), limit }))
    }

    fn charge(&self, bytes: usize) -> Result<(), StoreError> {
        let limit = self.account.limits.transaction;
        if self.account.size.fetch_add(bytes, Ordering::Relaxed) + bytes > limit {
            return self.note(Err(StoreError::TransactionTooLarge { limit }));
        }
        Ok(())
    }

    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            let mut failure = self.account.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| error.clone());
        }
        result
    }
}

/// A range of keys to read: from `begin` to `end`, which is not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub(crate) begin: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) limit: usize,
    pub(crate) reverse: bool,
}

impl Range {
    /// All keys from `begin` to `end`, which is not included.
    pub fn new(begin: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Range { begin: begin.into(), end: end.into(), limit: usize::MAX, reverse: false }
    }

    /// All keys that begin with these bytes, which must not all be ff.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let end = key::after_prefix(prefix.as_ref()).unwrap_or_else(|| vec![0xff]);
        Range::new(prefix.as_ref(), end)
    }

    /// All tuples that begin with this one's elements and are longer.
    pub fn children(key: &key::Key) -> Self {
        let (begin, end) = key.children();
        Range::new(begin, end)
    }

    /// Starts behind this key instead.
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        self.begin = key.as_ref().to_vec();
        self.begin.push(0);
        self
    }

    /// Reads at most so many.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Reads from the end.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }
}

/// Resolves when a watched key changed. See [`Transaction::watch`].
#[must_use = "a watch that is dropped watches nothing"]
pub struct Watch {
    changed: BoxFuture<'static, Result<(), StoreError>>,
    _counted: usage::Watching,
}

impl Watch {
    pub(crate) fn new(changed: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Watch {
        Watch { changed: Box::pin(changed), _counted: usage::Watching::begin() }
    }

    /// A watch, and what fires it. When that is dropped instead, the watch has ended.
    pub(crate) fn pair() -> (oneshot::Sender<()>, Watch) {
        let (fire, fired) = oneshot::channel();
        (fire, Watch::new(async move { fired.await.map_err(|_| StoreError::Closed) }))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Future for Watch {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.changed.as_mut().poll(cx)
    }
}
