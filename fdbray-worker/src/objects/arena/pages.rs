//! Which pages have been used since their memory was reserved: all others are known to be zero.

use super::offsets::PAGE;
use std::ops::Range;

/// A bit for each page, from the first one on; none is kept beyond the last used page.
#[derive(Default)]
pub(super) struct Used(Vec<u64>);

const BITS: u64 = u64::BITS as u64;

impl Used {
    /// The pages of these bytes are used from here on.
    pub(super) fn mark(&mut self, bytes: Range<u64>) {
        for (word, mask) in words(bytes) {
            if self.0.len() <= word {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= mask;
        }
    }

    /// The memory of these whole pages was given back.
    pub(super) fn clear(&mut self, bytes: Range<u64>) {
        for (word, mask) in words(bytes) {
            if let Some(word) = self.0.get_mut(word) {
                *word &= !mask;
            }
        }
    }

    /// The parts of these bytes that may be other than zero.
    pub(super) fn within(&self, bytes: Range<u64>) -> Vec<Range<u64>> {
        let mut parts: Vec<Range<u64>> = Vec::new();
        for (word, mask) in words(bytes.clone()) {
            let mut bits = self.0.get(word).map_or(0, |word| word & mask);
            while bits != 0 {
                let first = u64::from(bits.trailing_zeros());
                let count = u64::from((bits >> first).trailing_ones());
                let start = (word as u64 * BITS + first) * PAGE;
                let part = start.max(bytes.start)..(start + count * PAGE).min(bytes.end);
                match parts.last_mut() {
                    Some(last) if last.end == part.start => last.end = part.end,
                    _ => parts.push(part),
                }
                bits = if first + count == BITS { 0 } else { bits >> (first + count) << (first + count) };
            }
        }
        parts
    }
}

/// The words that hold the pages of these bytes, and which of their bits.
fn words(bytes: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let pages = bytes.start / PAGE..bytes.end.div_ceil(PAGE).max(bytes.start / PAGE);
    let whole = if pages.is_empty() { 0..0 } else { pages.start / BITS..pages.end.div_ceil(BITS) };
    whole.map(move |word| {
        let from = pages.start.saturating_sub(word * BITS);
        let to = (pages.end - word * BITS).min(BITS);
        (word as usize, u64::MAX >> (BITS - (to - from)) << from)
    })
}
