//! Reserving memory for blocks and giving it back, and the thread that does both ahead of time.
//!
//! The state's lock is never held over what takes long: a part is *taken* under it, worked on without it, and settled
//! under it again. The thread starts when there is something to do, and ends when there was nothing for a while; nothing
//! depends on it but speed.

use super::{
    Shared,
    full::Bound,
    memory::Memory,
    offsets::{EXTENT, Growth, Shape},
    state::{Open, State},
};
use std::{
    ops::Range,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

/// How much is reserved at once before the machine is asked again: others reserve at the same time.
const SLICE: u64 = 64 << 20;
/// How much is pre-faulted at once: giving back waits for it.
const POPULATE: u64 = 4 << 20;
/// The least that is reserved at once, so that small blocks do not each ask the kernel.
const LEAST: u64 = 1 << 20;
/// The most that is reserved ahead.
const AHEAD: u64 = 32 << 20;
/// How long the thread waits for something to do.
const LINGER: Duration = Duration::from_millis(100);

impl Shared {
    /// Takes a part for a block for which memory has to be reserved. Returns with the state locked.
    pub(super) fn grow<'a>(
        self: &Arc<Self>,
        open: &'a Open,
        shape: Shape,
    ) -> Result<(MutexGuard<'a, State>, u64), Bound> {
        let spare = LEAST.saturating_sub(shape.len);
        let growth = match self.reserve(open, shape, spare) {
            Err(Bound::Limit) => {
                // What the thread is just reserving is free in a moment.
                drop(open.ahead.lock().unwrap_or_else(PoisonError::into_inner));
                let mut state = open.state();
                if let Some(at) = state.offsets.take(shape) {
                    return Ok((state, at));
                }
                drop(state);
                self.reserve(open, shape, spare)?
            }
            reserved => reserved?,
        };
        let mut state = open.state();
        state.offsets.split(&growth, shape.len);
        state.warm.extend(growth.cold.iter().cloned());
        state.ahead = true;
        self.wake(open, &mut state);
        Ok((state, growth.tile.start))
    }

    /// Takes a tile and reserves what of it has no memory.
    fn reserve(&self, open: &Open, shape: Shape, spare: u64) -> Result<Growth, Bound> {
        let (growth, idle) = self.plan(&mut open.state(), &open.memory, shape, spare)?;
        let made = match self.punch(open, idle) {
            true => growth.cold.iter().try_for_each(|extents| self.reserve_extents(open, extents.clone())),
            false => Err(Bound::Limit),
        };
        if made.is_err() {
            let pages = open.pages.lock().unwrap_or_else(PoisonError::into_inner);
            // What was reserved before it failed. Pages that stay are counted when they are reserved again.
            for extents in &growth.cold {
                let _ = open.memory.give_back(extents.clone());
            }
            open.state().offsets.undo(&growth);
            drop(pages);
            self.room.tell();
        }
        let mut state = open.state();
        state.reserving.retain(|tile| *tile != growth.tile);
        if made.is_ok() {
            state.peak_reserved();
        }
        made.map(|()| growth)
    }

    /// Decides what to reserve, and what free memory elsewhere is given back so that it stays below the limit. Both are
    /// taken.
    fn plan(
        &self,
        state: &mut State,
        memory: &Memory,
        shape: Shape,
        spare: u64,
    ) -> Result<(Growth, Vec<Range<u64>>), Bound> {
        let room = self.limit().saturating_sub(state.claimed());
        // In proportion to what there is: a program with one small object reserves little.
        let spare = spare.min(state.claimed() / 4).min(room.saturating_sub(shape.len + 2 * EXTENT));
        let growth = state.offsets.grow(shape, spare).ok_or(Bound::Limit)?;
        let mut idle: Vec<Range<u64>> = Vec::new();
        while state.claimed() > self.limit() {
            let excess = state.claimed() - self.limit();
            let next = if memory.gives_back() { state.offsets.take_idle(excess) } else { None };
            let Some(extents) = next else {
                for extents in idle {
                    state.leaving -= state.offsets.release(extents.start);
                }
                state.offsets.undo(&growth);
                return Err(Bound::Limit);
            };
            state.leaving += extents.end - extents.start;
            idle.push(extents);
        }
        state.reserving.push(growth.tile.clone());
        Ok((growth, idle))
    }

    fn reserve_extents(&self, open: &Open, extents: Range<u64>) -> Result<(), Bound> {
        for slice in slices(extents, SLICE) {
            self.ask_machine(open, slice.end - slice.start)?;
            open.memory.reserve(slice).map_err(|error| Bound::Refused(Arc::new(error)))?;
        }
        Ok(())
    }

    /// Whether the machine has `bytes` more, if need be after it got back what is free here.
    fn ask_machine(&self, open: &Open, bytes: u64) -> Result<(), Bound> {
        let needed = bytes.saturating_add(self.options.reserve);
        loop {
            let available = self.machine.available();
            if available.bytes >= needed {
                return Ok(());
            }
            if self.give_back(open, needed - available.bytes) == 0 {
                return Err(available.bound(self.options.reserve));
            }
        }
    }

    /// Gives back up to `bytes` of free memory, rounded up; returns how many it were.
    pub(super) fn give_back(&self, open: &Open, bytes: u64) -> u64 {
        if !open.memory.gives_back() {
            return 0;
        }
        let mut taken = Vec::new();
        let mut sum = 0;
        let mut state = open.state();
        while sum < bytes {
            let Some(extents) = state.offsets.take_idle(bytes - sum) else { break };
            sum += extents.end - extents.start;
            taken.push(extents);
        }
        state.leaving += sum;
        drop(state);
        if self.punch(open, taken) { sum } else { 0 }
    }

    /// Gives back the memory of extents that were taken. Where that fails they are free again, and it is false.
    fn punch(&self, open: &Open, taken: Vec<Range<u64>>) -> bool {
        let mut all = true;
        for extents in taken {
            // Nothing is pre-faulted meanwhile: that would make pages which nobody counts.
            let pages = open.pages.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = open.memory.give_back(extents.clone()).is_ok();
            let mut state = open.state();
            if gone {
                state.used_pages.clear(extents.clone());
                state.leaving -= state.offsets.chill(extents.start);
                state.stats.given_back += extents.end - extents.start;
            } else {
                state.leaving -= state.offsets.release(extents.start);
            }
            drop(state);
            drop(pages);
            all &= gone;
        }
        all
    }

    /// Has the thread look at what there is to do.
    pub(super) fn wake(self: &Arc<Self>, open: &Open, state: &mut State) {
        if !self.options.background || !self.work(&open.memory, state) {
            return;
        }
        if state.keeper {
            open.wake.notify_one();
            return;
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new().name("fdbray-arena".into());
        // Without it the memory is a little slower at first, or stays here for longer.
        state.keeper = thread.spawn(move || shared.keep()).is_ok();
    }

    fn work(&self, memory: &Memory, state: &State) -> bool {
        state.ahead || !state.warm.is_empty() || self.excess(memory, state) > 0
    }

    /// How much free memory is to be given back.
    fn excess(&self, memory: &Memory, state: &State) -> u64 {
        // A free part of this length has a whole extent in it.
        let can = memory.gives_back() && state.offsets.longest() >= 2 * EXTENT;
        if can { state.offsets.free().saturating_sub(self.options.low_water) } else { 0 }
    }

    /// The thread.
    fn keep(self: Arc<Self>) {
        let Some(open) = self.open.get() else { return };
        let mut state = open.state();
        loop {
            let excess = self.excess(&open.memory, &state);
            if let Some(range) = state.warm.pop_front() {
                drop(state);
                self.populate(open, range);
            } else if excess > 0 {
                drop(state);
                self.give_back(open, excess);
            } else if std::mem::take(&mut state.ahead) {
                drop(state);
                self.reserve_ahead(open);
            } else {
                let waited = open.wake.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
                if waited.1.timed_out() && !self.work(&open.memory, &state) {
                    state.keeper = false;
                    return;
                }
                continue;
            }
            state = open.state();
        }
    }

    /// Pre-faults from the end: whoever writes the first block there begins at its front.
    fn populate(&self, open: &Open, range: Range<u64>) {
        for slice in slices(range, POPULATE).rev() {
            let pages = open.pages.lock().unwrap_or_else(PoisonError::into_inner);
            let memory = open.state().has_memory(&slice);
            if !memory || !open.memory.populate(slice) {
                return;
            }
            drop(pages);
        }
    }

    /// Reserves for blocks to come, in proportion to what is in use.
    fn reserve_ahead(&self, open: &Open) {
        let len = {
            let state = open.state();
            let len = (state.offsets.reserved() / 16).clamp(LEAST, AHEAD);
            let enough = state.offsets.longest() >= len / 2;
            // Nothing is reserved that would be given back at once.
            let kept = state.offsets.free() + len <= self.options.low_water;
            if enough || !kept || state.claimed() + len + EXTENT > self.limit() {
                return;
            }
            len
        };
        // Never at the cost of others.
        if self.machine.available().bytes < self.options.reserve.saturating_add(8 * len) {
            return;
        }
        let Some(shape) = Shape::of(len) else { return };
        let ahead = open.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(growth) = self.reserve(open, shape, 0) else { return };
        for extents in &growth.cold {
            self.populate(open, extents.clone());
        }
        open.state().offsets.release(growth.tile.start);
        drop(ahead);
        self.room.tell();
    }
}

/// The parts of a range, each of `len` bytes but the last.
fn slices(range: Range<u64>, len: u64) -> impl DoubleEndedIterator<Item = Range<u64>> {
    let count = (range.end - range.start).div_ceil(len);
    (0..count).map(move |i| range.start + i * len..(range.start + (i + 1) * len).min(range.end))
}
