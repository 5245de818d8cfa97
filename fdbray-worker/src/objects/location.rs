//! Where bytes lie in an arena, as other processes are told: never an address.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in an arena, in bytes from its beginning. Addresses differ from process to process; this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

/// Some bytes of one block. It says nothing about whose arena it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Where they begin.
    pub offset: Offset,
    /// How many there are.
    pub len: u64,
    /// Which use of that place it is: no two blocks of an arena have had the same, within four billion.
    pub generation: u32,
}

impl Location {
    /// The offset behind the last byte. None where no number could say it, which a peer may send.
    pub fn end(&self) -> Option<u64> {
        self.offset.0.checked_add(self.len)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} (use {})", self.len, self.offset.0, self.generation)
    }
}
