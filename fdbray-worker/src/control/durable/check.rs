//! The checker: whether the index, the claims and the states agree. Also for a cluster that is in use.
//!
//! It reads page after page, each of one moment, and compares with what the records ask for. So it finds what is wrong
//! for good, and never takes a change between two pages for that.

use super::FutureId;
use super::actors::{Named, Owner};
use super::encoding;
use super::entries::entries;
use super::error::DurableError;
use super::inbox::process;
use super::keys::Keys;
use super::list::Stage;
use super::record::{Arguments, Record, Retention, State, Value};
use super::shape::ShapeId;
use super::transition::Durable;
use crate::control::members::Members;
use crate::control::store::{Key, KeyValue, Range, Transaction};
use crate::id::ProcessId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many keys are looked at in one transaction.
const PAGE: usize = 100;

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What does not agree. Empty if all is well.
    pub discrepancies: Vec<Discrepancy>,
    /// Processes that are no members and have claims, an inbox or marks. That is no disagreement: it is cleared up by
    /// [`Durable::recover`]. When all of them have been recovered, there must be none.
    pub dead: BTreeSet<ProcessId>,
    /// How many futures there are, in the order of [`Stage`].
    pub futures: [usize; 6],
    /// Records that a newer program wrote. They and their entries were not checked.
    pub newer: usize,
}

/// One thing that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discrepancy {
    /// The key, readable.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl Durable {
    /// Compares all there is. Changes nothing.
    pub async fn check(&self) -> Result<Report, DurableError> {
        let mut report = Report::default();
        let keys = &self.keys;
        let mut kinds = vec![(Kind::Record, keys.futures())];
        for index in [keys.ready(), keys.claims(), keys.timers(), keys.all_waiting(), keys.all_holds()] {
            kinds.push((Kind::Entry, index));
        }
        kinds.push((Kind::Entry, keys.all_spreading()));
        kinds.push((Kind::Named, keys.named()));
        kinds.push((Kind::Actor, keys.actors()));
        kinds.push((Kind::Checkpoint, keys.checkpoints()));
        kinds.push((Kind::Waiter, keys.all_waiters()));
        kinds.push((Kind::Chunk, keys.all_chunks()));
        for owned in [keys.inboxes(), keys.bells(), keys.all_staged(), keys.all_namings()] {
            kinds.push((Kind::Owned, owned));
        }
        for (kind, prefix) in kinds {
            let (mut begin, end) = prefix.children();
            loop {
                let (members, range) = (self.members().clone(), Range::new(begin, end.clone()).limit(PAGE));
                let page = self
                    .look(move |tx, keys| {
                        let (members, range) = (members.clone(), range.clone());
                        Box::pin(async move {
                            let mut page = Page { tx, keys, members, report: Report::default() };
                            let found = tx.range(range).await?;
                            for entry in &found {
                                page.check(kind, entry).await?;
                            }
                            Ok((page.report, found.last().map(|(key, _)| key.clone())))
                        })
                    })
                    .await?;
                report.merge(page.0);
                let Some(last) = page.1 else { break };
                begin = last;
                begin.push(0);
            }
        }
        Ok(report)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Record,
    Entry,
    Named,
    Actor,
    Checkpoint,
    Waiter,
    Chunk,
    Owned,
}

struct Page<'a> {
    tx: &'a Transaction,
    keys: &'a Keys,
    members: Members,
    report: Report,
}

