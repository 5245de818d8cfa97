//! The unit of work: the records that one transaction has loaded, changed and will write with their index entries.

use super::FutureId;
use super::actors::Named;
use super::encoding;
use super::entries::{distinct, entries};
use super::error::DurableError;
use super::inbox::Notice;
use super::keys::Keys;
use super::record::{Record, State};
use super::shape::ShapeId;
use crate::control::members::{Members, Role};
use crate::control::store::{KeyValue, Range, Transaction};
use crate::id::ProcessId;
use futures_util::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many notices are in one entry of an inbox. Few in tests, as the next one.
const NOTICES: usize = if cfg!(test) { 3 } else { 1000 };
/// How many futures one transaction tells of the end of those that they waited for.
const SPREAD: usize = if cfg!(test) { 4 } else { 200 };

/// What one transaction does to durable futures. Nothing is written before [`Work::finish`].
pub(super) struct Work {
    pub(super) tx: Transaction,
    pub(super) keys: Keys,
    /// The tick.
    pub(super) now: u64,
    members: Members,
    /// Whether they are members, as far as it was read.
    present: BTreeMap<ProcessId, bool>,
    /// Shapes that have a record, as far as it was read ahead.
    known_shapes: BTreeSet<ShapeId>,
    /// What is in the ranges that were read ahead.
    ranges: VecDeque<(Range, Vec<KeyValue>)>,
    loaded: BTreeMap<FutureId, Loaded>,
    /// What is known of the keys of futures.
    pub(super) names: BTreeMap<String, Option<FutureId>>,
    /// What is known of the names of actors.
    pub(super) actors: BTreeMap<String, Option<Named>>,
    notices: BTreeMap<ProcessId, Vec<Notice>>,
    /// Futures that ended here and whose dependents were too many for one transaction.
    pub(super) unspread: Vec<FutureId>,
    /// How many more dependents may be told here.
    pub(super) budget: usize,
    /// Everything else has been done: what waits for what ends now may have been submitted or changed here.
    pub(super) placing: bool,
}

/// What a transition will need, so that it is asked for all at once and not one after the other. Reading it ahead changes
/// nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead {
    /// Processes of which it will be asked whether they are members.
    pub(super) members: BTreeSet<ProcessId>,
    /// Records.
    pub(super) futures: Vec<FutureId>,
    /// Shapes of which something may become ready.
    pub(super) shapes: BTreeSet<ShapeId>,
    /// Ranges that it reads by snapshot, to be taken with [`Work::range_ahead`].
    pub(super) ranges: Vec<Range>,
}

struct Loaded {
    record: Result<Option<Record>, DurableError>,
    /// Its entries in the store, once it is being changed.
    before: Option<Vec<KeyValue>>,
}

impl Work {
    pub(super) async fn begin(
        tx: Transaction,
        keys: Keys,
        members: Members,
        ahead: &Ahead,
    ) -> Result<Work, DurableError> {
        let present = ahead.members.iter().map(|member| members.key(*member));
        let known = ahead.shapes.iter().map(|shape| keys.shape(*shape));
        let records = distinct(ahead.futures.iter().copied());
        let wanted = present.chain(known).chain(records.iter().map(|id| keys.future(*id)));
        let snapshot = tx.snapshot();
        let ranges = try_join_all(ahead.ranges.iter().map(|range| snapshot.range(range.clone())));
        let (now, values, ranges) =
            tokio::try_join!(tick(&tx, &keys), async { Ok(tx.get_all(wanted).await?) }, async {
                Ok(ranges.await?)
            },)?;
        let mut work = Work {
            tx,
            keys,
            now,
            members,
            present: BTreeMap::new(),
            known_shapes: BTreeSet::new(),
            ranges: ahead.ranges.iter().cloned().zip(ranges).collect(),
            loaded: BTreeMap::new(),
            names: BTreeMap::new(),
            actors: BTreeMap::new(),
            notices: BTreeMap::new(),
            unspread: Vec::new(),
            budget: SPREAD,
            placing: false,
        };
        let mut values = values.into_iter();
        work.present.extend(ahead.members.iter().copied().zip(values.by_ref().map(|value| value.is_some())));
        for (shape, value) in ahead.shapes.iter().zip(values.by_ref()) {
            work.known_shapes.extend(value.is_some().then_some(*shape));
        }
        work.take(records, values);
        Ok(work)
    }

