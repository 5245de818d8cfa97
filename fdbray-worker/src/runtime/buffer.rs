//! Writable memory for large values, which is sealed in place.

use super::process;
use crate::{
    error::{Error, Result},
    objects::{Arena, BlockMut, Options},
};
use bytes::Bytes;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::OnceLock,
};

/// Memory to write into. [`Buffer::seal`] ends that.
pub struct Buffer(BlockMut);

/// Gives `len` bytes, all zero, in this process's shared memory; waits for room, for a while.
///
/// # Errors
/// [`Error::StoreFull`] when there is no room.
pub fn buffer(len: usize) -> Result<Buffer> {
    match process() {
        Some(process) => process.shared().allocate(len).map(Buffer),
        // What is sealed here is copied should it become a value of the runtime.
        None => {
            let arena = BEFORE.get_or_init(|| Arena::new(Options::default()));
            let block = arena.allocate_zeroed(len);
            block.map(Buffer).map_err(|full| Error::StoreFull { message: full.to_string() })
        }
    }
}

/// Where buffers are while there is no runtime: a program's own code can be tested without one.
static BEFORE: OnceLock<Arena> = OnceLock::new();

impl Buffer {
    /// The bytes as they are now, for good; copies nothing.
    pub fn seal(self) -> Bytes {
        self.0.seal().into()
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}
