//! Who is to be declared dead for not beating: a pure state machine, with time and beats as its input.

use crate::id::ProcessId;
use std::collections::BTreeMap;

/// How long a beat stands still before its process is suspected, in nanoseconds that count.
const STILL: u64 = 5_000_000_000;
/// A longer gap between two observations means that the observer itself stood still.
const PAUSE: u64 = 2_000_000_000;
/// How many successors a process judges.
const SUCCESSORS: usize = 3;

/// Counts, for each judged process, how long its beat has stood still.
///
/// Clocks do not agree, the store may be away, the observer may be stopped: only time between two successful
/// observations counts, and only if they are not too far apart. Anything else starts all counts again.
#[derive(Debug, Default)]
pub struct Liveness {
    /// When the last observation succeeded, unless something came between.
    last: Option<u64>,
    counts: BTreeMap<ProcessId, Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    beat: u64,
    still: u64,
}

/// The beats could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// A process whose beat stood still for so long that it may be declared dead, if it still stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The process.
    pub id: ProcessId,
    /// Where its beat stands.
    pub beat: u64,
}

impl Liveness {
    /// Takes in what an observation at `now_nanos` (of any clock that does not go back) found: the beats of all judged
    /// processes. A suspect is named again by each observation until it is judged no more.
    pub fn observe(&mut self, now_nanos: u64, beats: Result<&[(ProcessId, u64)], Failed>) -> Vec<Suspect> {
        let Ok(beats) = beats else {
            self.last = None;
            return Vec::new();
        };
        let gap = self.last.map(|last| now_nanos.saturating_sub(last)).filter(|gap| *gap <= PAUSE);
        self.last = Some(now_nanos);
        let known = std::mem::take(&mut self.counts);
        for &(id, beat) in beats {
            let still = match (known.get(&id), gap) {
                (Some(count), Some(gap)) if count.beat == beat => count.still + gap,
                _ => 0,
            };
            self.counts.insert(id, Count { beat, still });
        }
        let suspects = self.counts.iter().filter(|(_, count)| count.still >= STILL);
        suspects.map(|(&id, count)| Suspect { id, beat: count.beat }).collect()
    }
}

/// The processes after `id` in the ring of all ids: whoever judges them, somebody judges everybody.
pub fn ring_successors(id: ProcessId, members: impl IntoIterator<Item = ProcessId>) -> Vec<ProcessId> {
    let mut ring: Vec<ProcessId> = members.into_iter().filter(|member| *member != id).collect();
    ring.sort_unstable();
    ring.dedup();
    let first = ring.partition_point(|member| *member < id);
    ring.rotate_left(first);
    ring.truncate(SUCCESSORS);
    ring
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn id(n: u64) -> ProcessId {
        ProcessId::new(n).unwrap()
    }

    #[test]
    fn a_beat_that_stands_still_for_five_counted_seconds_is_suspect() {
        let mut liveness = Liveness::default();
        for second in 0..5 {
            let beats = [(id(1), 7), (id(2), second)];
            assert_eq!(liveness.observe(second * SECOND, Ok(&beats)), []);
        }
        let suspect = Suspect { id: id(1), beat: 7 };
        assert_eq!(liveness.observe(5 * SECOND, Ok(&[(id(1), 7), (id(2), 5)])), [suspect]);
        assert_eq!(
            liveness.observe(6 * SECOND, Ok(&[(id(1), 7), (id(2), 6)])),
            [suspect],
            "again until it is gone"
        );
    }

    #[test]
    fn a_single_beat_starts_the_count_again() {
        let mut liveness = Liveness::default();
        for second in 0..60 {
            assert_eq!(liveness.observe(second * SECOND, Ok(&[(id(1), second / 5)])), []);
        }
    }

    #[test]
    fn an_outage_of_the_store_makes_nobody_suspect_until_five_seconds_after_it() {
        let mut liveness = Liveness::default();
        for second in 0..5 {
            assert_eq!(liveness.observe(second * SECOND, Ok(&[(id(1), 7)])), []);
        }
        for second in 5..65 {
            assert_eq!(liveness.observe(second * SECOND, Err(Failed)), []);
        }
        for second in 65..70 {
            assert_eq!(liveness.observe(second * SECOND, Ok(&[(id(1), 7)])), [], "{second}");
        }
        assert_eq!(liveness.observe(70 * SECOND, Ok(&[(id(1), 7)])).len(), 1);
    }

    #[test]
    fn a_pause_of_the_observer_starts_every_count_again() {
        let mut liveness = Liveness::default();
        for second in [0, 1, 2, 3, 4, 14, 15, 16, 17, 18] {
            assert_eq!(liveness.observe(second * SECOND, Ok(&[(id(1), 7)])), [], "{second}");
        }
        assert_eq!(liveness.observe(19 * SECOND, Ok(&[(id(1), 7)])).len(), 1);
    }

    #[test]
    fn a_process_that_is_judged_again_is_counted_anew() {
        let mut liveness = Liveness::default();
        for second in 0..5 {
            liveness.observe(second * SECOND, Ok(&[(id(1), 7)]));
        }
        liveness.observe(5 * SECOND, Ok(&[]));
        assert_eq!(liveness.observe(6 * SECOND, Ok(&[(id(1), 7)])), []);
    }

    #[test]
    fn the_ring_gives_the_three_next_ids_and_goes_round() {
        let all = [5, 1, 9, 3, 7].map(id);
        assert_eq!(ring_successors(id(5), all), [7, 9, 1].map(id));
        assert_eq!(ring_successors(id(9), all), [1, 3, 5].map(id));
        assert_eq!(ring_successors(id(4), all), [5, 7, 9].map(id), "also for one that is not listed");
        assert_eq!(ring_successors(id(1), [id(1)]), []);
    }
}
