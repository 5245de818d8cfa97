//! Waiting without polling: each process has one inbox, with one watched key, however many futures it waits for.

use super::FutureId;
use super::encoding;
use super::error::DurableError;
use super::keys::Keys;
use super::record::Record;
use super::transition::Durable;
use super::work::Work;
use crate::control::members::Members;
use crate::control::store::key::Element;
use crate::control::store::{Range, Transaction, Watch};
use crate::id::ProcessId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many entries are read at once. Few in tests.
const ENTRIES: usize = if cfg!(test) { 2 } else { 20 };

/// Of how many futures that have ended the records are read with the mail. Few in tests.
const RECORDS: usize = if cfg!(test) { 2 } else { 200 };

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Notice {
    /// A future that it waits for has ended.
    Settled(FutureId),
    /// A future that it has claimed was taken from it: cancelled, or past its deadline.
    Revoked(FutureId),
}

/// What one looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A future by its id.
    Id(FutureId),
    /// A future by the key that it was submitted under.
    Key(String),
}

impl From<&str> for Target {
    /// An id if it looks like one, which no key does.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Target::Key(text.to_owned()), Target::Id)
    }
}

/// Up to where an inbox was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled(Vec<u8>);

/// What was in an inbox.
#[derive(Debug)]
pub struct Mail {
    /// The notices, oldest first.
    pub notices: Vec<Notice>,
    /// The records of the first futures that have ended, so that they need not be read by themselves.
    pub records: Vec<Record>,
    /// To be handed to the next call once the notices have been handled; none if there never was anything.
    pub handled: Option<Handled>,
    /// There may be more already.
    pub more: bool,
    /// Resolves when more comes. A hint: to be on the safe side, read again each 30 s.
    pub watch: Watch,
}

impl Durable {
    /// Has `waiter` told when these futures end, those that have not. For each its record as it is now. A type, if given,
    /// has to be the hash of its result's.
    pub async fn attach(
        &self,
        targets: Vec<(Target, Option<u64>)>,
        waiter: ProcessId,
    ) -> Result<Vec<Result<Record, DurableError>>, DurableError> {
        let targets = Arc::new(targets);
        self.transition(move |work| {
            let targets = targets.clone();
            Box::pin(async move {
                work.require_member(waiter).await?;
                let (mut ids, mut keys) = (Vec::new(), BTreeSet::new());
                for (target, _) in targets.iter() {
                    match target {
                        Target::Id(id) => ids.push(*id),
                        Target::Key(key) => drop(keys.insert(key.as_str())),
                    }
                }
                work.load(ids).await?;
                work.find_keys(keys).await?;
                let mut records = Vec::with_capacity(targets.len());
                for (target, returns) in targets.iter() {
                    records.push(work.attach(target, waiter, *returns));
                }
                Ok(records)
            })
        })
        .await
    }

    /// Reads what is in an inbox behind what was `handled`. What is read stays until it is [removed](Durable::clear_mail),
    /// so that a reader that dies, or does not hear the answer, loses nothing.
    pub async fn mail(&self, of: ProcessId, handled: Option<Handled>) -> Result<Mail, DurableError> {
        let members = self.members().clone();
        self.look(move |tx, keys| {
            let (members, handled) = (members.clone(), handled.clone());
            Box::pin(async move { read(tx, keys, &members, of, handled).await })
        })
        .await
    }

    /// Removes from an inbox what was handled, and what is older.
    pub async fn clear_mail(&self, of: ProcessId, handled: Handled) -> Result<(), DurableError> {
        let keys = self.keys.clone();
        self.store
            .transact_idempotent(move |tx| {
                let (keys, handled) = (keys.clone(), handled.clone());
                async move {
                    let (begin, _) = keys.inbox(of).children();
                    let mut end = handled.0.clone();
                    end.push(0);
                    Ok(tx.clear_range(begin, end)?)
                }
            })
            .await
    }

    /// The records of these futures, as far as they are there.
    pub async fn records(&self, ids: Vec<FutureId>) -> Result<Vec<Option<Record>>, DurableError> {
        let ids = Arc::new(ids);
        self.look(move |tx, keys| {
            let ids = ids.clone();
            Box::pin(async move {
                let values = tx.get_all(ids.iter().map(|id| keys.future(*id))).await?;
                let records = ids
                    .iter()
                    .zip(values)
                    .map(|(id, value)| value.map(|value| Record::decode(*id, &value)).transpose());
                records.collect()
            })
        })
        .await
    }

    /// The record of a future.
    pub async fn record(&self, id: FutureId) -> Result<Record, DurableError> {
        let record = self.records(vec![id]).await?.pop().flatten();
        record.ok_or_else(|| DurableError::NoSuchFuture(id.to_string()))
    }
}

impl Work {
    fn attach(
        &mut self,
        target: &Target,
        waiter: ProcessId,
        returns: Option<u64>,
    ) -> Result<Record, DurableError> {
        let id = match target {
            Target::Id(id) => *id,
            Target::Key(key) => {
                let found = self.names.get(key).copied().flatten();
                found.ok_or_else(|| DurableError::NoSuchFuture(format!("with the key `{key}`")))?
            }
        };
        let record = self.expect(id)?;
        if returns.is_some_and(|returns| returns != record.spec.returns) {
            return Err(DurableError::OtherType { id, function: record.spec.function.clone() });
        }
        if !record.settled() && record.waiter != Some(waiter) {
            if record.waiter.is_none() {
                self.edit(id)?.waiter = Some(waiter);
            } else {
                if !record.waiters {
                    self.edit(id)?.waiters = true;
                }
                self.tx.set(self.keys.waiter(id, waiter), b"")?;
            }
        }
        Ok(self.expect(id)?.clone())
    }
}

/// What is in an inbox behind what was handled.
async fn read(
    tx: &Transaction,
    keys: &Keys,
    members: &Members,
    of: ProcessId,
    handled: Option<Handled>,
) -> Result<Mail, DurableError> {
    let mut range = Range::children(&keys.inbox(of)).limit(ENTRIES);
    if let Some(Handled(last)) = &handled {
        range = range.after(last);
    }
    // Nobody changes an entry, and the watch tells of new ones: no need to conflict with who writes them.
    let snapshot = tx.snapshot();
    let (member, entries) = tokio::try_join!(tx.get(members.key(of)), snapshot.range(range))?;
    // The dead get no mail: they would wait for ever.
    if member.is_none() {
        return Err(DurableError::NotMember(of));
    }
    let mut notices = Vec::new();
    for (key, value) in &entries {
        notices.extend(encoding::decode::<Vec<Notice>>(key, value)?);
    }
    let settled = notices.iter().filter_map(|notice| match notice {
        Notice::Settled(id) => Some(*id),
        Notice::Revoked(_) => None,
    });
    let settled: Vec<FutureId> = settled.take(RECORDS).collect();
    let values = tx.snapshot().get_all(settled.iter().map(|id| keys.future(*id))).await?;
    let found = settled.into_iter().zip(values).filter_map(|(id, value)| Some((id, value?)));
    // What cannot be read is found again by who reads it by itself.
    let records = found.filter_map(|(id, value)| Record::decode(id, &value).ok()).collect();
    let handled = entries.last().map(|(key, _)| Handled(key.clone())).or(handled);
    let more = entries.len() == ENTRIES;
    Ok(Mail { notices, records, handled, more, watch: tx.watch(keys.bell(of))? })
}

/// The process that a key of an inbox, a claim or a mark belongs to.
pub(super) fn process(element: Option<&Element>) -> Option<ProcessId> {
    element.and_then(Element::as_u64).and_then(ProcessId::new)
}
