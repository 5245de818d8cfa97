//! Actors: where those live that the cluster owns, and which actor of the cluster has which name.
//!
//! An actor that the cluster owns is a durable future whose claim ends only with the actor: who claims it makes it, says
//! where it [lives](Durable::lives), and when that process is gone the claim is free, and another one makes it again. One
//! that a process owns is nothing to the store but perhaps a name, which goes with the process.

use super::FutureId;
use super::claim::Token;
use super::encoding;
use super::error::{DurableError, Refused};
use super::failure::{Cause, Failure};
use super::keys::Keys;
use super::record::{ActorSpec, Record, State};
use super::transition::Durable;
use super::work::Work;
use crate::control::members::Members;
use crate::control::store::key::Element;
use crate::control::store::{Range, Transaction, Watch};
use crate::id::ProcessId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The longest name.
const NAME: usize = 256;
/// How many names one transaction lists or clears up. Few in tests.
const BATCH: usize = if cfg!(test) { 3 } else { 500 };

/// The actor that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name of its type.
    pub type_name: String,
    /// Who owns it.
    pub owner: Owner,
}

/// Who owns an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// The cluster, as this future.
    Cluster(FutureId),
    /// A process, in which it has a number.
    Process {
        /// The process.
        process: ProcessId,
        /// The number.
        seq: u64,
    },
}

/// A name and its actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedActor {
    /// The name.
    pub name: String,
    /// The actor.
    pub actor: Named,
}

/// Where an actor is that the cluster owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In this process, under this number.
    At(ProcessId, u64),
    /// Nowhere at the moment: it is made, or waits for somebody to make it.
    Nowhere,
    /// It has ended.
    Ended {
        /// Its constructor.
        function: String,
        /// Why, if not because it was killed.
        failure: Option<Failure>,
    },
}

impl Named {
    /// What is stored of the name of an actor that the cluster owns.
    pub(super) fn of(id: FutureId, actor: Option<&ActorSpec>) -> Option<Named> {
        actor.map(|actor| Named { type_name: actor.type_name.clone(), owner: Owner::Cluster(id) })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Of text and numbers, which always have an encoding.
        encoding::encode("actor", self).unwrap_or_default()
    }
}

impl Durable {
    /// Says that the actor of a claim has been made and lives in the claimer, under this number. False if the claim is not
    /// current.
    pub async fn lives(&self, by: ProcessId, token: Token, seq: u64) -> Result<bool, DurableError> {
        self.transition(move |work| {
            Box::pin(async move {
                work.require_member(by).await?;
                work.load([token.id]).await?;
                match work.current(by, token) {
                    Ok((record, claim)) if claim.attempt.is_some() && record.spec.actor.is_some() => {}
                    Ok(_) | Err(DurableError::Stale(_)) => return Ok(false),
                    Err(error) => return Err(error),
                }
                let record = work.edit(token.id)?;
                // The budget of the constructor is there again for the next time.
                (record.died, record.failed, record.suspect, record.last_error) = (0, 0, false, None);
                if let State::Claimed(claim) = &mut record.state {
                    claim.lives = Some(seq);
                }
                Ok(true)
            })
        })
        .await
    }

