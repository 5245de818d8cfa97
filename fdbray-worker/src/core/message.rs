//! What two processes say to each other on the control lane, as postcard, one message after the other in a frame.
//!
//! A task that was sent is named by `(lease, number)`: a lease is one worker's grant to one owner in one session, and a
//! number is never used twice in a lease. So every answer names the attempt that it speaks of, and an answer about an
//! attempt that is no longer current finds nothing and is discarded.

use super::shape::Resources;
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// One message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message<'a> {
    /// Owner to worker: run this under a lease.
    Run(#[serde(borrow)] Run<'a>),
    /// Worker to owner: it ended with this value.
    Done {
        /// The task.
        task: TaskName,
        /// Nanoseconds that it ran.
        ran: u64,
        /// The encoded value.
        #[serde(borrow)]
        value: &'a [u8],
        /// The futures inside the value.
        contained: Vec<ObjectId>,
    },
    /// Worker to owner: it ended with a value that the worker keeps.
    Stored {
        /// The task.
        task: TaskName,
        /// Nanoseconds that it ran.
        ran: u64,
        /// Bytes.
        len: u64,
        /// The futures inside the value.
        contained: Vec<ObjectId>,
    },
    /// Worker to owner: it ended with an error.
    Failed {
        /// The task.
        task: TaskName,
        /// Nanoseconds that it ran.
        ran: u64,
        /// Why.
        error: Box<Error>,
    },
    /// Worker to owner: these were not started and will not be.
    NotStarted {
        /// The lease.
        lease: u32,
        /// The tasks.
        numbers: Vec<u32>,
        /// This answers a [`Message::Recall`].
        recalled: bool,
    },
    /// Worker to owner: this was not started and will not be, because the value of an argument could not be had.
    Missing {
        /// The task.
        task: TaskName,
        /// The argument.
        object: ObjectId,
        /// Who should have had it.
        holder: ProcessId,
    },
    /// Owner to worker: give back what is not started, at most `count`, the last first.
    Recall {
        /// The lease.
        lease: u32,
        /// How many.
        count: u32,
    },
    /// Owner to worker: the result is of no use any more.
    Cancel {
        /// The task.
        task: TaskName,
    },
    /// Owner to worker: the owner holds the futures inside the result, and knows of the value that the worker keeps.
    Adopted {
        /// The task.
        task: TaskName,
    },
    /// Owner to worker: the result came too late; the worker may forget it.
    Discarded {
        /// The task.
        task: TaskName,
    },
    /// Owner to worker: asks for slots.
    LeaseRequest {
        /// The owner's number of the request.
        request: u32,
        /// For tasks of this shape.
        shape: Resources,
        /// How many.
        slots: u32,
    },
    /// Owner to worker: what the request still waits for is not needed any more.
    LeaseWithdraw {
        /// The owner's number of the request.
        request: u32,
    },
    /// Worker to owner: these slots are yours.
    LeaseGrant {
        /// The owner's number of the request.
        request: u32,
        /// The worker's number of the lease.
        lease: u32,
        /// How many.
        slots: u32,
        /// Where in the worker's start marks this lease is found.
        mark: u32,
        /// These add to a lease that was granted before. An owner that has given that back gives these back, too, so that
        /// no number is used twice.
        more: bool,
    },
    /// Worker to owner: others wait; give back so many slots when you can.
    LeaseWanted {
        /// The lease.
        lease: u32,
        /// How many.
        slots: u32,
    },
    /// Owner to worker: so many slots less; with none left the lease ends.
    LeaseReturn {
        /// The lease.
        lease: u32,
        /// How many.
        slots: u32,
    },
    /// Caller to worker: asks for a line to an actor.
    LineOpen {
        /// The caller's number of the request, answered by [`Message::LeaseGrant`].
        request: u32,
        /// The actor.
        actor: ObjectId,
    },
    /// Worker to caller: the actor does not live here.
    LineRefused {
        /// The caller's number of the request.
        request: u32,
    },
    /// Worker to caller: the actor has ended.
    LineClosed {
        /// The lease.
        lease: u32,
        /// The last call that may have been started.
        started: u32,
    },
    /// Worker to owner: an actor has ended.
    ActorGone {
        /// The actor, of the receiver.
        seq: u64,
        /// Why.
        why: Gone,
    },
    /// Borrower to owner: this process holds handles of the object.
    Borrow {
        /// The object, of the receiver.
        seq: u64,
        /// Counts up with each registration of the borrower.
        epoch: u64,
    },
    /// Owner to borrower: registered.
    Borrowed {
        /// The object, of the sender.
        seq: u64,
        /// What is acknowledged.
        epoch: u64,
        /// Whether the object exists.
        known: bool,
    },
    /// Borrower to owner: holds none any more.
    Release {
        /// The object, of the receiver.
        seq: u64,
        /// The registration that ends.
        epoch: u64,
    },
    /// Borrower to owner: tell me the outcome when there is one.
    Want {
        /// The object, of the receiver.
        seq: u64,
        /// A process from which the value could not be had, and the attempt that was said to have given it.
        not_from: Option<(ProcessId, u32)>,
    },
    /// Borrower to owner: cancel the work.
    CancelObject {
        /// The object, of the receiver.
        seq: u64,
    },
    /// Owner to borrower: the value.
    Value {
        /// The object, of the sender.
        seq: u64,
        /// The encoded value.
        #[serde(borrow)]
        value: &'a [u8],
    },
    /// Owner to borrower: there is a value, to be fetched.
    ValueStored {
        /// The object, of the sender.
        seq: u64,
        /// Where it is.
        places: Places,
        /// Bytes.
        len: u64,
    },
    /// Owner to borrower: there is an error.
    ValueFailed {
        /// The object, of the sender.
        seq: u64,
        /// Why.
        error: Box<Error>,
    },
    /// Owner to holder: the value is not needed any more.
    Free {
        /// The object, of the sender.
        seq: u64,
    },
    /// To the owner: this process has a copy of the value that an attempt gave, or has none any more.
    Copied {
        /// The object, of the receiver.
        seq: u64,
        /// The attempt.
        attempt: u32,
        /// Whether it has one.
        has: bool,
    },
    /// Owner to who has a copy: the one who kept the value is gone; keep it until [`Message::Free`]. Answered only if
    /// there is no copy.
    Keep {
        /// The object, of the sender.
        seq: u64,
        /// The attempt that gave the value.
        attempt: u32,
    },
    /// Caller to worker: run this under a line to a lasting actor, once, however often it is sent.
    RunOnce {
        /// What.
        #[serde(borrow)]
        run: Run<'a>,
        /// The caller's number of the call, of all times that it is sent.
        ticket: u64,
        /// The caller is done with all its tickets for this actor below this one.
        below: u64,
    },
    /// Owner to worker: run this constructor of a lasting actor, from a checkpoint rather than from its arguments.
    RunFrom {
        /// What.
        #[serde(borrow)]
        run: Run<'a>,
        /// The last that was kept.
        #[serde(borrow)]
        checkpoint: Raw<'a>,
    },
    /// Worker to owner: keep what an actor has become.
    Checkpoint {
        /// The actor, of the receiver.
        seq: u64,
        /// The attempt in which it was made.
        attempt: u32,
        /// Counts up with each of this attempt.
        version: u64,
        /// The checkpoint.
        #[serde(borrow)]
        checkpoint: Raw<'a>,
    },
    /// Owner to worker: a checkpoint is kept.
    CheckpointKept {
        /// The actor, of the sender.
        seq: u64,
        /// The attempt in which it was made.
        attempt: u32,
        /// What is acknowledged.
        version: u64,
    },
    /// Worker to driver: a line that remote code printed or logged.
    Log {
        /// Which stream or level.
        kind: u8,
        /// The function or functions that may have written it.
        #[serde(borrow)]
        function: &'a str,
        /// The line.
        #[serde(borrow)]
        text: &'a str,
    },
}

