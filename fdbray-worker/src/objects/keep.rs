//! Moves the bytes of a large value into the arena, where the host's other processes can read them.

use super::{Arena, Full};
use crate::payload::Payload;
use bytes::Bytes;

/// Pieces up to this length are copied to whoever wants them, and stay where they are.
pub const SMALL: usize = 4096;

impl Arena {
    /// The same value, all of whose pieces are in this arena, but for small ones. What is there already stays; the rest is
    /// copied, once.
    ///
    /// # Errors
    /// There is no room for all of it. Nothing of it was kept.
    pub fn keep(&self, value: &Payload) -> Result<Payload, Full> {
        Ok(match value {
            Payload::InPlace(..) => value.clone(),
            Payload::Shared(bytes) => Payload::Shared(self.keep_piece(bytes)?),
            Payload::Described(bytes) => Payload::Described(self.keep_piece(bytes)?),
            Payload::Parts(_) => {
                let head = self.keep_piece(&value.head_bytes())?;
                let buffers = value.buffers().iter().map(|buffer| self.keep_piece(buffer));
                Payload::in_parts(head, buffers.collect::<Result<_, _>>()?)
            }
        })
    }

    fn keep_piece(&self, bytes: &Bytes) -> Result<Bytes, Full> {
        if bytes.len() <= SMALL || self.locate(bytes).is_some() {
            return Ok(bytes.clone());
        }
        let mut block = self.allocate(bytes.len())?;
        block.copy_from_slice(bytes);
        Ok(block.seal().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Options;

    #[test]
    fn pieces_are_copied_once_and_small_ones_not_at_all() {
        let arena = Arena::new(Options { limit: 4 << 20, reserve: 0, low_water: 0, background: false });
        let large = Bytes::from(vec![7; 100_000]);
        let value = Payload::in_parts(Bytes::from_static(b"head"), vec![large.clone(), large.slice(..100)]);
        let kept = arena.keep(&value).unwrap();
        assert_eq!((kept.head(), kept.buffers()), (value.head(), value.buffers()));
        assert!(arena.locate(&kept.buffers()[0]).is_some() && arena.locate(&kept.buffers()[1]).is_none());
        let again = arena.keep(&kept).unwrap();
        assert_eq!(again.buffers()[0].as_ptr(), kept.buffers()[0].as_ptr());
        assert_eq!(arena.stats().blocks, 1);
        drop((kept, again));
        assert_eq!(arena.stats().blocks, 0);
        assert!(arena.keep(&Payload::from(Bytes::from(vec![0; 5 << 20]))).is_err());
        assert_eq!(arena.stats().blocks, 0);
    }
}
