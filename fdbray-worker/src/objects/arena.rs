//! This process's shared memory: blocks are written here once, and read in place by all processes of the host.

mod block;
mod full;
mod grow;
mod machine;
mod memory;
mod offsets;
mod pages;
mod room;
mod state;
mod stats;
#[cfg(test)]
mod tests;

pub use block::{Block, BlockMut};
pub use full::{Bound, Full};
pub use machine::{Available, Machine, Owner, ThisMachine, default_limit, default_reserve};
pub use room::Moment;
pub use stats::Stats;

use super::location::{Location, Offset};
use block::Held;
use offsets::{EXTENT, Shape};
use room::Room;
use state::Open;
use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The arena. Clones are the same one. It costs nothing until its first block; its memory is gone when it, its clones and
/// all its blocks are.
///
/// ```
/// use fdbray_worker::objects::{Arena, Options};
///
/// let arena = Arena::new(Options { limit: 64 << 20, ..Options::default() });
/// let mut block = arena.allocate(5)?;
/// block.copy_from_slice(b"hello");
/// let block = block.seal();
/// let location = arena.locate(&block[1..3]).unwrap();
/// assert_eq!((location.len, arena.check(location)), (2, Ok(())));
/// drop(block);
/// assert!(arena.check(location).is_err());
/// # Ok::<(), fdbray_worker::objects::Full>(())
/// ```
#[derive(Clone)]
pub struct Arena {
    shared: Arc<Shared>,
}

/// How much memory an arena may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most bytes that it may reserve; rounded up to 256 KiB. Default: [`default_limit`].
    pub limit: u64,
    /// Bytes of the machine's, or the container's, available memory that it leaves to others. Default:
    /// [`default_reserve`].
    pub reserve: u64,
    /// Bytes of free memory that it keeps, since memory that was used before is much faster than new memory. What is
    /// free above that is given back. Default: a quarter of [`default_limit`].
    pub low_water: u64,
    /// Whether a thread pre-faults, reserves a little ahead and gives back. To turn it off is for tests. Default: true.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        let limit = default_limit();
        Options { limit, reserve: default_reserve(), low_water: limit / 4, background: true }
    }
}

impl Options {
    fn rounded_limit(&self) -> u64 {
        self.limit.min(1 << 46).next_multiple_of(EXTENT)
    }
}

/// A location that is not that of a live block: the block was freed, or there never was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arena has no such object any more ({0}); ask its owner again where it is")]
pub struct Stale(pub Location);

struct Shared {
    options: Options,
    machine: Box<dyn Machine>,
    open: OnceLock<Open>,
    room: Room,
    refused: AtomicU64,
}

impl Arena {
    /// An arena on this machine.
    pub fn new(options: Options) -> Self {
        Arena::on(options, ThisMachine::default())
    }

    /// An arena that asks `machine` how much memory is left.
    pub fn on(options: Options, machine: impl Machine + 'static) -> Self {
        let shared = Shared {
            options,
            machine: Box::new(machine),
            open: OnceLock::new(),
            room: Room::default(),
            refused: AtomicU64::new(0),
        };
        Arena { shared: Arc::new(shared) }
    }

    /// A block of `len` bytes, of any content: aligned to 64 bytes, from 1 MiB on to 4096.
    ///
    /// # Errors
    /// When there is no room: [`Full`] says why. Nothing was changed.
    pub fn allocate(&self, len: usize) -> Result<BlockMut, Full> {
        self.take(len, false)
    }

    /// The same, of zeros. That costs nothing where memory was not used before.
    ///
    /// # Errors
    /// As [`Arena::allocate`].
    pub fn allocate_zeroed(&self, len: usize) -> Result<BlockMut, Full> {
        self.take(len, true)
    }

    /// Where a part of a sealed block is. None for other memory, and for no bytes.
    pub fn locate(&self, bytes: &[u8]) -> Option<Location> {
        let open = self.shared.open.get().filter(|_| !bytes.is_empty())?;
        let offset = open.memory.offset(bytes.as_ptr())?;
        let len = bytes.len() as u64;
        let (generation, _) =
            open.state().find(offset..offset.checked_add(len)?).map(|found| (found.0, ()))?;
        Some(Location { offset: Offset(offset), len, generation })
    }

    /// Whether a location is that of a part of a live, sealed block.
    ///
    /// # Errors
    /// [`Stale`] if it is not, whatever a peer made up.
    pub fn check(&self, location: Location) -> Result<(), Stale> {
        self.held(location).map(drop)
    }

