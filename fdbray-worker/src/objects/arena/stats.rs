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
    /// What is spilled: values that were written to disk to make room, and are there at this moment.
    pub spilled: u64,
    /// How many values these are.
    pub spilled_objects: u64,
    /// The most that may be spilled; zero when nothing is. As large as a number can be: what is free on the disk.
    pub spill_limit: u64,
    /// What was ever spilled.
    pub spilled_ever: u64,
    /// What of it was ever read back.
    pub restored_ever: u64,
}

/// As it stands in messages.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { limit, reserved, live, blocks, largest_free, spilled, spilled_objects, .. } = *self;
        write!(
            f,
            "{blocks} objects hold {live} bytes; {reserved} of at most {limit} bytes are reserved, and the largest free \
             piece of them has {largest_free}"
        )?;
        if spilled_objects > 0 {
            write!(f, "; {spilled_objects} more with {spilled} bytes are on disk")?;
        }
        Ok(())
    }
}
