//! The serving side of a connection: what the peer asked for, a chunk of each in turn.

use super::wire::{CHUNK, HEAD, Head, Kind, Malformed};
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
    /// What is left.
    rest: Bytes,
}

impl Serving {
    /// Sends `rest` too, after one turn of those before it.
    pub(super) fn begin(&self, request: u64, rest: Bytes) -> Result<(), Malformed> {
        let mut sends = self.sends();
        if sends.len() == MAX_SENDS || sends.iter().any(|s| s.request == request) {
            return Err(Malformed);
        }
        sends.push_back(Sending { request, rest });
        Ok(())
    }

    /// Sends no more of it.
    pub(super) fn cancel(&self, request: u64) {
        self.sends().retain(|s| s.request != request);
    }

    /// The next chunk, of the transfer whose turn it is, as header and bytes.
    pub(super) fn next_chunk(&self) -> Option<(Bytes, Bytes)> {
        let mut sends = self.sends();
        let mut sending = sends.pop_front()?;
        let chunk = sending.rest.split_to(sending.rest.len().min(CHUNK));
        let head = Head { kind: Kind::Chunk, len: chunk.len(), request: sending.request };
        if !sending.rest.is_empty() {
            sends.push_back(sending);
        }
        Some((Bytes::copy_from_slice(&head.encode()[..HEAD]), chunk))
    }

    fn sends(&self) -> MutexGuard<'_, VecDeque<Sending>> {
        // Nothing that can panic happens under it.
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Transfers that a peer may have under way; it asks for fewer.
const MAX_SENDS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_take_turns_by_chunks() {
        let serving = Serving::default();
        serving.begin(1, vec![1; 2 * CHUNK + 1].into()).unwrap();
        serving.begin(2, vec![2; CHUNK].into()).unwrap();
        serving.begin(3, Bytes::new()).unwrap();
        serving.begin(4, vec![4; CHUNK].into()).unwrap();
        serving.cancel(4);
        let order: Vec<_> = std::iter::from_fn(|| serving.next_chunk())
            .map(|(head, bytes)| (Head::decode(&head).unwrap().request, bytes.len()))
            .collect();
        assert_eq!(order, [(1, CHUNK), (2, CHUNK), (3, 0), (1, CHUNK), (1, 1)]);
    }

    #[test]
    fn a_peer_cannot_ask_without_end() {
        let serving = Serving::default();
        for request in 0..MAX_SENDS as u64 {
            serving.begin(request, Bytes::new()).unwrap();
        }
        assert_eq!(serving.begin(u64::MAX, Bytes::new()), Err(Malformed));
    }
}
