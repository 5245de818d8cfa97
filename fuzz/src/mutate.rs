//! Broken messages made of valid ones.

/// A stream of numbers from a seed: SplitMix64 (Steele, Lea, Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.number() % end as u64) as usize }
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number() as u8).collect()
    }
}

/// Bytes to decode: random ones, a message of `corpus`, or one that was broken in some places.
pub(crate) fn input(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    if corpus.is_empty() || random.below(8) == 0 {
        let len = random.below(200);
        return random.bytes(len);
    }
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..random.below(6) {
        break_somewhere(random, &mut bytes, corpus);
    }
    bytes
}

/// What lengths, counts and variants are at their edges, as one byte, as fixed numbers and as varints.
const EDGES: [&[u8]; 9] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff; 4],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

fn break_somewhere(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    match random.below(7) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.number() as u8;
            }
        }
        3 => {
            let edge = EDGES[random.below(EDGES.len())];
            let end = (at + edge.len()).min(bytes.len());
            bytes.splice(at..end, edge.iter().copied());
        }
        4 => {
            let len = random.below(20);
            let more = random.bytes(len);
            bytes.splice(at..at, more);
        }
        5 => {
            let end = at + random.below(bytes.len() - at + 1);
            bytes.drain(at..end);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
    }
}