/// A task as owner and worker name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskName {
    /// The worker's number of the lease.
    pub lease: u32,
    /// The owner's number of the task in that lease, from 1.
    pub number: u32,
}

/// A task on its way to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run<'a> {
    /// What it is called.
    pub task: TaskName,
    /// The future that it settles, of the sender.
    pub seq: u64,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The function's place in the registry.
    pub function: u64,
    /// The driver in whose terminal its output is shown, if any.
    pub root: Option<ProcessId>,
    /// The arguments, as `exec::Input` reads them.
    #[serde(borrow)]
    pub arguments: &'a [u8],
    /// Whether they are in the self-describing encoding of durable futures.
    pub described: bool,
    /// The values of the arguments that are futures, in order.
    #[serde(borrow)]
    pub futures: Vec<FutureArgument<'a>>,
}

/// The value of an argument that is a future.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FutureArgument<'a> {
    /// Its bytes.
    Value(#[serde(borrow)] &'a [u8]),
    /// Its bytes, in the self-describing encoding of durable futures.
    Described(#[serde(borrow)] &'a [u8]),
    /// Where its bytes can be fetched.
    Stored {
        /// The object.
        id: ObjectId,
        /// Where they are.
        places: Cow<'a, Places>,
        /// How many.
        len: u64,
    },
}

/// Why an actor is not where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gone {
    /// That was asked for.
    Stopped,
    /// It broke.
    Broke,
    /// Its worker leaves the cluster in order.
    Left,
}

/// Who has the bytes of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Who keeps it.
    pub holder: ProcessId,
    /// Who has a copy, or may soon: no promise.
    pub copies: Vec<ProcessId>,
    /// The attempt that gave the value: that of another one may be another.
    pub attempt: u32,
}

impl Places {
    /// All of them, the surest first.
    pub fn all(&self) -> impl Iterator<Item = ProcessId> {
        std::iter::once(self.holder).chain(self.copies.iter().copied())
    }

    /// The same, of which this one is the surest.
    pub(super) fn led_by(mut self, holder: ProcessId) -> Self {
        let before = std::mem::replace(&mut self.holder, holder);
        if before != holder {
            self.copies.retain(|place| *place != holder);
            self.copies.insert(0, before);
        }
        self
    }
}

/// Bytes that are many: written in one go rather than one by one.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a>(pub &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Raw)
    }
}

/// Appends `message` to `out`.
pub fn encode(message: &Message<'_>, out: &mut Vec<u8>) {
    // Only a map of unknown length or a failing sink makes postcard fail; there is neither.
    match postcard::to_extend(message, std::mem::take(out)) {
        Ok(grown) => *out = grown,
        Err(e) => tracing::error!("a message could not be encoded: {e}"),
    }
}

/// The first message in `bytes` and the bytes behind it.
///
/// # Errors
/// Bytes that are no message.
pub fn decode(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), postcard::Error> {
    postcard::take_from_bytes(bytes)
}
