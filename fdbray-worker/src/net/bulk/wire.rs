//! What is said on the bulk lane. Each message is a header of 16 bytes, little-endian: kind `u32`, length of the body
//! `u32`, request `u64`; then the body.
//!
//! | kind | body | meaning |
//! |---|---|---|
//! | 1 request | owner, seq, attempt, len, from, to: `u64` each | send these bytes of the object as that attempt gave it (0: as any did), which has `len` |
//! | 2 chunk | checksum `u64`, raw `u32`, form `u32`; then bytes | the next 1 to [`CHUNK`] bytes of what was requested (0 only for an empty object) |
//! | 3 gone | `u64` | there is no such object (`u64::MAX`), or it has that many bytes instead |
//! | 4 cancel | none | send no more of it |
//!
//! A chunk brings `raw` bytes of the object, whose XXH3 (64 bits) the checksum is. Bits of its form: 0, they are of the
//! [flat form](crate::payload::Payload::flat_parts) of a value with buffers; 1, they are compressed, as a block of LZ4
//! that is shorter than they are.
//!
//! Which form an object is sent in is said with the bytes themselves, by who has them: nothing else that tells of an
//! object needs to know.
//!
//! Parts of one object may come from several processes, of which one may have what another attempt gave: so each request
//! names the attempt, and who knows that it has another one's has no such object.
//!
//! Requests are numbered by the side that pulls; each side may pull.

use crate::id::{ObjectId, ProcessId};
use bytes::{BufMut, Bytes, BytesMut};

/// The most bytes of a chunk.
pub const CHUNK: usize = 256 << 10;

/// Bytes of a header.
pub const HEAD: usize = 16;

/// Bytes of a request's body.
pub const REQUEST: usize = 48;

/// Bytes before those of the object in a chunk's body.
pub const CHUNK_HEAD: usize = 16;

/// Bytes of the body that says that an object is gone.
pub const GONE: usize = 8;

/// A header that has been checked: the body that it announces is one that its kind can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What follows.
    pub kind: Kind,
    /// Bytes of the body.
    pub len: usize,
    /// Which request it is about.
    pub request: u64,
}

/// The kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object is wanted.
    Request,
    /// Bytes of one: a [`Chunk`].
    Chunk,
    /// There is none.
    Gone,
    /// It is no longer wanted.
    Cancel,
}

/// A peer sent what is no message of the bulk lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no message of the bulk lane")]
pub struct Malformed;

impl Head {
    /// The bytes.
    pub fn encode(self) -> [u8; HEAD] {
        let kind: u32 = match self.kind {
            Kind::Request => 1,
            Kind::Chunk => 2,
            Kind::Gone => 3,
            Kind::Cancel => 4,
        };
        let mut out = [0; HEAD];
        out[..4].copy_from_slice(&kind.to_le_bytes());
        out[4..8].copy_from_slice(&(self.len as u32).to_le_bytes());
        out[8..].copy_from_slice(&self.request.to_le_bytes());
        out
    }

    /// Checks a header that anybody may have sent.
    ///
    /// # Errors
    /// An unknown kind, or a length that the kind cannot have.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let request = u64::from_le_bytes(rest.try_into().map_err(|_| Malformed)?);
        let len = u32::from_le_bytes(*len) as usize;
        let kind = u32::from_le_bytes(*kind);
        let (kind, fits) = match kind {
            1 => (Kind::Request, len == REQUEST),
            2 => (Kind::Chunk, (CHUNK_HEAD..=CHUNK_HEAD + CHUNK).contains(&len)),
            3 => (Kind::Gone, len == GONE),
            4 => (Kind::Cancel, len == 0),
            _ => return Err(Malformed),
        };
        if fits { Ok(Head { kind, len, request }) } else { Err(Malformed) }
    }
}

/// What a chunk's body begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Of the object's bytes.
    pub sum: u64,
    /// How many of the object's bytes it brings.
    pub raw: usize,
    /// Whether they are of the flat form of a value with buffers.
    pub flat: bool,
    /// Whether they are compressed.
    pub packed: bool,
}

impl Chunk {
    /// The header of the whole message, and what its body begins with; `len` bytes follow.
    pub fn message(self, request: u64, len: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + CHUNK_HEAD);
        out.put_slice(&Head { kind: Kind::Chunk, len: CHUNK_HEAD + len, request }.encode());
        out.put_u64_le(self.sum);
        out.put_u32_le(self.raw as u32);
        out.put_u32_le(u32::from(self.flat) | u32::from(self.packed) << 1);
        out.freeze()
    }

    /// Decodes the beginning of a body that anybody may have sent, in which `len` bytes follow.
    ///
    /// # Errors
    /// Anything that is no chunk of that length. What is compressed never becomes more than [`CHUNK`].
    pub fn decode(body: &[u8], len: usize) -> Result<Self, Malformed> {
        let (sum, rest) = body.split_first_chunk::<8>().ok_or(Malformed)?;
        let (raw, form) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let form = u32::from_le_bytes(form.try_into().map_err(|_| Malformed)?);
        let raw = u32::from_le_bytes(*raw) as usize;
        let chunk = Chunk { sum: u64::from_le_bytes(*sum), raw, flat: form & 1 > 0, packed: form & 2 > 0 };
        let fits = if chunk.packed { 0 < len && len < raw } else { len == raw };
        if fits && raw <= CHUNK && form < 4 { Ok(chunk) } else { Err(Malformed) }
    }
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The object.
    pub id: ObjectId,
    /// The attempt that gave it; 0 if that is not known, of what is only ever made once.
    pub attempt: u32,
    /// How many bytes it is to have.
    pub len: u64,
    /// The first of those that are wanted.
    pub from: u64,
    /// The one after the last of them.
    pub to: u64,
}

