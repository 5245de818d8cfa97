//! The serving side of a connection: what the peer asked for, a chunk of each in turn.

use super::wire::{CHUNK, HEAD, Head, Kind, Malformed};
use crate::payload::Payload;
use bytes::Bytes;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is being sent over one connection.
#[derive(Debug, Default)]
pub(super) struct Serving {
    sends: Mutex<VecDeque<Sending>>,
}

#[derive(Debug)]
struct Sending {
    request: u64,
    /// Whether it is the flat form of a value with buffers.
    flat: bool,
    /// What is left, in pieces of which none is empty.
    rest: VecDeque<Bytes>,
}

impl Serving {
    /// Sends `value` too, from `offset` on, after one turn of those before it.
    pub(super) fn begin(&self, request: u64, value: &Payload, offset: usize) -> Result<(), Malformed> {
        let mut sends = self.sends();
        if sends.len() == MAX_SENDS || sends.iter().any(|s| s.request == request) {
            return Err(Malformed);
        }
        let mut rest = VecDeque::from(value.flat_parts());
        rest.retain(|piece| !piece.is_empty());
        take(&mut rest, offset, |_| {});
        sends.push_back(Sending { request, flat: matches!(value, Payload::Parts(_)), rest });
        Ok(())
    }

    /// Sends no more of it.
    pub(super) fn cancel(&self, request: u64) {
        self.sends().retain(|s| s.request != request);
    }

    /// Adds the next chunk, of the transfer whose turn it is, to `out`: a header and its bytes.
    pub(super) fn next_chunk(&self, out: &mut VecDeque<Bytes>) {
        let mut sends = self.sends();
        let Some(Sending { request, flat, mut rest }) = sends.pop_front() else { return };
        let at = out.len();
        let len = take(&mut rest, CHUNK, |piece| out.push_back(piece));
        let head = Head { kind: Kind::Chunk { flat }, len, request };
        out.insert(at, Bytes::copy_from_slice(&head.encode()[..HEAD]));
        if !rest.is_empty() {
            sends.push_back(Sending { request, flat, rest });
        }
    }

    fn sends(&self) -> MutexGuard<'_, VecDeque<Sending>> {
        // Nothing that can panic happens under it.
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes up to `len` bytes off the front of `rest`; returns how many.
fn take(rest: &mut VecDeque<Bytes>, len: usize, mut taken: impl FnMut(Bytes)) -> usize {
    let mut left = len;
    while let Some(piece) = rest.front_mut().filter(|_| left > 0) {
        let part = piece.split_to(piece.len().min(left));
        left -= part.len();
        if piece.is_empty() {
            rest.pop_front();
        }
        taken(part);
    }
    len - left
}

/// Transfers that a peer may have under way; it asks for fewer.
const MAX_SENDS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent next: of which request, whether flat, and the bytes.
    fn next(serving: &Serving) -> Option<(u64, bool, Vec<u8>)> {
        let mut out = VecDeque::new();
        serving.next_chunk(&mut out);
        let head = Head::decode(&out.pop_front()?).unwrap();
        let bytes = Vec::from(out).concat();
        assert_eq!(head.len, bytes.len());
        let Kind::Chunk { flat } = head.kind else { panic!("no chunk: {head:?}") };
        Some((head.request, flat, bytes))
    }

    #[test]
    fn transfers_take_turns_by_chunks() {
        let serving = Serving::default();
        let begin = |request, len| {
            let value = Payload::from(Bytes::from(vec![request as u8; len]));
            serving.begin(request, &value, 0).unwrap();
        };
        begin(1, 2 * CHUNK + 1);
        begin(2, CHUNK);
        begin(3, 0);
        begin(4, CHUNK);
        serving.cancel(4);
        let order: Vec<_> =
            std::iter::from_fn(|| next(&serving)).map(|(request, _, bytes)| (request, bytes.len())).collect();
        assert_eq!(order, [(1, CHUNK), (2, CHUNK), (3, 0), (1, CHUNK), (1, 1)]);
    }

    #[test]
    fn a_value_with_buffers_is_served_from_any_offset() {
        let buffers = [CHUNK, 1, 100_000].map(|len| Bytes::from(vec![len as u8; len]));
        let value = Payload::in_parts(Bytes::from_static(b"head"), buffers.to_vec());
        let whole = value.contiguous();
        for offset in
            [0, 1, 39, 40, 43, 44, 63, 64, 65, CHUNK + 64, CHUNK + 100, whole.len() - 1, whole.len()]
        {
            let serving = Serving::default();
            serving.begin(7, &value, offset).unwrap();
            let mut sent = Vec::new();
            while let Some((request, flat, bytes)) = next(&serving) {
                assert_eq!((request, flat), (7, true));
                sent.extend(bytes);
            }
            assert!(sent == whole[offset..], "from {offset}");
        }
    }

    #[test]
    fn a_peer_cannot_ask_without_end() {
        let (serving, value) = (Serving::default(), Payload::copy_from(b""));
        for request in 0..MAX_SENDS as u64 {
            serving.begin(request, &value, 0).unwrap();
        }
        assert_eq!(serving.begin(u64::MAX, &value, 0), Err(Malformed));
    }
}
