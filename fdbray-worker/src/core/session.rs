//! Numbering, acknowledging and sending again what goes to one peer.
//!
//! A frame is what was said to a peer between two writes: a header of 24 bytes and messages. Little-endian:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | `len` | bytes after the header |
//! | 4..8 | `kind` | 1 |
//! | 8..16 | `seq` | number of the frame in this session and direction, from 1; 0 for one that only acknowledges |
//! | 16..24 | `ack` | the last frame received from the other side |
//!
//! Over TCP frames are kept until acknowledged, and sent again when a broken connection is resumed. On a Unix socket
//! nothing but an end breaks a connection, so nothing is kept.

use super::message::{self, Message};
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes of a frame's header.
pub const HEADER: usize = 24;

/// The only kind of frame that the core makes.
pub const KIND: u32 = 1;

/// A frame is closed when it has grown to this, so that the reader can begin while the writer goes on.
const FULL: usize = 256 << 10;

/// Frames received without an acknowledgement sent, after which one is sent by itself.
const UNACKNOWLEDGED: u64 = 32;

/// One session, seen from one side.
#[derive(Debug)]
pub struct Session {
    keeps: bool,
    open: Vec<u8>,
    full: VecDeque<Vec<u8>>,
    sent: u64,
    received: u64,
    acknowledged: u64,
    kept: VecDeque<(u64, Bytes)>,
    /// How many of `kept`, the last ones, are to be sent again.
    again: usize,
}

/// What does not fit into a session: the peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header is no header.
    #[error("a frame of kind {0}, which this protocol does not have")]
    Kind(u32),
    /// A frame is missing.
    #[error("frame {got} came where {expected} was expected")]
    Gap {
        /// What came.
        got: u64,
        /// What should have come.
        expected: u64,
    },
    /// Bytes that are no message.
    #[error("bytes that are no message: {0}")]
    Message(String),
    /// The frame ends before its length.
    #[error("a frame that is cut short")]
    Short,
}

/// A received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes after the header.
    pub len: usize,
    /// The frame's kind.
    pub kind: u32,
    /// Its number.
    pub seq: u64,
    /// What it acknowledges.
    pub ack: u64,
}

impl Header {
    /// The header at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        Some(Header { len: word(0)? as usize, kind: word(4)?, seq: long(8)?, ack: long(16)? })
    }

    fn write(self, to: &mut [u8]) {
        to[0..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        to[4..8].copy_from_slice(&self.kind.to_le_bytes());
        to[8..16].copy_from_slice(&self.seq.to_le_bytes());
        to[16..24].copy_from_slice(&self.ack.to_le_bytes());
    }
}

impl Session {
    /// A session that `keeps` its frames until they are acknowledged, or does not need to.
    pub fn new(keeps: bool) -> Self {
        Session {
            keeps,
            open: Vec::new(),
            full: VecDeque::new(),
            sent: 0,
            received: 0,
            acknowledged: 0,
            kept: VecDeque::new(),
            again: 0,
        }
    }

    /// Says `message`, in the frame that goes out next.
    pub fn say(&mut self, message: &Message<'_>) {
        if self.open.is_empty() {
            self.open.resize(HEADER, 0);
        }
        message::encode(message, &mut self.open);
        if self.open.len() >= FULL {
            self.full.push_back(std::mem::take(&mut self.open));
        }
    }

