//! A block: some of the arena's memory while one value lies in it.
#![allow(unsafe_code)]

use super::Shared;
use crate::objects::{location::Location, valgrind};
use bytes::Bytes;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

/// A block that is being written: nobody else sees it. [`BlockMut::seal`] makes it a [`Block`].
pub struct BlockMut(Held);

/// A block whose bytes do not change any more. It is freed when its last clone is dropped.
#[derive(Clone)]
pub struct Block(Arc<Held>);

/// A part of the arena that is this value's alone, until it is dropped.
pub(super) struct Held {
    arena: Arc<Shared>,
    at: NonNull<u8>,
    len: usize,
    location: Location,
}

// SAFETY: the memory belongs to this value as that of a `Box` does to it, whichever thread it is on; `Shared` is `Sync`.
unsafe impl Send for Held {}
// SAFETY: through `&Held` the memory is only read.
unsafe impl Sync for Held {}

impl Held {
    /// The caller has just taken these bytes from the arena's offsets, after they were reserved; they are released by
    /// this value's `Drop` alone.
    pub(super) fn new(arena: Arc<Shared>, at: NonNull<u8>, location: Location) -> Self {
        let len = location.len as usize;
        valgrind::lend(at, len);
        Held { arena, at, len, location }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `at` are mapped as long as `self.arena`. They have memory (reserved before they were
        // taken, and given back only after they were released), so that no read faults, and any bits are a `u8`.
        // Nobody writes to them: this process does so only through `BlockMut`, which has them exclusively, and other
        // processes only get a descriptor that reads.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        valgrind::take_back(self.at, self.len);
        self.arena.free(self.location.offset);
    }
}

impl BlockMut {
    pub(super) fn new(held: Held) -> Self {
        BlockMut(held)
    }

    /// The bytes are complete. From here on they can be read by others, and [located](super::Arena::locate).
    pub fn seal(self) -> Block {
        let held = Arc::new(self.0);
        held.arena.sealed(held.location.offset, Arc::downgrade(&held));
        Block(held)
    }
}

impl Deref for BlockMut {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for BlockMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `Held::bytes`; and this value has them exclusively: its part was given to nobody else, it has no
        // clone, and nobody is told where it is before it is sealed.
        unsafe { std::slice::from_raw_parts_mut(self.0.at.as_ptr(), self.0.len) }
    }
}

impl fmt::Debug for BlockMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockMut({})", self.0.location)
    }
}

impl Block {
    pub(super) fn new(held: Arc<Held>) -> Self {
        Block(held)
    }

    /// Where all of it lies.
    pub fn location(&self) -> Location {
        self.0.location
    }

    /// How many hold it at this moment: clones of this, and whatever bytes were made of one, all clones and parts of which
    /// count as one.
    pub(in crate::objects) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The same bytes; the block is held by them and all their parts.
impl From<Block> for Bytes {
    fn from(block: Block) -> Self {
        Bytes::from_owner(block)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({})", self.0.location)
    }
}
