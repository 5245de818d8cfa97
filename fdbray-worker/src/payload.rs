//! Bytes of one value: small ones in place, larger ones shared.

use crate::handle::Handle;
use bytes::Bytes;
use std::{
    fmt,
    ops::{Deref, Range},
};

const IN_PLACE: usize = 38;

/// The encoded bytes of one value. Cloning never copies more than a few words.
#[derive(Clone)]
pub enum Payload {
    /// Up to 38 bytes, without an allocation.
    InPlace(u8, [u8; IN_PLACE]),
    /// More, shared.
    Shared(Bytes),
    /// In the self-describing encoding of durable futures, which outlives binaries.
    Described(Bytes),
}

impl Payload {
    /// Copies `bytes`.
    pub fn copy_from(bytes: &[u8]) -> Self {
        if bytes.len() <= IN_PLACE {
            let mut place = [0; IN_PLACE];
            place[..bytes.len()].copy_from_slice(bytes);
            Payload::InPlace(bytes.len() as u8, place)
        } else {
            Payload::Shared(Bytes::copy_from_slice(bytes))
        }
    }

    /// As shared bytes.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Payload::InPlace(..) => Bytes::copy_from_slice(&self),
            Payload::Shared(bytes) | Payload::Described(bytes) => bytes,
        }
    }

    /// Whether it is in the self-describing encoding.
    pub fn is_described(&self) -> bool {
        matches!(self, Payload::Described(_))
    }

    /// `part`, which lies within `whole`; a large one shares its memory.
    pub fn part_of(whole: &Bytes, part: &[u8]) -> Self {
        if part.len() <= IN_PLACE { Payload::copy_from(part) } else { Payload::Shared(whole.slice_ref(part)) }
    }

    /// A part of it; a large one shares its memory.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Payload::Shared(bytes) if range.len() > IN_PLACE => Payload::Shared(bytes.slice(range)),
            Payload::Described(bytes) => Payload::Described(bytes.slice(range)),
            _ => Payload::copy_from(&self[range]),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Payload::InPlace(len, place) => &place[..usize::from(*len)],
            Payload::Shared(bytes) | Payload::Described(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        if bytes.len() <= IN_PLACE { Payload::copy_from(&bytes) } else { Payload::Shared(bytes) }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// An encoded value together with the handles of futures inside it, which must stay alive as long as it does.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The value's bytes.
    pub payload: Payload,
    /// The futures inside the value.
    pub handles: Vec<Handle>,
}

impl From<Payload> for Encoded {
    fn from(payload: Payload) -> Self {
        Encoded { payload, handles: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_keep_their_bytes_at_every_size() {
        for len in [0, 1, 37, 38, 39, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert_eq!(&*Payload::copy_from(&bytes), &bytes[..]);
            assert_eq!(Payload::from(Bytes::from(bytes.clone())).into_bytes(), bytes);
            for from in [0, len / 2, len] {
                assert_eq!(&*Payload::copy_from(&bytes).slice(from..len), &bytes[from..]);
            }
        }
    }
}
