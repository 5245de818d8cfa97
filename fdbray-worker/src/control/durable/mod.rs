//! Durable futures: calls that the cluster owns, in the store, so that they survive every process.
//!
//! A future is *submitted* (alone or under a key of its own), *claimed* by a worker, *started*, *completed*; it is
//! *settled* when it has a value, an error, or was cancelled; later it is *released* or its retention ends, and it is
//! removed. [`Durable`] has a method for each step, and each is one transaction for many futures.
//!
//! ```text
//! Waiting --> Unclaimed --> Claimed --> Realized | Failed | Cancelled
//!    ^            ^  ^---------'|           |
//!    |            |  gave up,   |           |
//!    |            |  died, retry|           |
//!    |            '-------------------------' the value was lost
//!    '--------------------------' an argument's value was lost
//! ```
//!
//! # What holds
//!
//! - **A state changes only in a transaction that read it.** Who acts on a claim names it ([`Token`]: the future and the
//!   number of its claim), and what is not current is discarded. So two processes never both complete a future.
//! - **Every transition may run again after it took effect**, because an unknown commit result says no more than that. It
//!   reads what it would have written: the future's id was chosen by the submitter, claims carry the nonce of their batch,
//!   attempts their claim. Nothing unconditional is retried.
//! - **The index is a function of the records** (`entries.rs`): a transition changes records, and the unit of work that
//!   runs it writes the difference between the entries before and after. [`Durable::check`] compares them, on live
//!   clusters too.
//! - **A claim is not a start.** Only starting spends an attempt; who dies with claims that it has not started costs nobody
//!   anything. What is on its last attempt is started only where it begins at once ([`Room::now`]).
//! - **The dead complete nothing.** Claiming, starting, completing and writing values ahead read the member's record in
//!   the same transaction. Everything that a process may leave behind can be found by its id: [`Durable::recover`].
//! - **Places are decided when a future becomes ready** (`place.rs`), in the transaction that makes it so, and again in the
//!   one that finds the process gone: what prefers it may run anywhere then, what must run there fails, and what must run
//!   beside a value waits until that is computed again.
//! - **Nobody polls.** Workers watch the signals of their shapes, waiters the bell of their inbox; both are hints, and
//!   looked at again each 30 s. Dependents become ready in the transaction that settles their last argument; when they
//!   are more than 200, the rest follow in further transactions, which anyone may go on with (`spread`).
//!
//! # Keys
//!
//! Tuples (see [`key`](super::store::key)) below `("fdbray", cluster, "durable")`. A future is two elements, the process
//! that submitted it and its number there: `F` stands for both. Numbers in values are little-endian `u64`.
//!
//! | key | value |
//! |---|---|
//! | `("format")` | MessagePack `{format, written_by}`: the format of all this, now 1 |
//! | `("clock")` | the number of the tick. Moved by whoever has seen it unchanged for one second |
//! | `("future", F)` | MessagePack [`Record`] |
//! | `("key", text)` | the id, as text, of the future that was submitted under this key |
//! | `("actor", name)` | MessagePack [`Named`]: the actor that has this name now |
//! | `("naming", process, name)` | nothing. The name is that of an actor which this process owns |
//! | `("ready", shape, place, -priority, kind, shard, since, F)` | nothing. A future that may be claimed: of this [shape](ShapeId); to run in the process `place`, 0 for anywhere; `kind` is the [hash of function and signature](crate::registry::function_hash); `shard` is the process xor the number, modulo 16; `since` is a tick |
//! | `("claim", process, F)` | the nonce of the batch. A future that this process has claimed |
//! | `("timer", tick, what, F)` | nothing. From this tick on its `deadline` is over, it may be tried again (`retry`), it may run anywhere (`place`), or its retention has ended (`expiry`) |
//! | `("waiting", A, F)` | nothing. `F` waits for the end of `A` |
//! | `("hold", A, F)` | nothing. `F` may need the value of `A`, or has to run where that is; it is not removed before |
//! | `("spread", F)` | nothing. It has ended, and more wait for it than have been told |
//! | `("waiter", F, process)` | nothing. This process too is told when `F` ends (the first one is in the record) |
//! | `("inbox", process, versionstamp)` | MessagePack list of [`Notice`]s for this process, until it has handled them |
//! | `("bell", process)` | a number that changes with each entry in the inbox: the one key that a waiter watches |
//! | `("shape", shape)` | MessagePack `{shape}`: what the [number](ShapeId) stands for |
//! | `("shapes")` | a number that changes when shapes come or go |
//! | `("signal", shape)` | a number that changes when futures of this shape become ready: what its workers watch |
//! | `("chunk", F, attempt, n)` | 90,000 bytes, the last one fewer: of the arguments (attempt 0) or of the value that this attempt computed |
//! | `("checkpoint", F)` | MessagePack `{claim, version, len}`: the last checkpoint of an actor |
//! | `("checkpoint", F, claim, version, n)` | 90,000 bytes of it, the last one fewer |
//! | `("staged", F)` | nothing. Chunks of arguments were written ahead of a submission that has not come |
//!
//! `ready`, `claim`, `timer`, `waiting`, `hold`, `spread`, `key`, and `actor` of an actor that the cluster owns, follow from the
//! records alone. To wipe the
//! durable futures of one cluster, clear the range of `("fdbray", cluster, "durable")`.
//!
//! # Versions
//!
//! Records outlive binaries. They are maps with field names; fields may be added with a default, and `v` counts up when
//! that is not enough: 2 has `near` and the cause `PlaceGone`, 3 has actors. Each record is written with the lowest `v` that has what is
//! in it, so that older programs read what needs nothing new. A record with a newer `v` is [refused by name](DurableError::NewerRecord) where it was asked for,
//! and passed over where it was met in a batch: somebody who can read it will come by. A newer format of the whole is
//! [refused](DurableError::OtherFormat) at the start. Functions are named, and signatures hashed, so that workers of
//! different builds share the work by what they have.
//!
//! | file | job |
//! |---|---|
//! | `record`, `failure`, `id`, `shape`, `keys`, `entries`, `encoding` | what is stored |
//! | `transition`, `work` | how a transition runs |
//! | `submit`, `claim`, `complete`, `end` | the transitions; `settle` and `place` are what they share |
//! | `actors` | actors that the cluster owns, and the names of actors |
//! | `inbox`, `chunks`, `checkpoint` | waiting; bytes that are too large for a record, or not in one |
//! | `clock`, `recover` | what is done by whoever comes by |
//! | `list`, `check` | looking |

