//! The accounting of an arena.

use std::fmt;

/// What an arena has and holds, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The most memory that it may reserve.
    pub limit: u64,
    /// Memory that is reserved at this moment: it is there, used or not.
    pub reserved: u64,
    /// What blocks take of it, with what each is rounded up by.
    pub used: u64,
    /// What was asked for these blocks.
    pub live: u64,
    /// How many blocks there are.
    pub blocks: u64,
    /// The longest part of the reserved memory that is free in one piece.
    pub largest_free: u64,
    /// The most that `reserved` has been.
    pub peak_reserved: u64,
    /// The most that `used` has been.
    pub peak_used: u64,
    /// The most that `live` has been.
    pub peak_live: u64,
    /// Blocks that were ever made.
    pub allocations: u64,
    /// Blocks that were refused.
    pub refused: u64,
    /// Memory that was given back to the machine, in all.
    pub given_back: u64,
}

/// As it stands in messages.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { limit, reserved, live, blocks, largest_free, .. } = *self;
        write!(
            f,
            "{blocks} objects hold {live} bytes; {reserved} of at most {limit} bytes are reserved, and the largest free \
             piece of them has {largest_free}"
        )
    }
}
