//! The flat form of a value in parts: how it travels over a socket and lies in a file.
//!
//! ```text
//! magic      u32     MAGIC
//! count      u32     how many buffers there are
//! head_len   u64     bytes of the head
//! lens       u64..   bytes of each buffer
//! head
//! buffers            each at the next multiple of ALIGNMENT from the start; zeros before it
//! ```
//!
//! All numbers are little-endian. The whole ends with the last buffer. Anybody may have written it: what does not fit is
//! [`Damaged`].

use super::{Parts, Payload};
use bytes::{BufMut, Bytes, BytesMut};

/// Where buffers begin: at multiples of this from the start.
pub const ALIGNMENT: usize = 64;

/// "fdbp", as little-endian bytes.
const MAGIC: u32 = u32::from_le_bytes(*b"fdbp");

/// Bytes of the header before the lengths of the buffers.
const FIXED: usize = 16;

/// Bytes of one length.
const LEN: usize = 8;

/// Bytes are not the flat form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a value with buffers are damaged: their header does not fit them")]
pub struct Damaged;

/// How many bytes the flat form of these parts has.
pub(super) fn len(head: &[u8], buffers: &[Bytes]) -> usize {
    let start = FIXED + LEN * buffers.len() + head.len();
    buffers.iter().fold(start, |end, buffer| end.next_multiple_of(ALIGNMENT) + buffer.len())
}

/// The flat form, in pieces to write one after the other.
pub(super) fn pieces(parts: &Parts) -> Vec<Bytes> {
    let Parts { head, buffers, .. } = parts;
    let mut header = BytesMut::with_capacity(FIXED + LEN * buffers.len());
    header.put_u32_le(MAGIC);
    header.put_u32_le(buffers.len() as u32);
    header.put_u64_le(head.len() as u64);
    for buffer in buffers {
        header.put_u64_le(buffer.len() as u64);
    }
    let mut end = header.len() + head.len();
    let mut pieces = Vec::with_capacity(2 + 2 * buffers.len());
    pieces.extend([header.freeze(), head.clone()]);
    for buffer in buffers {
        let start = end.next_multiple_of(ALIGNMENT);
        pieces.extend([Bytes::from_static(&[0; ALIGNMENT][..start - end]), buffer.clone()]);
        end = start + buffer.len();
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The value of which `bytes` is the flat form; its parts share their memory.
pub(super) fn read(bytes: Bytes) -> Result<Payload, Damaged> {
    let number = |at: usize| {
        let field = bytes.get(at..at.checked_add(LEN)?)?;
        usize::try_from(u64::from_le_bytes(field.try_into().ok()?)).ok()
    };
    let part = |from: usize, len: usize| {
        let to = from.checked_add(len).filter(|to| *to <= bytes.len())?;
        Some((bytes.slice(from..to), to))
    };
    let read = || {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
        // What the count says is not believed further than there are bytes.
        let lens = FIXED..FIXED.checked_add(count.checked_mul(LEN)?)?;
        if u32::from_le_bytes(*magic) != MAGIC || lens.end > bytes.len() {
            return None;
        }
        let (head, mut end) = part(lens.end, number(FIXED - LEN)?)?;
        let mut buffers = Vec::with_capacity(count);
        for at in lens.step_by(LEN) {
            let buffer;
            (buffer, end) = part(end.checked_next_multiple_of(ALIGNMENT)?, number(at)?)?;
            buffers.push(buffer);
        }
        (end == bytes.len()).then(|| Payload::in_parts(head, buffers))
    };
    read().ok_or(Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(payload: &Payload) -> Vec<u8> {
        payload.flat_parts().concat()
    }

    fn example() -> Payload {
        let buffers = [100, 0, 64, 1].map(|len| Bytes::from(vec![len as u8; len]));
        Payload::in_parts(Bytes::from_static(b"head"), buffers.to_vec())
    }

    #[test]
    fn the_flat_form_has_the_length_that_it_is_said_to_have_and_comes_back() {
        for payload in [example(), Payload::in_parts(Bytes::new(), Vec::new())] {
            let bytes = flat(&payload);
            assert_eq!(bytes.len(), payload.len());
            let back = Payload::from_flat(Bytes::from(bytes.clone())).unwrap();
            assert_eq!((back.head(), back.buffers()), (payload.head(), payload.buffers()));
            assert_eq!(flat(&back), bytes);
            assert_eq!(back.contiguous(), bytes);
        }
    }

    #[test]
    fn buffers_begin_at_multiples_of_the_alignment_and_are_not_copied() {
        let whole = Bytes::from(flat(&example()));
        let back = Payload::from_flat(whole.clone()).unwrap();
        for buffer in back.buffers() {
            let offset = buffer.as_ptr() as usize - whole.as_ptr() as usize;
            assert!(offset.is_multiple_of(ALIGNMENT) && offset <= whole.len(), "at {offset}");
        }
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_damaged() {
        let bytes = flat(&example());
        for len in 0..bytes.len() {
            assert_eq!(Payload::from_flat(Bytes::copy_from_slice(&bytes[..len])).unwrap_err(), Damaged);
        }
        assert_eq!(Payload::from_flat([&bytes[..], &[0]].concat().into()).unwrap_err(), Damaged);
    }

    #[test]
    fn lengths_that_lie_give_no_part_that_is_outside() {
        let bytes = flat(&example());
        let lies = [0, 1, 0x7f, 0x80, 0xff];
        for at in 0..FIXED + 4 * LEN {
            for lie in lies.into_iter().filter(|lie| *lie != bytes[at]) {
                let mut damaged = bytes.clone();
                damaged[at] = lie;
                // A length that stays within its padding cannot be told from the right one.
                if let Ok(read) = Payload::from_flat(damaged.into()) {
                    assert!(at >= FIXED - LEN && read.len() == bytes.len(), "{lie} at {at}");
                }
            }
        }
        let mut huge = bytes.clone();
        huge[4..FIXED + 4 * LEN].fill(0xff);
        assert_eq!(Payload::from_flat(huge.into()).unwrap_err(), Damaged);
    }
}
