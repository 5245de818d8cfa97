//! The serving side of a connection: what the peer asked for, a chunk of each object in turn.

use super::{
    pace::{Pace, Sample},
    wire::{CHUNK, Chunk, Malformed, Request},
};
use crate::{id::ObjectId, payload::Payload};
use bytes::Bytes;
use lz4_flex::block::{compress_into, get_maximum_output_size};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use xxhash_rust::xxh3::Xxh3Default;

/// What is being sent over one connection.
#[derive(Debug, Default)]
pub(super) struct Serving {
    sends: Mutex<VecDeque<Sending>>,
}

/// What the peer wants of one object.
#[derive(Debug)]
struct Sending {
    id: ObjectId,
    /// Whether it is the flat form of a value with buffers.
    flat: bool,
    /// One after the other, so that the peer can ask for more while the last is under way.
    wanted: VecDeque<Wanted>,
    run: Run,
}

#[derive(Debug)]
struct Wanted {
    request: u64,
    /// What is left, in pieces of which none is empty.
    rest: VecDeque<Bytes>,
}

/// Chunks for which it was decided at once whether they are compressed.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    left: u32,
    packed: bool,
}

/// Compresses chunks of one connection.
#[derive(Debug, Default)]
pub(super) struct Packer {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Runs that were compressed one after the other.
    runs: u32,
}

impl Serving {
    /// Sends a part of `value` too, after one turn of those before it.
    pub fn begin(&self, request: u64, value: &Payload, wanted: &Request) -> Result<(), Malformed> {
        let mut sends = self.sends();
        let mut all = sends.iter().flat_map(|s| &s.wanted);
        if all.clone().count() == MAX_SENDS || all.any(|w| w.request == request) {
            return Err(Malformed);
        }
        let mut pieces = VecDeque::from(value.flat_parts());
        pieces.retain(|piece| !piece.is_empty());
        take(&mut pieces, wanted.from as usize, |_| {});
        let mut rest = VecDeque::new();
        take(&mut pieces, (wanted.to - wanted.from) as usize, |piece| rest.push_back(piece));
        let next = Wanted { request, rest };
        match sends.iter_mut().find(|s| s.id == wanted.id) {
            Some(sending) => sending.wanted.push_back(next),
            None => {
                let flat = matches!(value, Payload::Parts(_));
                let (id, wanted) = (wanted.id, VecDeque::from([next]));
                sends.push_back(Sending { id, flat, wanted, run: Run::default() });
            }
        }
        Ok(())
    }

    /// Sends no more of it.
    pub fn cancel(&self, request: u64) {
        self.sends().retain_mut(|s| {
            s.wanted.retain(|w| w.request != request);
            !s.wanted.is_empty()
        });
    }

    /// Adds the next chunk, of the object whose turn it is, to `out`: a header and its bytes.
    pub fn next_chunk(&self, pace: &Pace, packer: &mut Packer, out: &mut VecDeque<Bytes>) {
        // Compressing takes a while, in which others may ask and cancel.
        let Some((request, flat, mut run, pieces)) = self.next_pieces() else { return };
        if run.left == 0 {
            run = packer.decide(pace, &pieces);
        }
        let raw = pieces.iter().map(Bytes::len).sum();
        let mut sum = Xxh3Default::new();
        pieces.iter().for_each(|piece| sum.update(piece));
        let packed = if run.packed { packer.pack(&pieces) } else { None };
        let chunk = Chunk { sum: sum.digest(), raw, flat, packed: packed.is_some() };
        match packed {
            Some(bytes) => out.extend([chunk.message(request, bytes.len()), bytes]),
            None => {
                out.push_back(chunk.message(request, raw));
                out.extend(pieces);
            }
        }
        self.turn(request, Run { left: run.left - 1, ..run });
    }

    /// The bytes of the next chunk, and what is to be known of them.
    fn next_pieces(&self) -> Option<(u64, bool, Run, Vec<Bytes>)> {
        let mut sends = self.sends();
        let sending = sends.front_mut()?;
        let (flat, run) = (sending.flat, sending.run);
        let wanted = sending.wanted.front_mut()?;
        let mut pieces = Vec::new();
        take(&mut wanted.rest, CHUNK, |piece| pieces.push(piece));
        Some((wanted.request, flat, run, pieces))
    }

