//! Why an arena gave no block.

use super::{room::Moment, stats::Stats};
use std::{io, sync::Arc};

/// There is no room for a block.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no room for {wanted} bytes of objects: {bound} ({stats})")]
#[non_exhaustive]
pub struct Full {
    /// The bytes that were asked for.
    pub wanted: u64,
    /// What stood against it.
    #[source]
    pub bound: Bound,
    /// The accounting at that time.
    pub stats: Stats,
    /// When it was: whoever waits for room from then on misses nothing.
    pub since: Moment,
}

impl Full {
    /// Whether the same may well succeed once other blocks are gone, or once there is more memory.
    pub fn may_pass(&self) -> bool {
        !matches!(self.bound, Bound::TooLong { .. } | Bound::System(_))
    }
}

/// What stood against one more block.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Bound {
    /// No block can be that long, however empty the arena is.
    #[error(
        "an object can have at most the {limit} bytes of the arena's limit; split it, or raise the limit (FDBRAY_STORE_BYTES)"
    )]
    TooLong {
        /// The arena's limit, in bytes.
        limit: u64,
    },
    /// The configured limit.
    #[error(
        "the arena has reached its limit; drop futures and views that are not needed, or raise the limit \
         (FDBRAY_STORE_BYTES)"
    )]
    Limit,
    /// The limit of a control group (a container) around this process.
    #[error(
        "the container has {available} bytes of memory left and {reserve} are kept for other uses; give it more memory, or \
         run fewer or smaller tasks at once"
    )]
    Group {
        /// Bytes it has left.
        available: u64,
        /// Bytes that objects leave.
        reserve: u64,
    },
    /// The machine's memory.
    #[error(
        "the machine has {available} bytes of memory left and {reserve} are kept for other uses; use a machine with more \
         memory, or run fewer or smaller tasks at once"
    )]
    Machine {
        /// Bytes it has left.
        available: u64,
        /// Bytes that objects leave.
        reserve: u64,
    },
    /// The operating system gave no memory though some seemed to be left.
    #[error("the operating system gave no memory; free some on this machine")]
    Refused(#[source] Arc<io::Error>),
    /// The operating system gave no arena at all: too few descriptors, too little address space, too small a limit for files.
    #[error("this process cannot have shared memory; raise its limits (`ulimit -n`, `-v`, `-f`)")]
    System(#[source] Arc<io::Error>),
}
