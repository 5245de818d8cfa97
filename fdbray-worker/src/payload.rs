//! Bytes of one value: small ones in place, larger ones shared, with large buffers beside them.

mod flat;

pub use flat::{ALIGNMENT, Damaged};

use crate::handle::Handle;
use bytes::Bytes;
use std::{fmt, ops::Range, sync::Arc};

const IN_PLACE: usize = 38;

/// Bytes and slices inside a value that are longer than this are buffers of their own: see [`Payload::Parts`]. As many
/// as travel inside a message by default, so that what has a buffer would not have travelled there.
pub const BESIDE: usize = 64 << 10;

/// The encoded bytes of one value. Cloning never copies more than a few words.
#[derive(Clone)]
pub enum Payload {
    /// Up to 38 bytes, without an allocation.
    InPlace(u8, [u8; IN_PLACE]),
    /// More, shared.
    Shared(Bytes),
    /// In the self-describing encoding of durable futures, which outlives binaries.
    Described(Bytes),
    /// With buffers beside it. Such a value is always large: it never travels inside a message.
    Parts(Arc<Parts>),
}

/// A value that is in several pieces.
pub struct Parts {
    head: Bytes,
    buffers: Vec<Bytes>,
    /// Of the flat form.
    len: usize,
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

    /// `head`, which refers to `buffers` by their place.
    pub fn in_parts(head: Bytes, buffers: Vec<Bytes>) -> Self {
        let len = flat::len(&head, &buffers);
        Payload::Parts(Arc::new(Parts { head, buffers, len }))
    }

    /// Reads what [`Payload::flat_parts`] gave, without copying it.
    ///
    /// # Errors
    /// `bytes` are no such thing, whatever they are.
    pub fn from_flat(bytes: Bytes) -> Result<Self, Damaged> {
        flat::read(bytes)
    }

    /// How many bytes it is, where it is written down: with all its buffers.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Payload::InPlace(len, _) => usize::from(*len),
            Payload::Shared(bytes) | Payload::Described(bytes) => bytes.len(),
            Payload::Parts(parts) => parts.len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is kept where it was made and fetched where it is needed, when at most `inline` bytes travel inside a
    /// message.
    #[inline]
    pub fn is_large(&self, inline: usize) -> bool {
        matches!(self, Payload::Parts(_)) || self.len() > inline
    }

    /// All of it, or what it is apart from its buffers.
    #[inline]
    pub fn head(&self) -> &[u8] {
        match self {
            Payload::InPlace(len, place) => &place[..usize::from(*len)],
            Payload::Shared(bytes) | Payload::Described(bytes) => bytes,
            Payload::Parts(parts) => &parts.head,
        }
    }

    /// The same, shared.
    pub fn head_bytes(&self) -> Bytes {
        match self {
            Payload::Parts(parts) => parts.head.clone(),
            payload => payload.contiguous(),
        }
    }

    /// The buffers beside it.
    #[inline]
    pub fn buffers(&self) -> &[Bytes] {
        match self {
            Payload::Parts(parts) => &parts.buffers,
            _ => &[],
        }
    }

    /// All of it, to be put into a message: for what is not [large](Self::is_large), and so has no buffers.
    #[inline]
    pub fn in_message(&self) -> &[u8] {
        // Without its buffers it decodes as `Decode`, never as something else.
        debug_assert!(!matches!(self, Payload::Parts(_)), "a value with buffers never travels in a message");
        self.head()
    }

    /// As it is written down, in pieces to write one after the other: [`Payload::len`] bytes together. For a value with
    /// buffers this is the flat form, which [`Payload::from_flat`] reads.
    pub fn flat_parts(&self) -> Vec<Bytes> {
        match self {
            Payload::Parts(parts) => flat::pieces(parts),
            payload => vec![payload.contiguous()],
        }
    }

    /// The same in one piece. Copies a value with buffers.
    pub fn contiguous(&self) -> Bytes {
        match self {
            Payload::InPlace(..) => Bytes::copy_from_slice(self.head()),
            Payload::Shared(bytes) | Payload::Described(bytes) => bytes.clone(),
            Payload::Parts(parts) => flat::pieces(parts).concat().into(),
        }
    }

    /// Whether both are the same bytes in the same memory.
    pub fn is_same(&self, other: &Payload) -> bool {
        std::ptr::eq(self.head(), other.head())
    }

    /// Whether it is in the self-describing encoding.
    pub fn is_described(&self) -> bool {
        matches!(self, Payload::Described(_))
    }

    /// `part`, which lies within `whole`; a large one shares its memory.
    pub fn part_of(whole: &Bytes, part: &[u8]) -> Self {
        if part.len() <= IN_PLACE { Payload::copy_from(part) } else { Payload::Shared(whole.slice_ref(part)) }
    }

    /// A part of what is not in parts; a large one shares its memory.
    ///
    /// # Panics
    /// When the range reaches beyond the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Payload::Shared(bytes) if range.len() > IN_PLACE => Payload::Shared(bytes.slice(range)),
            Payload::Described(bytes) => Payload::Described(bytes.slice(range)),
            _ => Payload::copy_from(&self.head()[range]),
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

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes and {} buffers", self.head.len(), self.buffers.len())
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
            assert_eq!(Payload::copy_from(&bytes).head(), &bytes[..]);
            assert_eq!(Payload::from(Bytes::from(bytes.clone())).contiguous(), bytes);
            for from in [0, len / 2, len] {
                assert_eq!(Payload::copy_from(&bytes).slice(from..len).head(), &bytes[from..]);
            }
        }
    }

    #[test]
    fn a_payload_is_five_words_since_many_are_moved() {
        assert_eq!(size_of::<Payload>(), 40);
        assert_eq!(size_of::<Option<Payload>>(), 40);
    }

    #[test]
    fn what_has_buffers_is_large_however_much_travels_inside_messages() {
        let value = Payload::in_parts(Bytes::from_static(b"head"), vec![Bytes::from(vec![1; 100])]);
        assert!(value.is_large(1 << 30));
        assert!(!Payload::copy_from(&[1; 100]).is_large(100));
        assert!(Payload::copy_from(&[1; 101]).is_large(100));
    }
}
