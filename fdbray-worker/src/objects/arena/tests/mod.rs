//! The arena's tests: its offsets against a model, its blocks, its limits, and many threads.

mod blocks;
mod limits;
mod offsets;
mod pages;
mod threads;

use super::*;
use std::sync::atomic::AtomicU64;

/// A MiB.
const M: usize = 1 << 20;

/// A machine with as much memory as is said; what an arena reserves does not lessen it.
#[derive(Clone)]
struct Fake(Arc<AtomicU64>, Owner);

impl Fake {
    fn with(bytes: u64) -> Self {
        Fake(Arc::new(AtomicU64::new(bytes)), Owner::Machine)
    }

    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::SeqCst);
    }
}

impl Machine for Fake {
    fn available(&self) -> Available {
        Available { bytes: self.0.load(Ordering::SeqCst), of: self.1 }
    }
}

/// An arena that does nothing by itself.
fn arena(limit: usize) -> Arena {
    let options = Options { limit: limit as u64, reserve: 0, low_water: u64::MAX, background: false };
    Arena::on(options, Fake::with(u64::MAX))
}

/// A block whose bytes tell it from others.
fn filled(arena: &Arena, len: usize, with: u8) -> Block {
    let mut block = arena.allocate(len).unwrap();
    block.fill(with);
    block.seal()
}

/// Every block is back: all that was reserved is free, in pieces that are merged.
fn assert_empty(arena: &Arena) {
    let Stats { used, live, blocks, .. } = arena.stats();
    assert_eq!((used, live, blocks), (0, 0, 0));
    if let Some(open) = arena.shared.open.get() {
        // The thread may have something in hand. It ends when there is nothing to do.
        while open.state().keeper {
            std::thread::sleep(Duration::from_millis(1));
        }
        let state = open.state();
        state.offsets.check();
        assert_eq!(state.offsets.free(), state.offsets.reserved());
        assert_eq!((state.leaving, state.reserving.len()), (0, 0));
    }
}

/// Memory that the kernel has given to this arena's file, in bytes.
fn in_file(arena: &Arena) -> u64 {
    let fd = arena.read_only_fd().unwrap();
    rustix::fs::fstat(fd).unwrap().st_blocks as u64 * 512
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Up to `high`, small ones as often as large ones.
    fn scale(&mut self, high: u64) -> u64 {
        let bits = self.below(u64::from(high.ilog2()) + 1);
        (self.below(2 << bits)).clamp(1, high)
    }
}
