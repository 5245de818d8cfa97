//! Writable memory for large values, which is sealed in place.

use crate::error::{Error, Result};
use bytes::Bytes;
use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Where a buffer begins: at multiples of this.
const ALIGNMENT: usize = 64;

/// A page; where a buffer of at least [`LARGE`] bytes begins.
const PAGE: usize = 4096;

const LARGE: usize = 1 << 20;

/// Memory to write into. [`Buffer::seal`] ends that.
pub struct Buffer {
    memory: Vec<u8>,
    from: usize,
}

/// Gives `len` bytes, all zero.
///
/// # Errors
/// [`Error::StoreFull`] when there is no such memory.
pub fn buffer(len: usize) -> Result<Buffer> {
    let alignment = if len < LARGE { ALIGNMENT } else { PAGE };
    let full = || Error::StoreFull { message: format!("there is no memory for a buffer of {len} bytes") };
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(len.checked_add(alignment).ok_or_else(full)?).map_err(|_| full())?;
    let address = memory.as_ptr() as usize;
    let from = address.next_multiple_of(alignment) - address;
    // There is room for it: the address stays.
    memory.resize(from + len, 0);
    Ok(Buffer { memory, from })
}

impl Buffer {
    /// The bytes as they are now, for good; copies nothing.
    pub fn seal(self) -> Bytes {
        Bytes::from(self.memory).slice(self.from..)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[self.from..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_sealed_where_they_are() {
        for (len, alignment) in [(0, 64), (1, 64), (LARGE - 1, 64), (LARGE, PAGE), (5 * LARGE + 7, PAGE)] {
            let mut memory = buffer(len).unwrap();
            assert!(memory.len() == len && memory.iter().all(|b| *b == 0));
            let address = memory.as_ptr();
            assert!((address as usize).is_multiple_of(alignment));
            memory.fill(7);
            let sealed = memory.seal();
            assert!(sealed.len() == len && sealed.iter().all(|b| *b == 7));
            assert!(len == 0 || sealed.as_ptr() == address);
        }
    }

    #[test]
    fn what_no_machine_has_is_an_error() {
        for len in [usize::MAX, isize::MAX as usize, 1 << 50] {
            assert!(matches!(buffer(len), Err(Error::StoreFull { .. })));
        }
    }
}