mod actors;
mod check;
mod checkpoint;
mod chunks;
mod claim;
mod clock;
mod complete;
mod encoding;
mod end;
mod entries;
mod error;
mod failure;
mod id;
mod inbox;
mod keys;
mod list;
mod place;
mod record;
mod recover;
mod settle;
mod shape;
mod submit;
#[cfg(test)]
mod tests;
mod transition;
mod work;

pub use actors::{Named, NamedActor, Owner, Whereabouts};
pub use check::{Discrepancy, Report};
pub use claim::{Claimed, Room, Token, Wants};
pub use clock::Tick;
pub use complete::{Completed, Outcome};
pub use error::{DurableError, Refused};
pub use failure::{Cause, Failure};
pub use id::FutureId;
pub use inbox::{Handled, Mail, Notice, Target};
pub use list::{Filter, Page, Stage, Unschedulable};
pub use record::{
    ActorSpec, Arguments, Claim, Failed, INLINE_ARGUMENTS, INLINE_VALUE, LARGEST, Near, Place, Realized,
    Record, Retention, Spec, State, Value,
};
pub use shape::{ShapeId, fits, lacks};
pub use submit::{Submission, Submitted};
pub use transition::Durable;

/// The format of the store that this program writes and reads.
pub const FORMAT: u64 = 1;