    /// The block that a location is in: it stays as long as this is held. That is what a pin is.
    ///
    /// # Errors
    /// As [`Arena::check`].
    pub fn block(&self, location: Location) -> Result<Block, Stale> {
        self.held(location)?.upgrade().map(Block::new).ok_or(Stale(location))
    }

    /// A descriptor of the memory for a peer on this host, through which it can only be read. Makes the arena's file, if
    /// there was no block yet, but reserves nothing.
    ///
    /// # Errors
    /// When the operating system gives no descriptor or no address space.
    pub fn read_only_fd(&self) -> io::Result<OwnedFd> {
        self.shared.open()?.memory.read_only()
    }

    /// The accounting at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Gives free memory back to the machine, but for `keep` bytes. Returns how many bytes it were. For when the machine
    /// is short of memory, or this process is idle.
    pub fn give_back(&self, keep: u64) -> u64 {
        let Some(open) = self.shared.open.get() else { return 0 };
        let excess = open.state().offsets.free().saturating_sub(keep);
        self.shared.give_back(open, excess)
    }

    /// This moment, to wait from.
    pub fn now(&self) -> Moment {
        self.shared.room.now()
    }

    /// Waits until something was freed after `moment`, for which take [`Full::since`]. It may not be enough: try again,
    /// and wait again, for as long as suits the caller.
    pub async fn wait_for_room(&self, moment: Moment) {
        self.shared.room.since(moment).await;
    }

    /// The same for threads, for `limit` at most. Whether something was freed.
    pub fn block_for_room(&self, moment: Moment, limit: Duration) -> bool {
        self.shared.room.sleep_since(moment, limit)
    }

    fn take(&self, len: usize, zeroed: bool) -> Result<BlockMut, Full> {
        // Before anything is looked at: what is freed from here on may be enough.
        let since = self.now();
        let wanted = len as u64;
        self.shared.take(wanted, zeroed).map_err(|bound| {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            Full { wanted, bound, stats: self.stats(), since }
        })
    }

    fn held(&self, location: Location) -> Result<Weak<Held>, Stale> {
        let find = || {
            let open = self.shared.open.get()?;
            let state = open.state();
            let (generation, held) = state.find(location.offset.0..location.end()?)?;
            (generation == location.generation).then(|| held.clone())
        };
        find().ok_or(Stale(location))
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Shared {
    fn limit(&self) -> u64 {
        self.options.rounded_limit()
    }

    /// The memory, which is made when first needed.
    fn open(&self) -> io::Result<&Open> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let made = Open::new(&self.options)?;
        // If another thread was first, that one stays.
        Ok(self.open.get_or_init(|| made))
    }

    fn take(self: &Arc<Self>, len: u64, zeroed: bool) -> Result<BlockMut, Bound> {
        let too_long = Bound::TooLong { limit: self.options.limit };
        let shape = Shape::of(len).filter(|shape| shape.len <= self.limit()).ok_or(too_long)?;
        let open = self.open().map_err(|error| Bound::System(Arc::new(error)))?;
        let mut state = open.state();
        let (mut state, at) = match state.offsets.take(shape) {
            Some(at) => (state, at),
            None => {
                drop(state);
                self.grow(open, shape)?
            }
        };
        let (location, used) = state.enter(at, len, shape, zeroed);
        drop(state);
        let mut block = BlockMut::new(Held::new(self.clone(), open.memory.pointer(at), location));
        for part in used {
            block[(part.start - at) as usize..(part.end - at) as usize].fill(0);
        }
        Ok(block)
    }

    /// The last holder of a block is gone.
    fn free(self: &Arc<Self>, offset: Offset) {
        let Some(open) = self.open.get() else { return };
        let mut state = open.state();
        state.remove(offset);
        self.wake(open, &mut state);
        drop(state);
        self.room.tell();
    }

    fn sealed(&self, offset: Offset, held: Weak<Held>) {
        if let Some(open) = self.open.get() {
            open.state().sealed(offset, held);
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        if let Some(open) = self.open.get() {
            let state = open.state();
            stats = state.stats;
            stats.reserved = state.offsets.reserved();
            stats.largest_free = state.offsets.longest();
        }
        stats.limit = self.options.limit;
        stats.refused = self.refused.load(Ordering::Relaxed);
        stats
    }
}
