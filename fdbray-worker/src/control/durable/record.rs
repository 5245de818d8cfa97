//! The record of a durable future: what was asked for, and how far it is.

use super::FutureId;
use super::encoding::{binary, encode};
use super::entries::distinct;
use super::error::DurableError;
use super::failure::{Cause, Failure};
use crate::control::members::Capacity;
use crate::control::store::StoreError;
use crate::id::ProcessId;
use crate::registry::function_hash;
use serde::{Deserialize, Serialize};

/// The newest version of records that this program reads and writes: see [`Record::version`].
pub(super) const VERSION: u32 = 3;
/// Arguments up to this size are inside the record; larger ones are in chunks.
pub const INLINE_ARGUMENTS: usize = 4 << 10;
/// Values up to this size are inside the record; larger ones are elsewhere, or in chunks.
pub const INLINE_VALUE: usize = 64 << 10;
/// The most that arguments, or a value that is wholly in the store, may have.
pub const LARGEST: usize = 64 << 20;

/// A durable future, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this layout: the lowest that has all that is in it.
    pub v: u32,
    /// Its name. Also in its key.
    pub id: FutureId,
    /// What was submitted. Never changes, but for arguments that are not needed any more.
    pub spec: Spec,
    /// How far it is.
    pub state: State,
    /// The tick in which it was submitted.
    pub submitted: u64,
    /// How often it was claimed: the number of the current claim, or of the last one.
    pub claims: u32,
    /// How many attempts were started.
    pub attempts: u32,
    /// How many attempts ended because their process died or gave up, or because their value was lost.
    pub died: u32,
    /// The last attempt ended with its process, and may have been the reason.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspect: bool,
    /// How many attempts ended in an error that was tried again.
    pub failed: u32,
    /// Of an actor: how often it was lost after it had been made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Why the last attempt failed, while it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
    /// Who is told first of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiter: Option<ProcessId>,
    /// There may be more who are told of its end, in keys of their own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waiters: bool,
    /// There may be futures that wait for this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dependents: bool,
    /// It has ended, and some of those that wait for it have not been told.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spreading: bool,
    /// Nobody wants its value any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub released: bool,
    /// Once it has ended: the tick from which on it may be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// What was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The function's stable name.
    pub function: String,
    /// The hash of the function's signature.
    pub signature: u64,
    /// The hash of the name of the type of its result, by which `attach` is checked.
    pub returns: u64,
    /// What one attempt holds.
    pub shape: Capacity,
    /// The higher one is claimed first.
    #[serde(default)]
    pub priority: i32,
    /// Where it should run, or must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The future beside whose value it should run, or must: each time it becomes ready, `place` is where that value is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<Near>,
    /// The encoded arguments.
    pub arguments: Arguments,
    /// The durable futures among the arguments, in the order in which the encoded arguments refer to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub futures: Vec<FutureId>,
    /// Attempts after the first when a process dies.
    pub retries: u32,
    /// Attempts after one that returned an error or panicked.
    pub retry_errors: u32,
    /// The tick from which on it fails if it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// How long it is kept after its end.
    pub retention: Retention,
    /// Its whole value belongs into the store, however large.
    #[serde(default, skip_serializing_if = "is_false")]
    pub durable_value: bool,
    /// Whether what it prints and logs is shown in the driver's terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub logs: bool,
    /// If it is an actor, which does not end with its constructor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<ActorSpec>,
    /// The key under which it was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// If it has a key: the first half of the SHA-256 of its arguments and of the ids of `futures`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "binary::optional")]
    pub digest: Option<Vec<u8>>,
}

/// What an actor is beside a call of its constructor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorSpec {
    /// The name that it has in the cluster until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of its type.
    pub type_name: String,
    /// How often it is made again after it was lost.
    pub restarts: u32,
}

/// Encoded arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arguments {
    /// These bytes.
    Inline(#[serde(with = "binary")] Vec<u8>),
    /// So many bytes, in the chunks of attempt 0.
    Chunks(u64),
    /// Removed, because the value is wholly in the store.
    Dropped,
}

/// Where a future should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// In this process.
    pub process: ProcessId,
    /// Nowhere else: when that is gone, it fails. Otherwise others may take it when it has waited for 2 ticks.
    pub hard: bool,
}

/// Beside which value a future should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    /// The future that has it, in the process that computed it.
    pub future: FutureId,
    /// Nowhere else, as long as that process lives: it waits for that future, and again when the value is lost. Where the
    /// process is gone and the value is wholly in the store, it may run anywhere.
    pub hard: bool,
}