impl Request {
    /// The whole message.
    pub fn message(&self, request: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + REQUEST);
        out.put_slice(&Head { kind: Kind::Request, len: REQUEST, request }.encode());
        let attempt = u64::from(self.attempt);
        for n in [self.id.owner.get(), self.id.seq, attempt, self.len, self.from, self.to] {
            out.put_u64_le(n);
        }
        out.freeze()
    }

    /// Decodes a body that anybody may have sent.
    ///
    /// # Errors
    /// Anything that is no request, or asks for what cannot be inside the object.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() != REQUEST {
            return Err(Malformed);
        }
        let mut numbers = body.chunks_exact(8).map(|n| n.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
        let mut next = || numbers.next().ok_or(Malformed);
        let owner = ProcessId::new(next()?).ok_or(Malformed)?;
        let id = ObjectId { owner, seq: next()? };
        let attempt = u32::try_from(next()?).map_err(|_| Malformed)?;
        let wanted = Request { id, attempt, len: next()?, from: next()?, to: next()? };
        let some = wanted.from < wanted.to || wanted.len == 0;
        if some && wanted.from <= wanted.to && wanted.to <= wanted.len { Ok(wanted) } else { Err(Malformed) }
    }
}

/// The message that an object is gone, or has `found` bytes.
pub(super) fn gone(request: u64, found: Option<u64>) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + GONE);
    out.put_slice(&Head { kind: Kind::Gone, len: GONE, request }.encode());
    out.put_u64_le(found.unwrap_or(u64::MAX));
    out.freeze()
}

/// The length found, of a body that says that an object is gone.
pub(crate) fn decode_gone(body: &[u8]) -> Result<Option<u64>, Malformed> {
    let found = u64::from_le_bytes(body.try_into().map_err(|_| Malformed)?);
    Ok((found != u64::MAX).then_some(found))
}

/// The message that a request is given up.
pub(super) fn cancel(request: u64) -> Bytes {
    Bytes::copy_from_slice(&Head { kind: Kind::Cancel, len: 0, request }.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ObjectId {
        ObjectId { owner: ProcessId::new(5).unwrap(), seq: 6 }
    }

    #[test]
    fn messages_survive_the_wire() {
        let request = Request { id: id(), attempt: 3, len: 8, from: 6, to: 7 };
        let message = request.message(9);
        assert_eq!(
            Head::decode(&message[..HEAD]),
            Ok(Head { kind: Kind::Request, len: REQUEST, request: 9 })
        );
        assert_eq!(Request::decode(&message[HEAD..]), Ok(request));
        assert_eq!(decode_gone(&gone(1, None)[HEAD..]), Ok(None));
        assert_eq!(decode_gone(&gone(1, Some(3))[HEAD..]), Ok(Some(3)));
        assert_eq!(Head::decode(&cancel(4)).map(|h| (h.kind, h.request)), Ok((Kind::Cancel, 4)));
        for (flat, packed, len) in [(false, false, 7), (true, false, 7), (false, true, 6), (true, true, 1)] {
            let chunk = Chunk { sum: 1 << 60, raw: 7, flat, packed };
            let message = chunk.message(10, len);
            let head = Head::decode(&message[..HEAD]).unwrap();
            assert_eq!(head, Head { kind: Kind::Chunk, len: CHUNK_HEAD + len, request: 10 });
            assert_eq!(Chunk::decode(&message[HEAD..], len), Ok(chunk));
        }
    }

    #[test]
    fn lengths_that_a_kind_cannot_have_are_refused() {
        let chunk = CHUNK_HEAD + CHUNK;
        for (kind, len) in [
            (1, 39),
            (2, CHUNK_HEAD - 1),
            (2, chunk + 1),
            (2, u32::MAX as usize),
            (3, 0),
            (4, 1),
            (5, 20),
            (0, 0),
        ] {
            let mut bytes = [0; HEAD];
            bytes[0] = kind;
            bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
            assert_eq!(Head::decode(&bytes), Err(Malformed), "kind {kind}, length {len}");
        }
    }

    #[test]
    fn ranges_outside_the_object_are_refused() {
        for (len, from, to) in [(8, 7, 9), (8, 8, 8), (8, 5, 4), (0, 0, 1), (0, 1, 1), (8, u64::MAX, 8)] {
            let message = Request { id: id(), attempt: 1, len, from, to }.message(0);
            assert_eq!(Request::decode(&message[HEAD..]), Err(Malformed), "{from}..{to} of {len}");
        }
    }

    #[test]
    fn chunks_that_would_become_more_than_they_may_are_refused() {
        for (raw, packed, len) in
            [(CHUNK + 1, true, 10), (usize::MAX, true, 10), (10, true, 10), (10, true, 0), (10, false, 9)]
        {
            let message = Chunk { sum: 0, raw, flat: false, packed }.message(0, len);
            assert_eq!(Chunk::decode(&message[HEAD..], len), Err(Malformed), "{raw} bytes from {len}");
        }
    }
}
