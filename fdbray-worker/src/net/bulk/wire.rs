//! What is said on the bulk lane. Each message is a header of 16 bytes, little-endian: kind `u32`, length of the body
//! `u32`, request `u64`; then the body.
//!
//! | kind | body | meaning |
//! |---|---|---|
//! | 1 request | owner, seq, offset, len: `u64` each | send the object, of `len` bytes, from `offset` on |
//! | 2 chunk | 1 to [`CHUNK`] bytes (0 only for an empty object) | the next bytes of what was requested |
//! | 3 gone | `u64` | there is no such object (`u64::MAX`), or it has that many bytes instead |
//! | 4 cancel | none | send no more of it |
//! | 5 flat chunk | as of a chunk | the same, of the [flat form](crate::payload::Payload::flat_parts) of a value with buffers |
//!
//! Which form an object is sent in is said with the bytes themselves, by who has them: nothing else that tells of an
//! object needs to know.
//!
//! Requests are numbered by the side that pulls; each side may pull.

use crate::id::{ObjectId, ProcessId};
use bytes::{BufMut, Bytes, BytesMut};

/// The most bytes of a chunk.
pub const CHUNK: usize = 256 << 10;

/// Bytes of a header.
pub const HEAD: usize = 16;

/// Bytes of a request's body.
pub const REQUEST: usize = 32;

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
    /// Bytes of one, which are the flat form of a value with buffers or not.
    Chunk {
        /// Whether they are.
        flat: bool,
    },
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
            Kind::Chunk { flat: false } => 2,
            Kind::Gone => 3,
            Kind::Cancel => 4,
            Kind::Chunk { flat: true } => 5,
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
            2 | 5 => (Kind::Chunk { flat: kind == 5 }, len <= CHUNK),
            3 => (Kind::Gone, len == GONE),
            4 => (Kind::Cancel, len == 0),
            _ => return Err(Malformed),
        };
        if fits { Ok(Head { kind, len, request }) } else { Err(Malformed) }
    }
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The object.
    pub id: ObjectId,
    /// How many of its bytes the puller has.
    pub offset: u64,
    /// How many there are to be.
    pub len: u64,
}

impl Request {
    /// The whole message.
    pub fn message(&self, request: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + REQUEST);
        out.put_slice(&Head { kind: Kind::Request, len: REQUEST, request }.encode());
        for n in [self.id.owner.get(), self.id.seq, self.offset, self.len] {
            out.put_u64_le(n);
        }
        out.freeze()
    }

    /// Decodes a body that anybody may have sent.
    ///
    /// # Errors
    /// Anything that is no request.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() != REQUEST {
            return Err(Malformed);
        }
        let mut numbers = body.chunks_exact(8).map(|n| n.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
        let mut next = || numbers.next().ok_or(Malformed);
        let owner = ProcessId::new(next()?).ok_or(Malformed)?;
        let request = Request { id: ObjectId { owner, seq: next()? }, offset: next()?, len: next()? };
        if request.offset > request.len { Err(Malformed) } else { Ok(request) }
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

    #[test]
    fn messages_survive_the_wire() {
        let id = ObjectId { owner: ProcessId::new(5).unwrap(), seq: 6 };
        let request = Request { id, offset: 7, len: 8 };
        let message = request.message(9);
        assert_eq!(
            Head::decode(&message[..HEAD]),
            Ok(Head { kind: Kind::Request, len: REQUEST, request: 9 })
        );
        assert_eq!(Request::decode(&message[HEAD..]), Ok(request));
        assert_eq!(decode_gone(&gone(1, None)[HEAD..]), Ok(None));
        assert_eq!(decode_gone(&gone(1, Some(3))[HEAD..]), Ok(Some(3)));
        assert_eq!(Head::decode(&cancel(4)).map(|h| (h.kind, h.request)), Ok((Kind::Cancel, 4)));
        for flat in [false, true] {
            let head = Head { kind: Kind::Chunk { flat }, len: 7, request: 10 };
            assert_eq!(Head::decode(&head.encode()), Ok(head));
        }
    }

    #[test]
    fn lengths_that_a_kind_cannot_have_are_refused() {
        for (kind, len) in
            [(1, 31), (2, CHUNK + 1), (2, u32::MAX as usize), (3, 0), (4, 1), (5, CHUNK + 1), (0, 0), (6, 0)]
        {
            let mut bytes = [0; HEAD];
            bytes[0] = kind;
            bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
            assert_eq!(Head::decode(&bytes), Err(Malformed), "kind {kind}, length {len}");
        }
        let ahead = Request { id: ObjectId { owner: ProcessId::new(1).unwrap(), seq: 0 }, offset: 2, len: 1 };
        assert_eq!(Request::decode(&ahead.message(0)[HEAD..]), Err(Malformed));
    }
}