    /// Says that the actor of a claim broke: it is made again, by whoever claims it, unless that happened too often.
    pub async fn broke(&self, by: ProcessId, token: Token) -> Result<(), DurableError> {
        self.transition(move |work| {
            Box::pin(async move {
                work.require_member(by).await?;
                work.load([token.id]).await?;
                match work.current(by, token) {
                    Ok(_) => work.unclaim(token.id, &[], true).await,
                    Err(DurableError::Stale(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            })
        })
        .await
    }

    /// Where an actor is, and what fires when that changes.
    pub async fn whereabouts(&self, id: FutureId) -> Result<(Whereabouts, Watch), DurableError> {
        self.look(move |tx, keys| {
            Box::pin(async move {
                let key = keys.future(id);
                let record = tx.get(&key).await?.map(|record| Record::decode(id, &record)).transpose()?;
                let record = record.ok_or_else(|| DurableError::NoSuchFuture(id.to_string()))?;
                Ok((Whereabouts::of(record), tx.watch(key)?))
            })
        })
        .await
    }

    /// Gives a name to an actor that a member owns.
    pub async fn name_actor(
        &self,
        name: String,
        type_name: String,
        process: ProcessId,
        seq: u64,
    ) -> Result<Result<(), Refused>, DurableError> {
        self.transition(move |work| {
            let (name, type_name) = (name.clone(), type_name.clone());
            Box::pin(async move {
                if let Some(why) = bad_name(&name) {
                    return Ok(Err(Refused::BadName { name, why }));
                }
                work.require_member(process).await?;
                work.find_names([name.as_str()].into()).await?;
                let named = Named { type_name, owner: Owner::Process { process, seq } };
                match work.actors.get(&name).cloned().flatten() {
                    Some(taken) if taken != named => {
                        return Ok(Err(Refused::NameTaken { name, by: taken.type_name }));
                    }
                    Some(_) => {}
                    None => {
                        work.tx.set(work.keys.actor(&name), named.encode())?;
                        work.tx.set(work.keys.naming(process, &name), b"")?;
                    }
                }
                Ok(Ok(()))
            })
        })
        .await
    }

    /// The actor that a process owned has ended: its name is free.
    pub async fn unname_actor(&self, name: String, process: ProcessId, seq: u64) -> Result<(), DurableError> {
        self.transition(move |work| {
            let name = name.clone();
            Box::pin(async move {
                let key = work.keys.actor(&name);
                let Some(value) = work.tx.get(&key).await? else { return Ok(()) };
                if encoding::decode::<Named>(key.as_ref(), &value)?.owner == (Owner::Process { process, seq })
                {
                    work.tx.clear(key)?;
                    work.tx.clear(work.keys.naming(process, &name))?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The actor that has a name.
    pub async fn find_actor(&self, name: String) -> Result<Option<Named>, DurableError> {
        let members = self.members().clone();
        self.look(move |tx, keys| {
            let (name, members) = (name.clone(), members.clone());
            Box::pin(async move {
                let key = keys.actor(&name);
                let Some(value) = tx.get(&key).await? else { return Ok(None) };
                let named = encoding::decode(key.as_ref(), &value)?;
                Ok(has_owner(tx, &members, &named).await?.then_some(named))
            })
        })
        .await
    }

    /// Actors that have names, by name, and behind which one to go on, if there are more.
    pub async fn actors(
        &self,
        after: Option<String>,
    ) -> Result<(Vec<NamedActor>, Option<String>), DurableError> {
        let members = self.members().clone();
        self.look(move |tx, keys| {
            let (after, members) = (after.clone(), members.clone());
            Box::pin(async move {
                let mut range = Range::children(&keys.actors()).limit(BATCH);
                if let Some(after) = after {
                    range = range.after(keys.actor(&after));
                }
                let found = tx.range(range).await?;
                let mut actors = Vec::with_capacity(found.len());
                let mut last = None;
                for (key, value) in &found {
                    let Some(name) = name_of(keys, key, 0) else { continue };
                    let actor: Named = encoding::decode(key, value)?;
                    last = Some(name.clone());
                    if has_owner(tx, &members, &actor).await? {
                        actors.push(NamedActor { name, actor });
                    }
                }
                Ok((actors, last.filter(|_| found.len() == BATCH)))
            })
        })
        .await
    }
}

impl Whereabouts {
    fn of(record: Record) -> Self {
        let function = record.spec.function;
        match record.state {
            State::Claimed(claim) => {
                claim.lives.map_or(Whereabouts::Nowhere, |seq| Whereabouts::At(claim.by, seq))
            }
            State::Waiting { .. } | State::Unclaimed { .. } => Whereabouts::Nowhere,
            State::Failed(failed) => Whereabouts::Ended { function, failure: Some(failed.failure) },
            State::Realized(_) | State::Cancelled { .. } => Whereabouts::Ended { function, failure: None },
        }
    }
}

impl Work {
    /// Finds out which actors have these names, all at once.
    pub(super) async fn find_names(&mut self, names: BTreeSet<&str>) -> Result<(), DurableError> {
        let values = self.tx.get_all(names.iter().map(|name| self.keys.actor(name))).await?;
        for (name, value) in names.into_iter().zip(values) {
            let key = self.keys.actor(name);
            let named = value.map(|value| encoding::decode::<Named>(key.as_ref(), &value)).transpose()?;
            let lives = match named.as_ref().map(|named| named.owner) {
                // Its name goes with it.
                Some(Owner::Cluster(_)) => true,
                Some(Owner::Process { process, .. }) => self.is_member(process).await?,
                None => false,
            };
            self.actors.insert(name.to_owned(), named.filter(|_| lives));
        }
        Ok(())
    }

    /// The names of what a process owned that is no member any more are free.
    pub(super) async fn unname_all(&mut self, dead: ProcessId) -> Result<(), DurableError> {
        let namings = self.tx.range(Range::children(&self.keys.namings_of(dead))).await?;
        for (naming, _) in namings {
            if let Some(name) = name_of(&self.keys, &naming, 1) {
                let key = self.keys.actor(&name);
                let named = self.tx.get(&key).await?;
                let named = named.map(|value| encoding::decode::<Named>(key.as_ref(), &value)).transpose()?;
                if matches!(named, Some(Named { owner: Owner::Process { process, .. }, .. }) if process == dead)
                {
                    self.tx.clear(key)?;
                }
            }
            self.tx.clear(naming)?;
        }
        Ok(())
    }

    /// An actor was lost: counts that, and gives why it has ended for good if that was once too often.
    pub(super) fn restart(&mut self, id: FutureId, worker: ProcessId) -> Result<Option<Cause>, DurableError> {
        let record = self.edit(id)?;
        let most = record.spec.actor.as_ref().map_or(0, |actor| actor.restarts);
        let (function, restarts) = (record.spec.function.clone(), record.restarts);
        record.restarts += 1;
        Ok((restarts >= most).then_some(Cause::ActorGone { function, worker, restarts }))
    }
}

/// What is wrong with a name.
pub(super) fn bad_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("it is empty"),
        name if name.len() > NAME => Some("it is longer than 256 bytes"),
        name if name.contains('\0') => Some("it has a zero byte"),
        _ => None,
    }
}

/// Whether who owns the actor is there. What the cluster owns has its name as long as it has not ended.
async fn has_owner(tx: &Transaction, members: &Members, named: &Named) -> Result<bool, DurableError> {
    match named.owner {
        Owner::Cluster(_) => Ok(true),
        Owner::Process { process, .. } => Ok(tx.get(members.key(process)).await?.is_some()),
    }
}

/// The name in a key of names.
fn name_of(keys: &Keys, key: &[u8], at: usize) -> Option<String> {
    match keys.rest(key).into_iter().nth(at)? {
        Element::Str(name) => Some(name),
        _ => None,
    }
}