/// How long a future is kept after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retention {
    /// So many ticks.
    Ticks(u64),
    /// Until it is released.
    Forever,
}

impl Default for Retention {
    /// Seven days.
    fn default() -> Self {
        Retention::Ticks(7 * 24 * 3600)
    }
}

/// How far a future is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// For some of its arguments.
    Waiting {
        /// Those that have not ended, each once.
        missing: Vec<FutureId>,
    },
    /// It can run.
    Unclaimed {
        /// The tick in which that became so; the older one is claimed first.
        since: u64,
        /// After an error: not before this tick.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<u64>,
    },
    /// A process holds it.
    Claimed(Claim),
    /// It has a value.
    Realized(Realized),
    /// It has none and never will.
    Failed(Failed),
    /// Somebody cancelled it.
    Cancelled {
        /// The tick.
        at: u64,
    },
}

/// A process's hold on a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The process.
    pub by: ProcessId,
    /// Tells apart the claims of one process: chosen for each batch.
    pub nonce: u64,
    /// The attempt, from 1, if it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Of an actor that has been made: the number that it has in that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lives: Option<u64>,
}

/// How a future got its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realized {
    /// The value.
    pub value: Value,
    /// Who computed it.
    pub by: ProcessId,
    /// In which attempt.
    pub attempt: u32,
    /// The tick.
    pub at: u64,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Here.
    Inline(#[serde(with = "binary")] Vec<u8>),
    /// So many bytes, in the chunks of the attempt that realized it.
    Chunks(u64),
    /// So many bytes, kept by the process that computed it, as the value of that attempt.
    Kept(u64),
}

/// Why a future has no value, and when that became so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// The attempt that brought it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The tick.
    pub at: u64,
}

impl Record {
    /// What the function is called in the index: see [`function_hash`].
    pub fn kind(&self) -> u64 {
        function_hash(&self.spec.function, self.spec.signature)
    }

    /// Whether it has ended, for now or for ever.
    pub fn settled(&self) -> bool {
        matches!(self.state, State::Realized(_) | State::Failed(_) | State::Cancelled { .. })
    }

    /// Whether it has ended and nothing can make it run again: it needs its arguments no more.
    pub fn done(&self) -> bool {
        match &self.state {
            State::Realized(realized) => !matches!(realized.value, Value::Kept(_)),
            State::Failed(_) | State::Cancelled { .. } => true,
            State::Waiting { .. } | State::Unclaimed { .. } | State::Claimed(_) => false,
        }
    }

    /// Why a future that needs this one's value fails, if this one has ended without.
    pub(super) fn failure(&self) -> Option<Failure> {
        match &self.state {
            State::Failed(failed) => Some(failed.failure.clone()),
            State::Cancelled { .. } => Some(Cause::Cancelled { function: self.spec.function.clone() }.into()),
            _ => None,
        }
    }

    /// The version that its layout needs: programs that read that, and no newer one, can have it.
    pub(super) fn version(&self) -> u32 {
        let newer = |failure: &Failure| matches!(failure.cause, Cause::PlaceGone { .. });
        // What waits for an actor's future is a plain call, whose failure says so.
        let newest = |failure: &Failure| matches!(failure.cause, Cause::ActorGone { .. });
        match &self.state {
            _ if self.spec.actor.is_some() => 3,
            State::Failed(failed) if newest(&failed.failure) => 3,
            State::Failed(failed) if newer(&failed.failure) => 2,
            _ if self.spec.near.is_some() => 2,
            _ => 1,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, DurableError> {
        encode("future", self)
    }

    /// The record under `key`, or that it was written by a newer program.
    pub(super) fn decode(id: FutureId, value: &[u8]) -> Result<Record, DurableError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let newer = |v: u32| DurableError::NewerRecord { id, version: v, reads: VERSION };
        match rmp_serde::from_slice::<Record>(value) {
            Ok(record) if record.v > VERSION => Err(newer(record.v)),
            Ok(record) => Ok(record),
            Err(error) => match rmp_serde::from_slice::<Version>(value) {
                Ok(Version { v }) if v > VERSION => Err(newer(v)),
                _ => Err(StoreError::Record { key: format!("future {id}"), why: error.to_string() }.into()),
            },
        }
    }
}

impl Spec {
    /// The futures whose values it needs, or beside which it should run, each once, in no order.
    pub(super) fn needs(&self) -> Vec<FutureId> {
        distinct(self.futures.iter().copied().chain(self.near.map(|near| near.future)))
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
