//! Objects in memory: written once, read in place by all processes of a host.
//!
//! A process has one [`Arena`], shared memory whose blocks hold its large values. What other processes are told of a
//! block is its [`Location`]; on the same host they map the arena once ([`PeerArena`]) and read it in place ([`View`]).
//! Nothing here knows of sockets or of futures: who may read what, and for how long, is said by pins.
//!
//! | file | what |
//! |---|---|
//! | `arena.rs` | the arena: allocate, locate, hand out, wait for room |
//! | `arena/block.rs` | a block, while it is written and when it is sealed |
//! | `arena/offsets.rs` | which part is whose, on numbers alone |
//! | `arena/pages.rs` | which pages were used before, and so are not zero |
//! | `arena/memory.rs` | the memfd and its one mapping |
//! | `arena/grow.rs` | reserving, giving back, pre-faulting |
//! | `arena/machine.rs` | what memory the machine and the container have left |
//! | `arena/state.rs`, `stats.rs`, `full.rs`, `room.rs` | the table of blocks; accounting; refusal; waiting |
//! | `location.rs` | where bytes are, for other processes |
//! | `peer.rs` | the arena of another process on this host, to read |
//! | `keep.rs` | moves a value into the arena |
//! | `located.rs` | a value as it is told to another process of the host, and viewed there |
//! | `valgrind.rs` | tells valgrind, in tests, which bytes of a mapping are somebody's |
//! | `parked.rs` | a value that nobody holds but who parked it, so that it can leave the memory |
//! | `spilled.rs` | a value that is on its way to the disk, or there |
//! | `disk.rs`, `disk/segment.rs` | where spilled values lie: unnamed files, their limits and their accounting |

mod arena;
mod disk;
mod keep;
mod located;
mod location;
mod parked;
mod peer;
mod spilled;
mod valgrind;

pub use arena::{
    Arena, Available, Block, BlockMut, Bound, Full, Machine, Moment, Options, Owner, Stale, Stats,
    ThisMachine, default_limit, default_reserve,
};
pub use disk::{Disk, DiskOptions, SpillError};
pub use located::{Located, LocatedError};
pub use location::{Location, Offset};
pub use peer::{MapError, PeerArena, View, ViewError};
pub use spilled::{Damaged, Spilled};
