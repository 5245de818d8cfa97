//! What an arena that is in use consists of: its memory, and under one lock the table of its blocks.

use super::{
    Options,
    block::Held,
    memory::Memory,
    offsets::{Offsets, Shape},
    pages::Used,
    stats::Stats,
};
use crate::objects::location::{Location, Offset};
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak},
};

/// An arena from its first block on.
pub(super) struct Open {
    pub(super) memory: Memory,
    state: Mutex<State>,
    /// Held while pages are pre-faulted or given back, which exclude each other. Taken before the state's lock.
    pub(super) pages: Mutex<()>,
    /// Held while memory is reserved ahead: it is nobody's, and not free yet.
    pub(super) ahead: Mutex<()>,
    /// Tells the thread that there is something to do.
    pub(super) wake: Condvar,
}

/// Taken for every block that is made, sealed or freed: for a few hundred nanoseconds, never while memory is
/// reserved, touched or given back.
pub(super) struct State {
    pub(super) offsets: Offsets,
    pub(super) used_pages: Used,
    blocks: FxHashMap<u64, Entry>,
    /// The last generation that was given.
    generation: u32,
    pub(super) stats: Stats,
    /// Bytes that are just being given back.
    pub(super) leaving: u64,
    /// What is just being reserved.
    pub(super) reserving: Vec<Range<u64>>,
    /// What the thread is to pre-fault.
    pub(super) warm: VecDeque<Range<u64>>,
    /// Whether the thread is to see if memory should be reserved ahead.
    pub(super) ahead: bool,
    /// Whether the thread runs.
    pub(super) keeper: bool,
}

/// A block in the table.
struct Entry {
    len: u64,
    generation: u32,
    /// What holds it. Dangling until it is sealed.
    held: Weak<Held>,
}

impl Open {
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let memory = Memory::create(options.rounded_limit())?;
        let state = State {
            offsets: Offsets::new(memory.len()),
            used_pages: Used::default(),
            blocks: FxHashMap::default(),
            generation: 0,
            stats: Stats::default(),
            leaving: 0,
            reserving: Vec::new(),
            warm: VecDeque::new(),
            ahead: false,
            keeper: false,
        };
        Ok(Open {
            memory,
            state: Mutex::new(state),
            pages: Mutex::new(()),
            ahead: Mutex::new(()),
            wake: Condvar::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Enters a block at `at`, which was taken. Returns where it is, and what of it may be other than zero.
    pub(super) fn enter(
        &mut self,
        at: u64,
        len: u64,
        shape: Shape,
        zeroed: bool,
    ) -> (Location, Vec<Range<u64>>) {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        self.blocks.insert(at, Entry { len, generation, held: Weak::new() });
        let used = if zeroed { self.used_pages.within(at..at + len) } else { Vec::new() };
        self.used_pages.mark(at..at + shape.len);
        let stats = &mut self.stats;
        stats.used += shape.len;
        stats.live += len;
        stats.blocks += 1;
        stats.allocations += 1;
        stats.peak_used = stats.peak_used.max(stats.used);
        stats.peak_live = stats.peak_live.max(stats.live);
        (Location { offset: Offset(at), len, generation }, used)
    }

    /// Removes a block.
    pub(super) fn remove(&mut self, offset: Offset) {
        if let Some(entry) = self.blocks.remove(&offset.0) {
            self.stats.used -= self.offsets.release(offset.0);
            self.stats.live -= entry.len;
            self.stats.blocks -= 1;
        }
    }

    /// From here on the block can be found.
    pub(super) fn sealed(&mut self, offset: Offset, held: Weak<Held>) {
        if let Some(entry) = self.blocks.get_mut(&offset.0) {
            entry.held = held;
        }
    }

    /// The generation of the sealed block in which all these bytes are, and what holds it.
    pub(super) fn find(&self, bytes: Range<u64>) -> Option<(u32, &Weak<Held>)> {
        let start = self.offsets.around(bytes.start)?.start;
        let entry = self.blocks.get(&start)?;
        let within = bytes.start <= bytes.end && bytes.end <= start + entry.len;
        (within && entry.held.strong_count() > 0).then_some((entry.generation, &entry.held))
    }

    /// Whether all of a range has memory at this moment.
    pub(super) fn has_memory(&self, range: &Range<u64>) -> bool {
        let apart = |other: &Range<u64>| other.end <= range.start || range.end <= other.start;
        self.offsets.is_reserved(range.clone()) && self.reserving.iter().all(apart)
    }

    /// Bytes that count against the limit.
    pub(super) fn claimed(&self) -> u64 {
        self.offsets.reserved() - self.leaving
    }

    pub(super) fn peak_reserved(&mut self) {
        self.stats.peak_reserved = self.stats.peak_reserved.max(self.offsets.reserved());
    }
}
