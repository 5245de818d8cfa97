//! Memory to produce a large value in.

use crate::{Blob, Result};
use fdbray_worker::runtime;
use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Gives `len` bytes of memory, all zero, from where values are passed on without a copy: fill it, [`BufferMut::seal`] it,
/// and return or pass the [`Blob`].
///
/// The memory is aligned for every plain number (see [`Slab`](crate::Slab)), and to pages from 1 MiB on.
///
/// # Errors
/// [`Error::StoreFull`](crate::Error::StoreFull) when there is no room.
///
/// ```
/// # use fdbray::{Blob, Slab};
/// fn squares(count: usize) -> fdbray::Result<Slab<u64>> {
///     let mut memory = fdbray::buffer(count * 8)?;
///     for (i, item) in bytemuck::cast_slice_mut(&mut memory).iter_mut().enumerate() {
///         *item = (i as u64).pow(2);
///     }
///     Slab::try_from(memory.seal()).map_err(fdbray::Error::application)
/// }
/// assert_eq!(squares(4)?[..], [0, 1, 4, 9]);
/// # Ok::<(), fdbray::Error>(())
/// ```
pub fn buffer(len: usize) -> Result<BufferMut> {
    runtime::buffer(len).map(BufferMut)
}

/// Memory that [`buffer`] gave, to be written into.
pub struct BufferMut(runtime::Buffer);

impl BufferMut {
    /// The bytes as they are now, which never change again. Copies nothing.
    pub fn seal(self) -> Blob {
        Blob::from(self.0.seal())
    }
}

impl Deref for BufferMut {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for BufferMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferMut({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::encode;

    #[test]
    fn what_was_sealed_is_encoded_where_it_was_written() {
        let mut memory = buffer(1 << 20).unwrap();
        memory[7] = 7;
        let address = memory.as_ptr();
        let encoded = encode(&memory.seal()).unwrap();
        let [bytes] = encoded.payload.buffers() else { panic!("{:?}", encoded.payload) };
        assert_eq!((bytes.as_ptr(), bytes.len(), bytes[7]), (address, 1 << 20, 7));
    }
}
