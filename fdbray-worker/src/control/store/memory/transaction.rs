//! One attempt on the store in memory: what it read, what it will write, and its commit.

use super::Shared;
use super::data::{Span, Watching};
use crate::control::store::engine::{Attempt, BoxFuture, Conflict, KeyValue, Mode, Operations, Write, added};
use crate::control::store::{Range, StampedKey, StoreError, Watch, usage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

pub(super) struct Buffer {
    shared: Arc<Shared>,
    mode: Mode,
    version: u64,
    /// None once the attempt ended.
    state: Arc<Mutex<Option<State>>>,
}

#[derive(Default)]
struct State {
    /// What becomes of single keys. Stands above `cleared`.
    changes: BTreeMap<Vec<u8>, Change>,
    cleared: Vec<Span>,
    stamped: Vec<(StampedKey, Vec<u8>)>,
    watches: Vec<(Vec<u8>, oneshot::Sender<()>)>,
    reads: Vec<Span>,
    writes: Vec<Span>,
}

enum Change {
    Set(Vec<u8>),
    Clear,
    Add(i64),
}

impl Buffer {
    pub(super) fn begin(shared: Arc<Shared>, mode: Mode) -> Self {
        let version = shared.data().open();
        Buffer { shared, mode, version, state: Arc::new(Mutex::new(Some(State::default()))) }
    }

    /// Compares what was read with what was written since, and writes.
    pub(super) fn commit(&self) -> Attempt {
        let Some(mut state) = self.lock().take() else { return Attempt::Failed(StoreError::Ended) };
        let faults = self.shared.faults;
        if let Err(error) = self.shared.reachable() {
            return Attempt::Failed(error);
        }
        let mut data = self.shared.data();
        let watches = std::mem::take(&mut state.watches);
        // A watch compares with what this transaction saw, so that a change between its reads and now fires it.
        let seen = |(key, fire): (Vec<u8>, _)| {
            let stored = if state.is_cleared(&key) { None } else { data.get(&key, self.version) };
            let value = state.changes.get(&key).map_or(stored.clone(), |change| change.value(stored));
            Watching { key, value, fire }
        };
        let watches: Vec<Watching> = watches.into_iter().map(seen).collect();
        let writes = !state.writes.is_empty() || !state.stamped.is_empty();
        if !writes {
            for watching in watches {
                data.watch(watching);
            }
            return Attempt::Committed(None);
        }
        if data.conflicts(self.version, &state.reads) || self.shared.chance(faults.conflicts) {
            return Attempt::Failed(StoreError::Conflict);
        }
        let unknown = self.shared.chance(faults.unknown);
        if unknown && self.shared.chance(500) {
            return Attempt::Failed(StoreError::CommitUnknown);
        }
        let version = data.next_version();
        let mut stamp = [0; 10];
        stamp[..8].copy_from_slice(&version.to_be_bytes());

        let mut changes = Vec::new();
        for (begin, end) in &state.cleared {
            let cleared = Range::new(begin.clone(), end.clone());
            changes.extend(data.range(&cleared, version).map(|(key, _)| (key, None)));
        }
        for (key, change) in &state.changes {
            changes.push((key.clone(), change.value(data.get(key, version))));
        }
        let mut written = state.writes;
        for (key, value) in state.stamped {
            let key = key.complete(stamp);
            written.push(single(&key));
            changes.push((key, Some(value)));
        }
        data.commit(changes, written);
        usage::commit();
        for watching in watches {
            data.watch(watching);
        }
        if unknown { Attempt::Failed(StoreError::CommitUnknown) } else { Attempt::Committed(Some(stamp)) }
    }

    /// Refuses what comes later.
    pub(super) fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        self.lock().as_mut().map(f).ok_or(StoreError::Ended)
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.mode == Mode::Read { Err(StoreError::ReadOnly) } else { Ok(()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.shared.data().close(self.version);
    }
}

impl Operations for Buffer {
    fn get(&self, key: Vec<u8>, snapshot: bool) -> BoxFuture<'static, Result<Option<Vec<u8>>, StoreError>> {
        let (shared, state, version) = (self.shared.clone(), self.state.clone(), self.version);
        Box::pin(async move {
            shared.pause().await;
            shared.reachable()?;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let state = state.as_mut().ok_or(StoreError::Ended)?;
            if !snapshot {
                state.reads.push(single(&key));
            }
            let stored = if state.is_cleared(&key) { None } else { shared.data().get(&key, version) };
            Ok(match state.changes.get(&key) {
                Some(change) => change.value(stored),
                None => stored,
            })
        })
    }

    fn range(&self, range: Range, snapshot: bool) -> BoxFuture<'static, Result<Vec<KeyValue>, StoreError>> {
        let (shared, state, version) = (self.shared.clone(), self.state.clone(), self.version);
        Box::pin(async move {
            shared.pause().await;
            shared.reachable()?;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let state = state.as_mut().ok_or(StoreError::Ended)?;
            if range.begin >= range.end {
                return Ok(Vec::new());
            }
            let stored =
                shared.data().range(&range, version).filter(|(key, _)| !state.is_cleared(key)).collect();
            let mut found: BTreeMap<Vec<u8>, Vec<u8>> = stored;
            for (key, change) in state.changes.range(range.begin.clone()..range.end.clone()) {
                match change.value(found.remove(key)) {
                    Some(value) => found.insert(key.clone(), value),
                    None => None,
                };
            }
            let all = found.len();
            let found: Vec<KeyValue> = match range.reverse {
                false => found.into_iter().take(range.limit).collect(),
                true => found.into_iter().rev().take(range.limit).collect(),
            };
            if !snapshot {
                // What lies behind the last key of a cut off answer was not read.
                state.reads.push(match found.last() {
                    Some((last, _)) if found.len() < all && range.reverse => (last.clone(), range.end),
                    Some((last, _)) if found.len() < all => (range.begin, single(last).1),
                    _ => (range.begin, range.end),
                });
            }
            Ok(found)
        })
    }

    fn write(&self, write: Write) -> Result<(), StoreError> {
        self.writable()?;
        self.with(|state| state.write(write))
    }

    fn conflict(&self, kind: Conflict, begin: Vec<u8>, end: Vec<u8>) -> Result<(), StoreError> {
        self.with(|state| match kind {
            Conflict::Read => state.reads.push((begin, end)),
            Conflict::Write => state.writes.push((begin, end)),
        })
    }

    fn watch(&self, key: Vec<u8>) -> Result<Watch, StoreError> {
        let (fire, watch) = Watch::pair();
        self.with(|state| state.watches.push((key, fire)))?;
        Ok(watch)
    }
}

