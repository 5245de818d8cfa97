//! Who takes part in a cluster: registration, beats, deaths.
//!
//! A process *registers*, then *beats* every second, and *leaves*. Who does not beat any more is declared dead by one
//! of the processes that judge it: a *tombstone* takes its registration's place, and from then on its own beat fails,
//! so that it learns of its death. Ids are random and never used twice; who is dead stays dead.
//!
//! # Keys
//!
//! Tuples (see [`key`](super::store::key)) below `("fdbray", cluster)`:
//!
//! | key | value |
//! |---|---|
//! | `("member", id)` | MessagePack [`Member`], from `register` until `leave` or death |
//! | `("beat", id)` | little-endian `u64`, counted up by each beat, as long as the member is there |
//! | `("tomb", id)` | MessagePack [`Tombstone`]; trimmed with its log entry |
//! | `("epoch")` | little-endian `u64`, the number of log entries ever; readers watch it |
//! | `("log", versionstamp)` | MessagePack [`Change`]; the newest few hundred |
//!
//! Numbers are changed by atomic addition and the log is appended to by versionstamp, so that members who come and go
//! at once do not conflict. A reader that knows epoch *e* reads the entries behind the last one it knows; if they are
//! not as many as the epoch has grown by, some were trimmed, and it reads the whole list.
//!
//! Values are maps with field names: they outlive binaries. Fields may be added with a default.
//!
//! # Judging
//!
//! Each process judges its peers and its three successors in the ring of ids ([`ring_successors`]), with
//! [`Liveness`], which counts only time between its own successful reads: an outage of the store, or of the judge,
//! kills nobody. On the same host the exit of the process is proof, and needs no time ([`exit`]).
//!
//! [`Members`] are the transactions. [`Membership`] runs them.

pub mod exit;
mod keys;
mod liveness;
mod record;
mod service;
#[cfg(test)]
mod tests;
mod transactions;

pub use liveness::{Failed, Liveness, Suspect, ring_successors};
pub use record::{Capacity, Cause, Change, Host, Member, Role, Tombstone};
pub use service::{Event, Events, Membership, MembershipHandle};
pub use transactions::{Beat, MemberError, Members, Position, Tail};