    /// Whether there is nothing to send.
    pub fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.full.is_empty() && self.again == 0
    }

    /// Bytes said and not yet taken.
    pub fn waiting(&self) -> usize {
        self.open.len() + self.full.iter().map(Vec::len).sum::<usize>()
    }

    /// Takes what is to be sent, as whole frames.
    pub fn take(&mut self, out: &mut VecDeque<Bytes>) {
        let again = std::mem::take(&mut self.again).min(self.kept.len());
        out.extend(self.kept.range(self.kept.len() - again..).map(|(_, frame)| frame.clone()));
        while let Some(frame) = self.full.pop_front() {
            out.push_back(self.seal(frame));
        }
        if !self.open.is_empty() {
            let frame = std::mem::take(&mut self.open);
            out.push_back(self.seal(frame));
        } else if self.keeps && self.received - self.acknowledged >= UNACKNOWLEDGED {
            let mut frame = vec![0; HEADER];
            Header { len: 0, kind: KIND, seq: 0, ack: self.received }.write(&mut frame);
            self.acknowledged = self.received;
            out.push_back(frame.into());
        }
    }

    /// Whether an acknowledgement is due even if nothing else is to be sent.
    pub fn owes_acknowledgement(&self) -> bool {
        self.keeps && self.received - self.acknowledged >= UNACKNOWLEDGED
    }

    /// Accounts for a received frame; true when its messages are new.
    ///
    /// # Errors
    /// [`FrameError`]: the session cannot go on.
    pub fn receive(&mut self, header: Header) -> Result<bool, FrameError> {
        if header.kind != KIND {
            return Err(FrameError::Kind(header.kind));
        }
        while self.kept.front().is_some_and(|(seq, _)| *seq <= header.ack) {
            self.kept.pop_front();
        }
        if header.seq <= self.received {
            return Ok(false);
        }
        if header.seq != self.received + 1 {
            return Err(FrameError::Gap { got: header.seq, expected: self.received + 1 });
        }
        self.received = header.seq;
        Ok(true)
    }

    /// The last frame received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether frames are kept from now on: yes where a broken connection is resumed.
    pub fn set_keeps(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    /// A new connection carries the session on; the peer has everything up to `peer_received`. What it lacks goes out
    /// with the next [`Session::take`], before anything new.
    pub fn resumed(&mut self, peer_received: u64) {
        while self.kept.front().is_some_and(|(seq, _)| *seq <= peer_received) {
            self.kept.pop_front();
        }
        self.again = self.kept.len();
    }

    fn seal(&mut self, mut frame: Vec<u8>) -> Bytes {
        self.sent += 1;
        self.acknowledged = self.received;
        let len = frame.len() - HEADER;
        Header { len, kind: KIND, seq: self.sent, ack: self.received }.write(&mut frame[..HEADER]);
        let frame = Bytes::from(frame);
        if self.keeps {
            self.kept.push_back((self.sent, frame.clone()));
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(session: &mut Session, seq: u64) {
        session.say(&Message::Free { seq });
    }

    fn receive(session: &mut Session, frames: &VecDeque<Bytes>) -> Vec<bool> {
        frames.iter().map(|f| session.receive(Header::parse(f).unwrap()).unwrap()).collect()
    }

    #[test]
    fn a_resumed_session_sends_again_what_was_lost_and_drops_what_comes_twice() {
        let (mut a, mut b) = (Session::new(true), Session::new(true));
        let (mut first, mut second, mut again) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        say(&mut a, 1);
        a.take(&mut first);
        assert_eq!(receive(&mut b, &first), [true]);
        say(&mut a, 2);
        a.take(&mut second); // lost with the connection
        a.resumed(b.received());
        a.take(&mut again);
        assert_eq!(again, second);
        assert_eq!(receive(&mut b, &again), [true]);
        assert_eq!(receive(&mut b, &again), [false]);
    }

    #[test]
    fn acknowledged_frames_are_let_go_and_a_gap_ends_the_session() {
        let (mut a, mut b) = (Session::new(true), Session::new(true));
        let mut out = VecDeque::new();
        for n in 0..UNACKNOWLEDGED {
            say(&mut a, n);
            a.take(&mut out);
        }
        receive(&mut b, &out);
        assert!(b.owes_acknowledgement());
        let mut ack = VecDeque::new();
        b.take(&mut ack);
        receive(&mut a, &ack);
        assert!(a.kept.is_empty() && !b.owes_acknowledgement());
        let gap = Header { len: 0, kind: KIND, seq: 99, ack: 0 };
        assert_eq!(b.receive(gap), Err(FrameError::Gap { got: 99, expected: UNACKNOWLEDGED + 1 }));
    }
}