impl State {
    fn write(&mut self, write: Write) {
        match write {
            Write::Set(key, value) => {
                self.writes.push(single(&key));
                self.changes.insert(key, Change::Set(value));
            }
            Write::Clear(key) => {
                self.writes.push(single(&key));
                self.changes.insert(key, Change::Clear);
            }
            Write::Add(key, n) => {
                self.writes.push(single(&key));
                let change = match self.changes.get(&key) {
                    Some(Change::Set(value)) => Change::Set(added(Some(value), n)),
                    Some(Change::Clear) => Change::Set(added(None, n)),
                    Some(Change::Add(before)) => Change::Add(before.wrapping_add(n)),
                    None if self.is_cleared(&key) => Change::Set(added(None, n)),
                    None => Change::Add(n),
                };
                self.changes.insert(key, change);
            }
            Write::ClearRange(begin, end) => {
                self.changes.retain(|key, _| !(begin <= *key && *key < end));
                self.writes.push((begin.clone(), end.clone()));
                self.cleared.push((begin, end));
            }
            Write::SetStamped(key, value) => self.stamped.push((key, value)),
        }
    }

    fn is_cleared(&self, key: &[u8]) -> bool {
        self.cleared.iter().any(|(begin, end)| &begin[..] <= key && key < &end[..])
    }
}

impl Change {
    fn value(&self, stored: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match self {
            Change::Set(value) => Some(value.clone()),
            Change::Clear => None,
            Change::Add(n) => Some(added(stored.as_deref(), *n)),
        }
    }
}

/// The span of one key.
fn single(key: &[u8]) -> Span {
    let mut end = key.to_vec();
    end.push(0);
    (key.to_vec(), end)
}