    /// A chunk of `request` was made: the next object's turn.
    fn turn(&self, request: u64, run: Run) {
        let mut sends = self.sends();
        let Some(mut sending) =
            sends.pop_front_if(|s| s.wanted.front().is_some_and(|w| w.request == request))
        else {
            // It was cancelled.
            return;
        };
        sending.run = run;
        sending.wanted.pop_front_if(|w| w.rest.is_empty());
        if !sending.wanted.is_empty() {
            sends.push_back(sending);
        }
    }

    fn sends(&self) -> MutexGuard<'_, VecDeque<Sending>> {
        // Nothing that can panic happens under it.
        self.sends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Packer {
    /// What to do with the next chunks, of which these are the first bytes.
    fn decide(&mut self, pace: &Pace, pieces: &[Bytes]) -> Run {
        let raw = Run { left: RUN, packed: false };
        // What the link takes is only seen while it is full, which compressing may prevent.
        if !pace.is_slow() || self.runs == RUNS {
            self.runs = 0;
            return raw;
        }
        let began = Instant::now();
        self.gather(pieces, SAMPLE);
        if self.input.len() < LEAST {
            return raw;
        }
        let Some(packed) = self.compress() else { return raw };
        let sample = Sample { raw: self.input.len(), packed, took: began.elapsed() };
        let pays = pace.pays(sample);
        tracing::trace!(?sample, ?pace, pays, "a sample was compressed");
        self.runs = if pays { self.runs + 1 } else { 0 };
        Run { left: RUN, packed: pays }
    }

    /// The bytes compressed, if that makes them fewer.
    fn pack(&mut self, pieces: &[Bytes]) -> Option<Bytes> {
        self.gather(pieces, CHUNK);
        let len = self.compress()?;
        (len < self.input.len()).then(|| Bytes::copy_from_slice(&self.output[..len]))
    }

    fn gather(&mut self, pieces: &[Bytes], most: usize) {
        self.input.clear();
        for piece in pieces {
            let room = most - self.input.len();
            self.input.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    fn compress(&mut self) -> Option<usize> {
        self.output.resize(get_maximum_output_size(CHUNK), 0);
        // There is room for whatever it comes to.
        compress_into(&self.input, &mut self.output).ok()
    }
}

/// Takes up to `len` bytes off the front of `rest`.
fn take(rest: &mut VecDeque<Bytes>, len: usize, mut taken: impl FnMut(Bytes)) {
    let mut left = len;
    while let Some(piece) = rest.front_mut().filter(|_| left > 0) {
        let part = piece.split_to(piece.len().min(left));
        left -= part.len();
        if piece.is_empty() {
            rest.pop_front();
        }
        taken(part);
    }
}

/// Parts that a peer may have asked for at once; it asks for fewer.
const MAX_SENDS: usize = 1024;

/// Chunks of a run.
const RUN: u32 = 8;

/// Of so many runs one is sent as it is, to see what the link takes.
const RUNS: u32 = 32;

/// Bytes of a sample.
const SAMPLE: usize = 16 << 10;

/// And of the smallest that says something.
const LEAST: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::super::wire::{CHUNK_HEAD, HEAD, Head, Kind};
    use super::*;
    use crate::id::ProcessId;
    use std::time::Duration;
    use xxhash_rust::xxh3::xxh3_64;

    fn request(seq: u64, len: usize, from: usize, to: usize) -> Request {
        let id = ObjectId { owner: ProcessId::new(1).unwrap(), seq };
        Request { id, attempt: 1, len: len as u64, from: from as u64, to: to as u64 }
    }

    /// A link that takes ten megabytes per second.
    fn slow() -> Pace {
        let (mut pace, start) = (Pace::new(false), Instant::now());
        pace.full(start);
        pace.took(10_000_000);
        pace.full(start + Duration::from_secs(1));
        pace
    }

    /// What is sent next: of which request, and the chunk as the peer reads it.
    fn next(serving: &Serving, pace: &Pace, packer: &mut Packer) -> Option<(u64, Chunk, Vec<u8>)> {
        let mut out = VecDeque::new();
        serving.next_chunk(pace, packer, &mut out);
        let front = out.pop_front()?;
        let (head, bytes) = (Head::decode(&front[..HEAD]).unwrap(), Vec::from(out).concat());
        assert_eq!((head.kind, head.len), (Kind::Chunk, CHUNK_HEAD + bytes.len()));
        let chunk = Chunk::decode(&front[HEAD..], bytes.len()).unwrap();
        let bytes = match chunk.packed {
            true => lz4_flex::block::decompress(&bytes, chunk.raw).unwrap(),
            false => bytes,
        };
        assert_eq!((bytes.len(), xxh3_64(&bytes)), (chunk.raw, chunk.sum));
        Some((head.request, chunk, bytes))
    }

    fn order(serving: &Serving) -> Vec<(u64, usize)> {
        let (pace, mut packer) = (Pace::new(true), Packer::default());
        std::iter::from_fn(|| next(serving, &pace, &mut packer))
            .map(|(request, chunk, _)| (request, chunk.raw))
            .collect()
    }

    #[test]
    fn objects_take_turns_by_chunks() {
        let serving = Serving::default();
        let begin = |n, len| {
            let value = Payload::from(Bytes::from(vec![n as u8; len]));
            serving.begin(n, &value, &request(n, len, 0, len)).unwrap();
        };
        begin(1, 2 * CHUNK + 1);
        begin(2, CHUNK);
        begin(3, 0);
        begin(4, CHUNK);
        serving.cancel(4);
        assert_eq!(order(&serving), [(1, CHUNK), (2, CHUNK), (3, 0), (1, CHUNK), (1, 1)]);
    }

    #[test]
    fn parts_of_one_object_follow_each_other() {
        let (serving, len) = (Serving::default(), 4 * CHUNK);
        let value = Payload::from(Bytes::from(vec![1; len]));
        for (n, from) in [(1, 0), (2, 2 * CHUNK)] {
            serving.begin(n, &value, &request(7, len, from, from + 2 * CHUNK)).unwrap();
        }
        serving.begin(3, &value, &request(8, len, 5, 7)).unwrap();
        assert_eq!(order(&serving), [(1, CHUNK), (3, 2), (1, CHUNK), (2, CHUNK), (2, CHUNK)]);
    }

    #[test]
    fn a_value_with_buffers_is_served_in_any_part() {
        let buffers = [CHUNK, 1, 100_000].map(|len| Bytes::from(vec![len as u8; len]));
        let value = Payload::in_parts(Bytes::from_static(b"head"), buffers.to_vec());
        let whole = value.contiguous();
        let places = [0, 1, 39, 40, 44, 63, 64, 65, CHUNK + 64, CHUNK + 100, whole.len() - 1, whole.len()];
        for pair in places.iter().flat_map(|from| places.map(|to| (*from, to))).filter(|(a, b)| a < b) {
            let serving = Serving::default();
            serving.begin(7, &value, &request(1, whole.len(), pair.0, pair.1)).unwrap();
            let mut sent = Vec::new();
            while let Some((_, chunk, bytes)) = next(&serving, &Pace::new(true), &mut Packer::default()) {
                assert!(chunk.flat && !chunk.packed);
                sent.extend(bytes);
            }
            assert!(sent == whole[pair.0..pair.1], "{pair:?}");
        }
    }

    #[test]
    fn on_a_slow_link_what_shrinks_is_compressed_and_now_and_then_sent_as_it_is() {
        let (serving, pace, mut packer) = (Serving::default(), slow(), Packer::default());
        let chunks = ((RUNS + 1) * RUN) as usize;
        let value = Payload::from(Bytes::from(vec![1; chunks * CHUNK]));
        serving.begin(1, &value, &request(1, value.len(), 0, value.len())).unwrap();
        let packed = std::iter::from_fn(|| next(&serving, &pace, &mut packer)).filter(|c| c.1.packed).count();
        assert_eq!(packed, chunks - RUN as usize);
    }

    #[test]
    fn what_does_not_shrink_is_never_compressed() {
        let (serving, pace, mut packer) = (Serving::default(), slow(), Packer::default());
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        });
        let value = Payload::from(Bytes::from(noise.take(2 * CHUNK).collect::<Vec<_>>()));
        serving.begin(1, &value, &request(1, value.len(), 0, value.len())).unwrap();
        for _ in 0..2 {
            assert!(!next(&serving, &pace, &mut packer).unwrap().1.packed);
        }
    }

    #[test]
    fn a_peer_cannot_ask_without_end() {
        let (serving, value) = (Serving::default(), Payload::copy_from(b""));
        for n in 0..MAX_SENDS as u64 {
            serving.begin(n, &value, &request(n % 3, 0, 0, 0)).unwrap();
        }
        assert_eq!(serving.begin(u64::MAX, &value, &request(9, 0, 0, 0)), Err(Malformed));
    }
}