    /// Loads records, all at once. Conflicts with whoever changes one.
    pub(super) async fn load(&mut self, ids: impl IntoIterator<Item = FutureId>) -> Result<(), DurableError> {
        let missing = distinct(ids.into_iter().filter(|id| !self.loaded.contains_key(id)));
        if !missing.is_empty() {
            let values = self.tx.get_all(missing.iter().map(|id| self.keys.future(*id))).await?;
            self.take(missing, values);
        }
        Ok(())
    }

    fn take(&mut self, ids: Vec<FutureId>, values: impl IntoIterator<Item = Option<Vec<u8>>>) {
        for (id, value) in ids.into_iter().zip(values) {
            let record = value.map(|value| Record::decode(id, &value)).transpose();
            self.loaded.insert(id, Loaded { record, before: None });
        }
    }

    /// What is in a range, read by snapshot, perhaps ahead.
    pub(super) async fn range_ahead(&mut self, range: Range) -> Result<Vec<KeyValue>, DurableError> {
        match self.ranges.iter().position(|(read, _)| *read == range).and_then(|at| self.ranges.remove(at)) {
            Some((_, found)) => Ok(found),
            None => Ok(self.tx.snapshot().range(range).await?),
        }
    }

    /// The record that was loaded.
    pub(super) fn get(&self, id: FutureId) -> Result<Option<&Record>, DurableError> {
        match self.loaded.get(&id).map(|loaded| &loaded.record) {
            Some(Ok(record)) => Ok(record.as_ref()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }

    /// As [`Work::get`], for those that must be there.
    pub(super) fn expect(&self, id: FutureId) -> Result<&Record, DurableError> {
        self.get(id)?.ok_or_else(|| DurableError::NoSuchFuture(id.to_string()))
    }

    /// The record that was loaded, to be changed.
    pub(super) fn edit(&mut self, id: FutureId) -> Result<&mut Record, DurableError> {
        let gone = || DurableError::NoSuchFuture(id.to_string());
        let Loaded { record, before } = self.loaded.get_mut(&id).ok_or_else(gone)?;
        match record {
            Ok(Some(record)) => {
                before.get_or_insert_with(|| entries(&self.keys, record));
                Ok(record)
            }
            Ok(None) => Err(gone()),
            Err(error) => Err(error.clone()),
        }
    }

    /// Adds a record of which it is known that it was not there.
    pub(super) fn insert(&mut self, record: Record) {
        self.loaded.insert(record.id, Loaded { record: Ok(Some(record)), before: Some(Vec::new()) });
    }

    /// Removes a record with all that belongs to it.
    pub(super) fn remove(&mut self, id: FutureId) -> Result<(), DurableError> {
        let record = self.edit(id)?;
        let chunks = record.has_chunks();
        let waiters = record.waiters;
        if let Some(loaded) = self.loaded.get_mut(&id) {
            loaded.record = Ok(None);
        }
        if chunks {
            self.clear(&self.keys.chunks_of(id))?;
        }
        if waiters {
            self.clear(&self.keys.waiters(id))?;
        }
        Ok(())
    }

    /// Removes all keys below one.
    pub(super) fn clear(&self, key: &crate::control::store::Key) -> Result<(), DurableError> {
        let (begin, end) = key.children();
        Ok(self.tx.clear_range(begin, end)?)
    }

    /// Whether there are keys below one.
    pub(super) async fn any(&self, key: &crate::control::store::Key) -> Result<bool, DurableError> {
        Ok(!self.tx.range(Range::children(key).limit(1)).await?.is_empty())
    }

    /// What a process is there for; none if it is no member. Conflicts with its death.
    pub(super) async fn role(&self, process: ProcessId) -> Result<Option<Role>, DurableError> {
        Ok(self.members.role(&self.tx, process).await?)
    }

    /// Whether a process is a member. Conflicts with its death.
    pub(super) async fn is_member(&self, process: ProcessId) -> Result<bool, DurableError> {
        match self.present.get(&process) {
            Some(present) => Ok(*present),
            None => Ok(self.tx.get(self.members.key(process)).await?.is_some()),
        }
    }

    /// Whether a shape is known to have a record.
    pub(super) fn knows_shape(&self, shape: ShapeId) -> bool {
        self.known_shapes.contains(&shape)
    }

    /// Fails for who is no member any more. Conflicts with its death.
    pub(super) async fn require_member(&self, process: ProcessId) -> Result<(), DurableError> {
        if self.is_member(process).await? { Ok(()) } else { Err(DurableError::NotMember(process)) }
    }

    /// Tells a process something with the commit.
    pub(super) fn notify(&mut self, process: ProcessId, notice: Notice) {
        self.notices.entry(process).or_default().push(notice);
    }

    /// Writes what was changed.
    pub(super) async fn finish(mut self) -> Result<Vec<FutureId>, DurableError> {
        self.place_ready().await?;
        let mut shapes = BTreeMap::new();
        for (id, loaded) in &mut self.loaded {
            let (Ok(record), Some(before)) = (&mut loaded.record, &loaded.before) else { continue };
            let key = self.keys.future(*id);
            let after = match record {
                Some(record) => {
                    record.v = record.version();
                    self.tx.set(&key, record.encode()?)?;
                    if let State::Unclaimed { not_before: None, .. } = record.state {
                        shapes.insert(ShapeId::of(&record.spec.shape), record.spec.shape.clone());
                    }
                    entries(&self.keys, record)
                }
                None => {
                    self.tx.clear(&key)?;
                    Vec::new()
                }
            };
            for (key, _) in before.iter().filter(|(key, _)| !after.iter().any(|(other, _)| other == key)) {
                self.tx.clear(key)?;
            }
            for (key, value) in after.iter().filter(|entry| !before.contains(entry)) {
                self.tx.set(key, value)?;
            }
        }
        for shape in shapes.values() {
            self.announce(shape).await?;
        }
        for (process, notices) in std::mem::take(&mut self.notices) {
            // The dead have no inbox. Their death conflicts with this.
            if !self.is_member(process).await? {
                continue;
            }
            for (number, notices) in notices.chunks(NOTICES).enumerate() {
                let entry = self.keys.next_notices(process, number as u16);
                self.tx.set_stamped(entry, encoding::encode("inbox", &notices)?)?;
            }
            self.tx.add(self.keys.bell(process), 1)?;
        }
        Ok(self.unspread)
    }

    /// Those that are ready, were changed here, and have or may have a place.
    pub(super) fn unplaced(&self) -> impl Iterator<Item = FutureId> {
        let ready = |id: FutureId, record: &Record| {
            matches!(record.state, State::Unclaimed { not_before: None, .. })
                && (record.spec.place.is_some() || (record.spec.near.is_some() && !self.was_ready(id)))
        };
        self.changed().filter(move |(id, record)| ready(*id, record)).map(|(id, _)| id)
    }

    /// Records that were changed here and wait for a future.
    pub(super) fn waiting_here(&self, argument: FutureId) -> impl Iterator<Item = FutureId> {
        let waits = move |record: &Record| match &record.state {
            State::Waiting { missing } => missing.contains(&argument),
            _ => false,
        };
        self.changed().filter(move |(_, record)| waits(record)).map(|(id, _)| id)
    }

    fn changed(&self) -> impl Iterator<Item = (FutureId, &Record)> {
        self.loaded.iter().filter_map(|(id, loaded)| match (&loaded.record, &loaded.before) {
            (Ok(Some(record)), Some(_)) => Some((*id, record)),
            _ => None,
        })
    }

    /// Whether it was ready before this transaction.
    pub(super) fn was_ready(&self, id: FutureId) -> bool {
        let before = self.loaded.get(&id).and_then(|loaded| loaded.before.as_ref());
        before.is_some_and(|before| before.iter().any(|(key, _)| self.keys.is_ready(key)))
    }
}

/// The tick. Conflicts with nobody.
pub(super) async fn tick(tx: &Transaction, keys: &Keys) -> Result<u64, DurableError> {
    let value = tx.snapshot().get(keys.clock()).await?;
    Ok(value.map_or(0, |value| number(&value)))
}

/// A number that atomic addition keeps.
pub(super) fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