impl Page<'_> {
    async fn check(&mut self, kind: Kind, (key, value): &KeyValue) -> Result<(), DurableError> {
        let rest = self.keys.rest(key);
        let of = |rest| FutureId::from_elements(rest);
        match kind {
            Kind::Record => match of(&rest).map(|id| Record::decode(id, value)) {
                Some(Ok(record)) => self.record(key, &record).await?,
                Some(Err(DurableError::NewerRecord { .. })) => self.report.newer += 1,
                Some(Err(error)) => self.wrong(key, error.to_string()),
                None => self.wrong(key, "no key of a record"),
            },
            Kind::Entry => match of(&rest) {
                Some(id) => self.entry(id, key, value).await?,
                None => self.wrong(key, "no key of the index"),
            },
            Kind::Named => match std::str::from_utf8(value).ok().and_then(|id| id.parse().ok()) {
                Some(id) => self.entry(id, key, value).await?,
                None => self.wrong(key, "does not name a future"),
            },
            Kind::Actor => match encoding::decode::<Named>(key, value)?.owner {
                Owner::Cluster(id) => self.entry(id, key, value).await?,
                Owner::Process { process, .. } => self.process(process).await?,
            },
            Kind::Checkpoint => match of(&rest[..rest.len().min(2)]) {
                Some(id) => match self.get(id).await? {
                    Some(Some(record)) if record.spec.actor.is_some() && !record.settled() => {}
                    None => {}
                    _ => self.wrong(key, "is the checkpoint of no actor that lives"),
                },
                None => self.wrong(key, "no key of a checkpoint"),
            },
            Kind::Waiter => match of(&rest[..rest.len().saturating_sub(1)]) {
                Some(id) => match self.get(id).await? {
                    Some(Some(record)) if record.waiters && !record.settled() => {}
                    None => {}
                    _ => self.wrong(key, "waits for a future that knows nothing of it"),
                },
                None => self.wrong(key, "no key of a waiter"),
            },
            Kind::Chunk => self.chunk(key, &rest).await?,
            Kind::Owned => match process(rest.first()) {
                Some(process) => self.process(process).await?,
                None => self.wrong(key, "belongs to no process"),
            },
        }
        Ok(())
    }

    async fn record(&mut self, key: &[u8], record: &Record) -> Result<(), DurableError> {
        let id = record.id;
        self.report.futures[record.state.stage() as usize] += 1;
        for (entry, value) in entries(self.keys, record) {
            let found = self.tx.get(&entry).await?;
            if found.as_ref() != Some(&value) {
                let what = if found.is_none() { "is missing" } else { "has another value" };
                self.wrong(&entry, format!("{what} although {id} is {:?}", record.state.stage()));
            }
        }
        match &record.state {
            State::Waiting { missing } => {
                if missing.is_empty() {
                    self.wrong(key, "waits for nothing");
                }
                for argument in missing {
                    match self.get(*argument).await? {
                        Some(Some(waited)) if waited.settled() != waited.dependents || waited.spreading => {}
                        None => {}
                        _ => self.wrong(key, format!("waits for {argument}, which will not tell it")),
                    }
                }
            }
            State::Unclaimed { not_before: None, .. } => {
                if self.tx.get(self.keys.shape(ShapeId::of(&record.spec.shape))).await?.is_none() {
                    self.wrong(key, "is ready, but nobody looks after its shape");
                }
                if let Some(place) = record.spec.place {
                    self.process(place.process).await?;
                }
            }
            State::Claimed(claim) => self.process(claim.by).await?,
            State::Realized(realized) => {
                if let Value::Chunks(len) = realized.value {
                    self.length(key, id, realized.attempt, len).await?;
                }
            }
            State::Unclaimed { .. } | State::Failed(_) | State::Cancelled { .. } => {}
        }
        if let Arguments::Chunks(len) = record.spec.arguments {
            self.length(key, id, 0, len).await?;
        }
        if !record.done() {
            for argument in record.spec.needs() {
                if self.get(argument).await?.is_some_and(|record| record.is_none()) {
                    self.wrong(key, format!("its argument {argument} is gone"));
                }
            }
        }
        if record.settled() {
            let kept = record.spec.retention == Retention::Forever && !record.released;
            if record.expires.is_none() != kept {
                self.wrong(key, "has ended, but its retention is not as its options say");
            }
            let waiting = Range::children(&self.keys.waiting_for(id)).limit(1);
            if !record.spreading && !self.tx.range(waiting).await?.is_empty() {
                self.wrong(key, "has ended, but some still wait for it");
            }
        }
        Ok(())
    }

    /// An index entry: the record has to ask for it.
    async fn entry(&mut self, id: FutureId, key: &[u8], value: &[u8]) -> Result<(), DurableError> {
        match self.get(id).await? {
            Some(None) => self.wrong(key, format!("{id} is not there")),
            Some(Some(record)) if entries(self.keys, &record).iter().any(|(k, v)| k == key && v == value) => {
            }
            Some(Some(record)) => {
                self.wrong(key, format!("{id} is {:?} and does not ask for it", record.state.stage()));
            }
            None => {}
        }
        Ok(())
    }

    async fn chunk(
        &mut self,
        key: &[u8],
        rest: &[crate::control::store::key::Element],
    ) -> Result<(), DurableError> {
        let attempt = rest.get(2).and_then(|attempt| attempt.as_u64());
        let (Some(id), Some(attempt)) = (FutureId::from_elements(&rest[..rest.len().min(2)]), attempt) else {
            self.wrong(key, "no key of a chunk");
            return Ok(());
        };
        let staged = attempt == 0 && self.tx.get(self.keys.staged(id)).await?.is_some();
        let wanted = match self.get(id).await? {
            Some(Some(record)) => match &record.state {
                _ if attempt == 0 => matches!(record.spec.arguments, Arguments::Chunks(_)),
                State::Claimed(claim) => claim.attempt.map(u64::from) == Some(attempt),
                State::Realized(realized) => {
                    u64::from(realized.attempt) == attempt && matches!(realized.value, Value::Chunks(_))
                }
                _ => false,
            },
            Some(None) => false,
            None => true,
        };
        if !wanted && !staged {
            self.wrong(key, "is a chunk that nobody needs");
        }
        Ok(())
    }

    async fn length(&mut self, key: &[u8], id: FutureId, attempt: u32, len: u64) -> Result<(), DurableError> {
        let chunks = self.tx.range(Range::children(&self.keys.chunks(id, attempt))).await?;
        let found: u64 = chunks.iter().map(|(_, chunk)| chunk.len() as u64).sum();
        if found != len {
            self.wrong(key, format!("has {found} bytes in the chunks of attempt {attempt} instead of {len}"));
        }
        Ok(())
    }

    async fn process(&mut self, process: ProcessId) -> Result<(), DurableError> {
        if self.tx.get(self.members.key(process)).await?.is_none() {
            self.report.dead.insert(process);
        }
        Ok(())
    }

    /// A record, or that there is none. None if it cannot be read here, which is said where it is found.
    async fn get(&self, id: FutureId) -> Result<Option<Option<Record>>, DurableError> {
        match self.tx.get(self.keys.future(id)).await? {
            Some(value) => Ok(Record::decode(id, &value).ok().map(Some)),
            None => Ok(Some(None)),
        }
    }

    fn wrong(&mut self, key: impl AsRef<[u8]>, why: impl Into<String>) {
        let key = Key::elements(key.as_ref())
            .map_or_else(|_| key.as_ref().escape_ascii().to_string(), |elements| format!("{elements:?}"));
        self.report.discrepancies.push(Discrepancy { key, why: why.into() });
    }
}

impl Report {
    /// Whether everything agrees.
    pub fn clean(&self) -> bool {
        self.discrepancies.is_empty()
    }

    /// How many futures are that far.
    pub fn count(&self, stage: Stage) -> usize {
        self.futures[stage as usize]
    }

    fn merge(&mut self, page: Report) {
        self.discrepancies.extend(page.discrepancies);
        self.dead.extend(page.dead);
        self.newer += page.newer;
        for (count, more) in self.futures.iter_mut().zip(page.futures) {
            *count += more;
        }
    }
}

/// By key, for tests that print them.
impl Report {
    /// The discrepancies, one a line, each kind of reason with its number.
    pub fn summary(&self) -> String {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for discrepancy in &self.discrepancies {
            *reasons.entry(&discrepancy.why).or_default() += 1;
        }
        let lines = self.discrepancies.iter().take(20).map(ToString::to_string);
        lines
            .chain([format!("{} in all, {} reasons", self.discrepancies.len(), reasons.len())])
            .collect::<Vec<_>>()
            .join("\n")
    }
}
