//! Which workers to ask for slots, best first.

use super::{Core, dispatch::FutureValue};
use crate::id::ProcessId;

impl Core {
    /// Workers that could ever run a shape, with the slots that each has in all: first where the arguments of the first
    /// waiting task are, then this process itself, then the largest; among equals by chance.
    pub(super) fn candidates(&mut self, shape: u32, first: Option<u64>) -> Vec<(ProcessId, u32)> {
        let needs = self.templates.shape(shape);
        let fits = |(id, capacity): (ProcessId, &super::Resources)| {
            let slots = capacity.times(needs, MOST_SLOTS);
            (slots > 0).then_some((id, slots))
        };
        let (now, here, me) = (self.now, self.templates.is_for_here(shape), self.me());
        let reachable =
            |(id, _): &(ProcessId, u32)| if here { *id == me } else { self.peers.reachable(*id, now) };
        let mut found: Vec<(ProcessId, u32)> =
            self.peers.workers().filter_map(fits).filter(reachable).collect();
        if found.len() < 2 {
            return found;
        }
        let bytes = self.bytes_by_process(first);
        for i in (1..found.len()).rev() {
            let j = self.random_below(i + 1);
            found.swap(i, j);
        }
        let local = |id: ProcessId| bytes.iter().filter(|(p, _)| *p == id).map(|(_, n)| n).sum::<u64>();
        found.sort_by_key(|(id, slots)| std::cmp::Reverse((local(*id), *id == me, *slots)));
        found
    }

    /// Where the large arguments of a task are.
    fn bytes_by_process(&self, task: Option<u64>) -> Vec<(ProcessId, u64)> {
        let values = task.map(|seq| self.future_arguments(seq)).unwrap_or_default();
        let stored = |value: FutureValue| match value {
            FutureValue::Stored { places, len, .. } => Some((places.holder, len)),
            FutureValue::Here(_) => None,
        };
        values.into_iter().filter_map(stored).collect()
    }
}

/// Slots that one lease has at most, for shapes that need nothing that runs out.
pub(super) const MOST_SLOTS: u32 = 1024;
