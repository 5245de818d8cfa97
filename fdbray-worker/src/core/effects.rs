//! What the core wants done once its lock is released.

use super::{
    grant::{Instance, TaskKey},
    message::{Places, TaskName},
};
use crate::{
    cell::Waiters,
    error::Error,
    id::{ObjectId, ProcessId},
    objects::Spilled,
    payload::Payload,
};
use bytes::Bytes;
use std::sync::Arc;

/// What the core wants done, collected over one turn. Reused from turn to turn.
#[derive(Default)]
pub struct Effects {
    /// Peers for which there is something to send.
    pub flush: Vec<Flush>,
    /// Who waited for futures that ended.
    pub wake: Waiters,
    /// Threads that are wanted to call [`super::Core::next_batch`].
    pub runners: u32,
    /// Tasks that gave their slot back and have one again.
    pub resume: Vec<TaskKey>,
    /// Running tasks whose result is of no use any more.
    pub abort: Vec<TaskName>,
    /// Batches whose owner is gone: nothing of them is of use any more.
    pub abandon: Vec<TaskKey>,
    /// Values to fetch; answer with [`super::Core::fetched`].
    pub fetch: Vec<Fetch>,
    /// Processes to connect to.
    pub dial: Vec<ProcessId>,
    /// Sessions to end, with the reason.
    pub close: Vec<(ProcessId, String)>,
    /// Lines from remote code to show.
    pub logs: Vec<(ProcessId, u8, String, String)>,
    /// Durable futures whose end somebody here wants to know.
    pub attach: Vec<ObjectId>,
    /// Durable futures that nobody here refers to any more.
    pub detach: Vec<ObjectId>,
    /// Durable futures to cancel.
    pub cancel: Vec<ObjectId>,
    /// Whether a submitter that waits for room may try again.
    pub room: bool,
    /// Actors of this process that have ended.
    pub ended_actors: Vec<Instance>,
    /// Actors that the cluster owns, of which somebody here wants to know where they are; answer with
    /// [`super::Core::actor_found`] and its like.
    pub find_actors: Vec<ObjectId>,
    /// Actors that were to be [confirmed](super::Core::confirm), and whether they are there.
    pub confirmed: Vec<(ObjectId, bool)>,
    /// Checkpoints to keep in the store; answer with [`super::Core::checkpoint_ended`].
    pub keep: Vec<Keep>,
    /// Numbers of own actors whose end was to be told, and whether they were lost or broke rather than ended in order.
    pub over: Vec<(u64, bool)>,
    /// Values to drop outside the lock.
    pub drops: Vec<Payload>,
    /// Values on disk to drop outside the lock, where that may take a moment.
    pub spilled: Vec<Arc<Spilled>>,
}

/// Something to send to `peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// To whom.
    pub peer: ProcessId,
    /// The line is idle: write it at once rather than through the I/O thread.
    pub urgent: bool,
}

/// A checkpoint to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The actor, as it is called in this process.
    pub actor: ObjectId,
    /// The attempt in which it was made here.
    pub attempt: u32,
    /// Counts up with each of this attempt.
    pub version: u64,
    /// The checkpoint.
    pub checkpoint: Bytes,
}

/// A value to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The object.
    pub id: ObjectId,
    /// Who has it.
    pub places: Places,
    /// Bytes.
    pub len: u64,
}

/// What came of a fetch.
#[derive(Debug)]
pub enum Got {
    /// The value.
    Value {
        /// Its bytes.
        value: Payload,
        /// Whether they are in this process's memory now, rather than read in another one's.
        copied: bool,
    },
    /// It could not be had from any of its places.
    Nothing,
    /// It could be, and there is no room for it here.
    NoRoom(Error),
}

impl Effects {
    pub(super) fn flush(&mut self, peer: ProcessId, urgent: bool) {
        match self.flush.iter_mut().find(|f| f.peer == peer) {
            Some(f) => f.urgent |= urgent,
            None => self.flush.push(Flush { peer, urgent }),
        }
    }
}
