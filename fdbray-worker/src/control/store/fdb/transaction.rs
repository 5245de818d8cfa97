//! One run of a body on FoundationDB: its operations, all within the store's subspace.

use super::failure::{Place, is_cancelled};
use crate::control::store::engine::{BoxFuture, Conflict, KeyValue, Mode, Operations, Write};
use crate::control::store::{Range, StampedKey, StoreError, Watch};
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode};
use foundationdb::{FdbError, FdbResult, KeySelector, RangeOption};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The operations. A cheap clone.
#[derive(Clone)]
pub(super) struct Buffer {
    mode: Mode,
    subspace: Arc<[u8]>,
    place: Place,
    /// None once the run has ended. Held while FoundationDB is asked, never while it is awaited.
    state: Arc<Mutex<Option<State>>>,
}

struct State {
    transaction: foundationdb::Transaction,
    /// Written last: FoundationDB refuses to read where a stamped key may come to be.
    stamped: Vec<(StampedKey, Vec<u8>)>,
    /// The first failure.
    failed: Option<FdbError>,
    read: bool,
    wrote: bool,
    watched: bool,
}

/// A run that is over.
pub(super) struct Ended {
    pub(super) transaction: foundationdb::Transaction,
    pub(super) failed: Option<FdbError>,
    pub(super) read: bool,
    pub(super) wrote: bool,
    pub(super) watched: bool,
}

impl Buffer {
    pub(super) fn new(
        transaction: foundationdb::Transaction,
        mode: Mode,
        subspace: Vec<u8>,
        place: Place,
    ) -> Self {
        let state = State {
            transaction,
            stamped: Vec::new(),
            failed: None,
            read: false,
            wrote: false,
            watched: false,
        };
        Buffer { mode, subspace: subspace.into(), place, state: Arc::new(Mutex::new(Some(state))) }
    }

    /// Refuses what comes later, and writes what was left for the end. None if it had ended.
    pub(super) fn end(&self) -> Option<Ended> {
        let State { transaction, stamped, failed, read, wrote, watched } = self.lock().take()?;
        for (key, value) in stamped {
            let mut template = self.inside(&key.bytes);
            // FoundationDB takes the place of the stamp from the last four bytes. Keys are shorter than 4 GiB.
            let offset = (self.subspace.len() + key.offset) as u32;
            template.extend_from_slice(&offset.to_le_bytes());
            transaction.atomic_op(&template, &value, MutationType::SetVersionstampedKey);
        }
        Some(Ended { transaction, failed, read, wrote, watched })
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, ask: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        self.lock().as_mut().map(ask).ok_or(StoreError::Ended)
    }

    fn read<T>(&self, ask: impl FnOnce(&foundationdb::Transaction) -> T) -> Result<T, StoreError> {
        self.with(|state| {
            state.read = true;
            ask(&state.transaction)
        })
    }

    /// The key in the database.
    fn inside(&self, key: &[u8]) -> Vec<u8> {
        [&self.subspace, key].concat()
    }

    fn value<T>(&self, result: FdbResult<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            if let Some(state) = &mut *self.lock() {
                state.failed.get_or_insert(error);
            }
            self.place.error(error)
        })
    }

    async fn read_range(&self, range: Range, snapshot: bool) -> Result<Vec<KeyValue>, StoreError> {
        // FoundationDB takes no limit of none, and no range that ends before it begins.
        if range.begin >= range.end || range.limit == 0 {
            return self.with(|_| Vec::new());
        }
        let mut option = RangeOption {
            begin: KeySelector::first_greater_or_equal(self.inside(&range.begin)),
            end: KeySelector::first_greater_or_equal(self.inside(&range.end)),
            limit: (range.limit < usize::MAX).then_some(range.limit),
            mode: StreamingMode::WantAll,
            reverse: range.reverse,
            ..RangeOption::default()
        };
        let mut found = Vec::new();
        for batch in 1.. {
            let read = self.read(|transaction| transaction.get_range(&option, batch, snapshot))?;
            let pairs = self.value(read.await)?;
            let own = |pair: &foundationdb::future::FdbKeyValue| {
                (pair.key()[self.subspace.len()..].to_vec(), pair.value().to_vec())
            };
            found.extend(pairs.iter().map(own));
            match option.next_range(&pairs) {
                Some(rest) => option = rest,
                None => break,
            }
        }
        Ok(found)
    }
}

impl Operations for Buffer {
    fn get(&self, key: Vec<u8>, snapshot: bool) -> BoxFuture<'static, Result<Option<Vec<u8>>, StoreError>> {
        let buffer = self.clone();
        Box::pin(async move {
            let key = buffer.inside(&key);
            let read = buffer.read(|transaction| transaction.get(&key, snapshot))?;
            buffer.value(read.await).map(|value| value.map(|value| value.to_vec()))
        })
    }

    fn range(&self, range: Range, snapshot: bool) -> BoxFuture<'static, Result<Vec<KeyValue>, StoreError>> {
        let buffer = self.clone();
        Box::pin(async move { buffer.read_range(range, snapshot).await })
    }

    fn write(&self, write: Write) -> Result<(), StoreError> {
        if self.mode == Mode::Read {
            return Err(StoreError::ReadOnly);
        }
        self.with(|state| {
            state.wrote = true;
            let transaction = &state.transaction;
            match write {
                Write::Set(key, value) => transaction.set(&self.inside(&key), &value),
                Write::Clear(key) => transaction.clear(&self.inside(&key)),
                Write::ClearRange(begin, end) if begin < end => {
                    transaction.clear_range(&self.inside(&begin), &self.inside(&end));
                }
                Write::ClearRange(..) => {}
                Write::Add(key, n) => {
                    transaction.atomic_op(&self.inside(&key), &n.to_le_bytes(), MutationType::Add);
                }
                Write::SetStamped(key, value) => state.stamped.push((key, value)),
            }
        })
    }

    fn conflict(&self, kind: Conflict, begin: Vec<u8>, end: Vec<u8>) -> Result<(), StoreError> {
        // Who only reads conflicts with nobody.
        if self.mode == Mode::Read || begin >= end {
            return self.with(|_| ());
        }
        let added = self.with(|state| {
            let kind = match kind {
                Conflict::Read => ConflictRangeType::Read,
                Conflict::Write => {
                    state.wrote = true;
                    ConflictRangeType::Write
                }
            };
            state.transaction.add_conflict_range(&self.inside(&begin), &self.inside(&end), kind)
        })?;
        self.value(added)
    }

    fn watch(&self, key: Vec<u8>) -> Result<Watch, StoreError> {
        let changed = self.with(|state| {
            state.watched = true;
            state.transaction.watch(&self.inside(&key))
        })?;
        let place = self.place.clone();
        Ok(Watch::new(async move {
            match changed.await {
                Ok(()) => Ok(()),
                Err(error) if is_cancelled(error) => Err(StoreError::Closed),
                // FoundationDB lost sight of the key: it may have changed.
                Err(error) if error.is_retryable() || error.is_maybe_committed() => Ok(()),
                Err(error) => Err(place.error(error)),
            }
        }))
    }
}
