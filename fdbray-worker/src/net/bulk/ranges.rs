//! Which parts of an object are still to be asked for, on numbers alone.

use std::ops::Range;

/// The parts of one object that nobody has been asked for yet, and what has not arrived.
#[derive(Debug)]
pub(super) struct Ranges {
    len: u64,
    /// Where what was never asked for begins; none once all of it was.
    next: Option<u64>,
    /// What somebody was asked for and did not send.
    back: Vec<Range<u64>>,
    /// Bytes that have not arrived. An object without bytes has arrived once somebody says that it has none.
    missing: u64,
    empty: bool,
}

impl Ranges {
    pub fn new(len: u64) -> Self {
        Ranges { len, next: Some(0), back: Vec::new(), missing: len, empty: len == 0 }
    }

    /// The next part to ask somebody for: that of an object without bytes is empty.
    pub fn take(&mut self) -> Option<Range<u64>> {
        if let Some(range) = self.back.pop() {
            return Some(range);
        }
        let start = self.next?;
        let end = self.len.min(start + RANGE);
        self.next = (end < self.len).then_some(end);
        Some(start..end)
    }

    /// Whoever was asked for this does not send it.
    pub fn give_back(&mut self, range: Range<u64>) {
        if !range.is_empty() || self.empty {
            self.back.push(range);
        }
    }

    /// So many bytes more are here.
    pub fn arrived(&mut self, bytes: u64) {
        self.missing = self.missing.saturating_sub(bytes);
        self.empty = false;
    }

    /// Whether everything is here.
    pub fn complete(&self) -> bool {
        self.missing == 0 && !self.empty
    }
}

/// Bytes that one source is asked for at once.
pub(super) const RANGE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_asked_for_once() {
        for len in [1, RANGE - 1, RANGE, RANGE + 1, 5 * RANGE + 7] {
            let (mut ranges, mut end) = (Ranges::new(len), 0);
            while let Some(range) = ranges.take() {
                assert!(range.start == end && range.end - range.start <= RANGE && !ranges.complete());
                end = range.end;
                ranges.arrived(range.end - range.start);
            }
            assert!(end == len && ranges.complete());
        }
    }

    #[test]
    fn what_one_source_did_not_send_another_is_asked_for() {
        let mut ranges = Ranges::new(2 * RANGE);
        let (first, second) = (ranges.take().unwrap(), ranges.take().unwrap());
        assert_eq!(ranges.take(), None);
        ranges.arrived(10);
        ranges.give_back(first.start + 10..first.end);
        ranges.arrived(RANGE);
        ranges.give_back(second.end..second.end);
        assert_eq!((ranges.take(), ranges.take()), (Some(10..RANGE), None));
        assert!(!ranges.complete());
        ranges.arrived(RANGE - 10);
        assert!(ranges.complete());
    }

    #[test]
    fn an_object_without_bytes_is_asked_for_until_somebody_has_it() {
        let mut ranges = Ranges::new(0);
        assert_eq!((ranges.take(), ranges.take(), ranges.complete()), (Some(0..0), None, false));
        ranges.give_back(0..0);
        assert_eq!(ranges.take(), Some(0..0));
        ranges.arrived(0);
        ranges.give_back(0..0);
        assert_eq!((ranges.take(), ranges.complete()), (None, true));
    }
}
