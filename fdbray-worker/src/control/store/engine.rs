//! What an engine provides: attempts of transactions, and the operations within them.

use super::{Range, StampedKey, StoreError, Transaction, Watch};
use futures_util::future::try_join_all;
use std::sync::{Arc, Mutex, PoisonError};
use std::{any::Any, future::Future, pin::Pin};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A transaction's body. It may run any number of times; true asks for the commit, false for an abort.
pub(crate) type Body = Arc<Mutex<dyn FnMut(Transaction) -> BoxFuture<'static, bool> + Send>>;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// A store engine: memory, LMDB, FoundationDB.
pub(crate) trait Engine: Send + Sync {
    /// Runs the body once (an engine may need more than one run for it), and commits if it says so.
    fn attempt(&self, mode: Mode, body: Body) -> BoxFuture<'_, Attempt>;

    /// Lets time pass before attempt number `attempt` (1 is the first repetition).
    fn pause(&self, attempt: u32) -> BoxFuture<'_, ()>;

    /// `memory`, `lmdb` or `fdb`.
    fn name(&self) -> &'static str;
}

/// Whether a transaction may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
}

/// How an attempt ended.
pub(crate) enum Attempt {
    /// It took effect. The versionstamp is missing if it wrote nothing.
    Committed(Option<[u8; 10]>),
    /// The body returned an error of its own: nothing was written.
    Aborted,
    /// The store failed.
    Failed(StoreError),
    /// The body panicked: nothing was written.
    Panicked(Box<dyn Any + Send>),
}

/// The operations within one attempt. Checked against the limits already.
pub(crate) trait Operations: Send + Sync {
    fn get(&self, key: Vec<u8>, snapshot: bool) -> BoxFuture<'static, Result<Option<Vec<u8>>, StoreError>>;
    /// As many, in their order.
    fn get_all(
        &self,
        keys: Vec<Vec<u8>>,
        snapshot: bool,
    ) -> BoxFuture<'static, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        Box::pin(try_join_all(keys.into_iter().map(|key| self.get(key, snapshot))))
    }
    fn range(&self, range: Range, snapshot: bool) -> BoxFuture<'static, Result<Vec<KeyValue>, StoreError>>;
    fn write(&self, write: Write) -> Result<(), StoreError>;
    fn conflict(&self, kind: Conflict, begin: Vec<u8>, end: Vec<u8>) -> Result<(), StoreError>;
    fn watch(&self, key: Vec<u8>) -> Result<Watch, StoreError>;
}

/// A change that takes effect with the commit.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Set(Vec<u8>, Vec<u8>),
    Clear(Vec<u8>),
    ClearRange(Vec<u8>, Vec<u8>),
    Add(Vec<u8>, i64),
    SetStamped(StampedKey, Vec<u8>),
}

/// Which of the two sets a range is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    Read,
    Write,
}

/// What atomic addition makes of a value: little-endian, wrapping, a missing or short value counts as zeros.
pub(crate) fn added(value: Option<&[u8]>, n: i64) -> Vec<u8> {
    let mut number = [0; 8];
    if let Some(value) = value {
        let len = value.len().min(8);
        number[..len].copy_from_slice(&value[..len]);
    }
    i64::from_le_bytes(number).wrapping_add(n).to_le_bytes().to_vec()
}

/// Starts a run of the body.
pub(crate) fn start(body: &Body, transaction: Transaction) -> BoxFuture<'static, bool> {
    body.lock().unwrap_or_else(PoisonError::into_inner)(transaction)
}
