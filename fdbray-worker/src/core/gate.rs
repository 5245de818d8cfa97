//! Bounds on how many of some calls are under way at once: the others wait at the gate.

use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

/// A bound that some calls of this process share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    id: u64,
    limit: u32,
}

impl Gate {
    /// At most `limit` at once, but never none.
    pub fn new(limit: usize) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        Gate { id: LAST.fetch_add(1, Ordering::Relaxed), limit }
    }

    /// Lets nothing through: a call behind it waits for [`super::Core::open_gate`].
    pub fn closed() -> Self {
        Gate { limit: 0, ..Gate::new(1) }
    }

    /// How many.
    pub fn limit(self) -> u32 {
        self.limit
    }
}

/// The gates of pending calls.
#[derive(Default)]
pub(super) struct Gates {
    all: FxHashMap<u64, Passage>,
    /// By the call's record: its gate, and whether it is through.
    calls: FxHashMap<u64, (Gate, bool)>,
}

#[derive(Default)]
struct Passage {
    /// Calls that have not ended.
    calls: u32,
    /// Those of them that are through.
    through: u32,
    /// In the order in which they were ready. Those that have ended are skipped.
    waiting: VecDeque<u64>,
}

impl Gates {
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The call `seq` has to pass `gate` before it runs.
    pub fn add(&mut self, seq: u64, gate: Gate) {
        self.calls.insert(seq, (gate, false));
        self.all.entry(gate.id).or_default().calls += 1;
    }

    /// Whether the call `seq`, which is ready, may go on. If not, it is named when another one ends.
    pub fn lets_through(&mut self, seq: u64) -> bool {
        let Some((gate, through)) = self.calls.get_mut(&seq).filter(|(_, through)| !through) else {
            return true;
        };
        let passage = self.all.entry(gate.id).or_default();
        *through = passage.through < gate.limit;
        if *through {
            passage.through += 1;
        } else {
            passage.waiting.push_back(seq);
        }
        *through
    }

    /// The call `seq` need not pass its gate any more; whether it waits there.
    pub fn open(&mut self, seq: u64) -> bool {
        let gate = self.calls.get(&seq).map(|(gate, _)| gate.id);
        let waits = gate.and_then(|gate| self.all.get(&gate)).is_some_and(|p| p.waiting.contains(&seq));
        self.ended(seq);
        waits
    }

    /// The call `seq` has ended. Gives the one that goes on in its place.
    pub fn ended(&mut self, seq: u64) -> Option<u64> {
        let (gate, through) = self.calls.remove(&seq)?;
        let passage = self.all.get_mut(&gate.id)?;
        passage.calls -= 1;
        passage.through -= u32::from(through);
        if passage.calls == 0 {
            self.all.remove(&gate.id);
            return None;
        }
        if !through {
            return None;
        }
        while let Some(next) = passage.waiting.pop_front() {
            if self.calls.contains_key(&next) {
                return Some(next);
            }
        }
        None
    }
}
