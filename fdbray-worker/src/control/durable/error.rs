//! What can go wrong with durable futures.

use super::{FORMAT, FutureId};
use crate::control::store::StoreError;
use crate::id::ProcessId;

/// Why a transaction on durable futures failed as a whole.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The process is no member of the cluster: it left or was declared dead. It drops its work and joins again as a
    /// new process.
    #[error("process {0} is no member of the cluster any more, so it can claim, start and complete nothing")]
    NotMember(ProcessId),
    /// There is no such future: it was never submitted, was released, or its retention is over.
    #[error("there is no durable future {0}: it was never submitted, was released, or its retention is over")]
    NoSuchFuture(String),
    /// The future's result is of another type than the one it is attached as.
    #[error(
        "the durable future {id} is a call of `{function}`, whose result is of another type than the one asked for"
    )]
    OtherType {
        /// The future.
        id: FutureId,
        /// Its function.
        function: String,
    },
    /// The record was written by a newer program. This one leaves it alone.
    #[error(
        "the record of durable future {id} has version {version}, this program (fdbray {}) reads up to {reads}; upgrade \
         this program", env!("CARGO_PKG_VERSION")
    )]
    NewerRecord {
        /// The future.
        id: FutureId,
        /// The record's version.
        version: u32,
        /// The newest that this program reads.
        reads: u32,
    },
    /// The durable futures of the cluster were written in another format.
    #[error(
        "the durable futures of cluster `{cluster}` have format {format}, written by fdbray {written_by}; this is fdbray \
         {}, which reads format {FORMAT}; {}", env!("CARGO_PKG_VERSION"),
        if *format > FORMAT { "upgrade this program" } else { "finish them with the older program, or use another cluster name" }
    )]
    OtherFormat {
        /// The cluster.
        cluster: String,
        /// Its format.
        format: u64,
        /// The version of fdbray that wrote it.
        written_by: String,
    },
    /// The claim is not current any more: another process has the future, or it has ended.
    #[error("the claim on durable future {0} is not current any more; drop the work")]
    Stale(FutureId),
    /// A value was to be written for a future that was submitted without `durable_value`.
    #[error(
        "the value of durable future {0} does not belong into the store: it was submitted without `durable_value`"
    )]
    NoDurableValue(FutureId),
    /// A value or arguments are larger than the store keeps.
    #[error("{what} of {len} bytes is larger than the {limit} that the control plane keeps; {hint}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        len: usize,
        /// The most that is allowed.
        limit: usize,
        /// What to do instead.
        hint: &'static str,
    },
    /// It was refused when it was submitted.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DurableError {
    /// Whether the same may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, DurableError::Store(error) if error.retryable())
    }
}

/// Why one submission of a batch was refused. The others are submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its key belongs to a future of another function or with other arguments.
    #[error("the key `{key}` belongs to durable future {id}, which {differs}; use another key")]
    KeyTaken {
        /// The key.
        key: String,
        /// The future that has it.
        id: FutureId,
        /// What differs, for a person.
        differs: String,
    },
    /// It cannot be a key.
    #[error("`{key}` cannot be the key of a durable future: {why}")]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The name that the actor was to have belongs to another one.
    #[error("the name `{name}` belongs to an actor of type `{by}`; look it up, or use another name")]
    NameTaken {
        /// The name.
        name: String,
        /// The type of the actor that has it.
        by: String,
    },
    /// It cannot be the name of an actor.
    #[error("`{name}` cannot be the name of an actor: {why}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An argument, or the future that it is to run with, is a durable one that is not there any more.
    #[error(
        "durable future {argument}, which `{function}` needs, is not there any more: it was released, or its retention is over"
    )]
    NoSuchArgument {
        /// The function.
        function: String,
        /// The argument.
        argument: FutureId,
    },
    /// An argument's record was written by a newer program.
    #[error(
        "argument {argument} was submitted by a newer program, whose record this one cannot read; upgrade this program"
    )]
    NewerArgument {
        /// The argument.
        argument: FutureId,
    },
    /// It has more durable futures among its arguments than fit into one transaction.
    #[error(
        "`{function}` has {futures} durable futures as arguments, more than {limit}; gather some in between"
    )]
    TooManyArguments {
        /// The function.
        function: String,
        /// How many.
        futures: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// What was submitted is larger than a record can be.
    #[error(
        "the call of `{function}` makes a record of {len} bytes, more than {limit}; shorten its names and options"
    )]
    TooLarge {
        /// The function.
        function: String,
        /// The size.
        len: usize,
        /// The most that is allowed.
        limit: usize,
    },
}
