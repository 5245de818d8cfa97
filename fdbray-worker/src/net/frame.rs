//! What a frame on the control lane looks like, and how a stream of bytes is cut into whole ones.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a frame's header.
pub const HEADER: usize = 24;

/// The most bytes that a frame's payload may have. What is larger travels on the bulk lane.
pub const MAX_FRAME: usize = 16 << 20;

/// The kind of frame that `net` itself sends and takes out of the stream; a [`Host`](super::Host) never sees one
/// and numbers none of them.
pub const NET_KIND: u32 = u32::MAX;

/// A frame's header. On the wire four little-endian integers in this order, then the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub len: u32,
    /// What the payload is; [`NET_KIND`] is taken.
    pub kind: u32,
    /// The frame's number in its session.
    pub seq: u64,
    /// The last number that the sender has of the receiver.
    pub ack: u64,
}

impl Header {
    /// The bytes.
    pub fn encode(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&self.len.to_le_bytes());
        out[4..8].copy_from_slice(&self.kind.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..].copy_from_slice(&self.ack.to_le_bytes());
        out
    }

    /// The header at the start of `bytes`; `None` when they are fewer than [`HEADER`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEADER>()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Some(Header { len: word(0), kind: word(4), seq: long(8), ack: long(16) })
    }
}

/// The start of a stream: how much of it can be handled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// No whole frame yet; the one that has begun needs this many bytes in all (at least a header).
    Partial(usize),
    /// This many bytes of whole frames for the host.
    Frames(usize),
    /// One frame of `net`'s own, of this many bytes with its header.
    Own(usize),
}

/// Looks at the start of `bytes`. Never looks past the first incomplete frame; total over all input.
///
/// # Errors
/// A header that announces more than [`MAX_FRAME`] bytes.
pub fn front(bytes: &[u8]) -> Result<Front, TooLong> {
    let mut whole = 0;
    loop {
        let Some(header) = Header::decode(&bytes[whole..]) else {
            return Ok(if whole > 0 { Front::Frames(whole) } else { Front::Partial(HEADER) });
        };
        let len = header.len as usize;
        if len > MAX_FRAME {
            return Err(TooLong(len));
        }
        let end = whole + HEADER + len;
        match (header.kind == NET_KIND, end <= bytes.len()) {
            (_, false) if whole == 0 => return Ok(Front::Partial(end)),
            (true, true) if whole == 0 => return Ok(Front::Own(end)),
            (false, true) => whole = end,
            _ => return Ok(Front::Frames(whole)),
        }
    }
}

/// A frame's header announced more than [`MAX_FRAME`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced, of at most {MAX_FRAME}")]
pub struct TooLong(pub usize);

/// What `net` says to its peer inside a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// Open the bulk connection: asked of the side that can dial.
    OpenBulk,
    /// The session is over, on purpose.
    Bye(String),
    /// A question, by its number.
    Ask(u64, Bytes),
    /// The answer to it, if there is one.
    Answer(u64, Option<Bytes>),
    /// Something that wants no answer.
    Tell(Bytes),
}

impl Own {
    pub(crate) fn encode(&self) -> Bytes {
        let (op, number, body): (u8, Option<u64>, &[u8]) = match self {
            Own::OpenBulk => (0, None, &[]),
            Own::Bye(why) => (1, None, &why.as_bytes()[..why.len().min(MAX_BYE)]),
            Own::Ask(number, question) => (2, Some(*number), question),
            Own::Answer(number, Some(answer)) => (3, Some(*number), answer),
            Own::Answer(number, None) => (4, Some(*number), &[]),
            Own::Tell(news) => (5, None, news),
        };
        let len = 1 + number.map_or(0, |_| 8) + body.len();
        let mut out = BytesMut::with_capacity(HEADER + len);
        out.put_slice(&Header { len: len as u32, kind: NET_KIND, seq: 0, ack: 0 }.encode());
        out.put_u8(op);
        if let Some(number) = number {
            out.put_u64_le(number);
        }
        out.put_slice(body);
        out.freeze()
    }

    /// Of a whole frame; `None` when it says nothing that this version knows.
    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let (op, body) = frame.get(HEADER..)?.split_first()?;
        let numbered = || {
            let (number, body) = body.split_first_chunk()?;
            Some((u64::from_le_bytes(*number), Bytes::copy_from_slice(body)))
        };
        match op {
            0 if body.is_empty() => Some(Own::OpenBulk),
            1 => Some(Own::Bye(String::from_utf8_lossy(&body[..body.len().min(MAX_BYE)]).into_owned())),
            2 => numbered().map(|(number, question)| Own::Ask(number, question)),
            3 => numbered().map(|(number, answer)| Own::Answer(number, Some(answer))),
            4 => numbered().filter(|(_, rest)| rest.is_empty()).map(|(number, _)| Own::Answer(number, None)),
            5 => Some(Own::Tell(Bytes::copy_from_slice(body))),
            _ => None,
        }
    }
}

/// The most bytes of a reason that are sent.
const MAX_BYE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Header { len: payload.len() as u32, kind, seq: 7, ack: 9 }.encode().to_vec();
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_header_decodes_to_what_was_encoded() {
        let header = Header { len: 5, kind: 3, seq: u64::MAX - 1, ack: 1 << 40 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        assert_eq!(Header::decode(&header.encode()[1..]), None);
    }

    #[test]
    fn own_frames_decode_to_what_was_encoded() {
        let body = Bytes::from_static(b"body");
        let all = [
            Own::OpenBulk,
            Own::Bye("why".into()),
            Own::Ask(1 << 40, body.clone()),
            Own::Answer(2, Some(body.clone())),
            Own::Answer(3, None),
            Own::Tell(body),
        ];
        for own in all {
            assert_eq!(Own::decode(&own.encode()), Some(own));
        }
        assert_eq!(Own::decode(&frame(NET_KIND, &[2, 0, 0])), None, "without a whole number");
        assert_eq!(Own::decode(&frame(NET_KIND, &[200])), None);
    }

    #[test]
    fn whole_frames_are_cut_off_together_and_own_frames_alone() {
        let (a, b, own) = (frame(1, b"abc"), frame(2, b""), Own::OpenBulk.encode());
        let mut stream = [&a[..], &b, &own, &a].concat();
        assert_eq!(front(&stream), Ok(Front::Frames(a.len() + b.len())));
        stream.drain(..a.len() + b.len());
        assert_eq!(front(&stream), Ok(Front::Own(own.len())));
        stream.drain(..own.len());
        assert_eq!(front(&stream[..a.len() - 1]), Ok(Front::Partial(a.len())));
        assert_eq!(front(&stream[..3]), Ok(Front::Partial(HEADER)));
        assert_eq!(front(&stream), Ok(Front::Frames(a.len())));
    }

    #[test]
    fn a_length_of_four_gigabytes_is_an_error_wherever_it_stands() {
        let long = Header { len: u32::MAX, kind: 1, seq: 1, ack: 0 }.encode();
        assert_eq!(front(&long), Err(TooLong(u32::MAX as usize)));
        assert!(front(&[&frame(1, b"x")[..], &long].concat()).is_err());
    }

    #[test]
    fn own_frames_survive_the_wire_and_long_reasons_are_cut() {
        for own in [Own::OpenBulk, Own::Bye("done".into())] {
            assert_eq!(Own::decode(&own.encode()), Some(own));
        }
        let long = Own::decode(&Own::Bye("é".repeat(5000)).encode());
        assert!(matches!(long, Some(Own::Bye(text)) if text.starts_with('é') && text.len() <= MAX_BYE + 3));
    }
}
