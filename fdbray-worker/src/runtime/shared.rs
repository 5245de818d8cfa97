//! Large values in shared memory: kept in this process's arena, and read in place in those of its host's other processes.
//!
//! Who wants to read an object asks the process that has it, over their session (`net`'s questions): the object is *pinned*,
//! which means that the value is held until the reader says that it has dropped its last view, or has exited for certain. A
//! broken session ends no pin: what was not said in one is said in the next. What cannot be viewed (it is not in the arena,
//! or the reader could not map that) is fetched over the bulk lane, like that of a process on another host.

mod pins;
mod views;

pub(crate) use views::Viewed;

use super::{Process, departed::Departed};
use crate::{
    config::Config,
    error::Result,
    id::{ObjectId, ProcessId},
    objects::{Arena, BlockMut, Bound, Disk, DiskOptions, Full, Located, Options, PeerArena, Stats},
    payload::Payload,
};
use pins::Pins;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// The shared memory of this process and its host.
pub(crate) struct SharedMemory {
    pub(super) arena: Arena,
    /// What is written to disk when the arena is full.
    pub(super) disk: Disk,
    /// Values that are read from it at once.
    pub(super) restores: Semaphore,
    /// Whose memory it is, which makes room in it.
    pub(super) process: OnceLock<Weak<Process>>,
    /// There can be no arena.
    has_none: AtomicBool,
    /// For how long a value waits for room.
    pub(super) patience: Duration,
    /// What others read here.
    pins: Pins,
    /// The arenas of others, mapped once; none for those that could not be, which has been logged.
    peers: Mutex<FxHashMap<ProcessId, Option<PeerArena>>>,
    /// Of those neither memory is mapped nor notes are kept.
    departed: Departed,
    /// The number of the last pin that this process asked for.
    asked: AtomicU64,
    /// Pins of which this process needs nothing any more, by who has been asked for them.
    unpinned: Mutex<FxHashMap<ProcessId, Vec<u64>>>,
    /// There is something in `unpinned`.
    work: Notify,
    /// What this process is just pulling from other hosts, by object and attempt.
    pulls: Mutex<FxHashSet<(ObjectId, u32)>>,
}

/// While it lives, this process is pulling an object.
pub(crate) struct Pulling(Arc<SharedMemory>, (ObjectId, u32));

impl Drop for Pulling {
    fn drop(&mut self) {
        lock(&self.0.pulls).remove(&self.1);
    }
}

/// What a process asks another one of its host.
#[derive(Serialize, Deserialize)]
enum Question {
    /// Hold this object, as that attempt gave it (0: as any did), for me, and tell me where it is.
    Pin { pin: u64, id: ObjectId, attempt: u32 },
    /// I need these pins no more. Asked again until it is answered, which does no harm.
    Unpin(Vec<u64>),
}

/// What it is answered. No answer: it cannot be had.
#[derive(Serialize, Deserialize)]
enum Answer {
    Pinned(Located),
    /// It is on its way there.
    Coming,
    Unpinned,
}

impl SharedMemory {
    pub fn new(config: &Config) -> Arc<Self> {
        let mut options = Options::default();
        if let Some(limit) = config.store_bytes {
            options.limit = limit;
            options.low_water = limit / 4;
        }
        SharedMemory::on(Arena::new(options), config)
    }

    /// The same on that arena.
    pub(super) fn on(arena: Arena, config: &Config) -> Arc<Self> {
        Arc::new(SharedMemory {
            arena,
            disk: Disk::new(&DiskOptions { dir: config.spill_dir.clone(), limit: config.spill_bytes }),
            restores: Semaphore::new(RESTORES),
            process: OnceLock::new(),
            has_none: AtomicBool::new(false),
            patience: config.store_wait,
            pins: Pins::default(),
            peers: Mutex::default(),
            departed: Departed::default(),
            asked: AtomicU64::new(0),
            unpinned: Mutex::default(),
            work: Notify::new(),
            pulls: Mutex::default(),
        })
    }

    /// Whose memory it is. Until this is said nothing is spilled.
    pub fn belongs_to(&self, process: &Arc<Process>) {
        // Said once, by who makes the process.
        let _ = self.process.set(Arc::downgrade(process));
    }

    /// The accounting of the arena and the disk.
    pub fn stats(&self) -> Stats {
        self.disk.stats(self.arena.stats())
    }

    /// Whether all large pieces of a value are in the arena.
    pub(super) fn has(&self, value: &Payload) -> bool {
        Located::of(value, &self.arena).is_some()
    }

    /// The same value in shared memory. Makes room or waits for it, for a while, on this thread. Where the
    /// process can have no shared memory at all, the value stays where it is, and others copy it over their sockets.
    ///
    /// # Errors
    /// [`Error::StoreFull`](crate::error::Error::StoreFull).
    pub fn keep(&self, value: Payload) -> Result<Payload> {
        if self.has_none.load(Ordering::Relaxed) {
            return Ok(value);
        }
        self.with_room(|| match self.arena.keep(&value) {
            Err(Full { bound: Bound::System(why), .. }) => {
                self.lacks_memory(&why);
                Ok(value.clone())
            }
            kept => kept,
        })
    }

    pub(super) fn lacks_memory(&self, why: &std::io::Error) {
        if !self.has_none.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "this process can have no shared memory ({why}): its large values stay on the heap, and the others of its \
                 host copy them over their sockets; raise its limits (`ulimit -n`, `-v`, `-f`)"
            );
        }
    }

    /// Zeroed memory to write into. Room is had as [`SharedMemory::keep`] has it.
    ///
    /// # Errors
    /// [`Error::StoreFull`](crate::error::Error::StoreFull).
    pub fn allocate(&self, len: usize) -> Result<BlockMut> {
        self.with_room(|| self.arena.allocate_zeroed(len))
    }

    /// The descriptor by which others read the arena.
    pub fn descriptor(&self) -> Option<OwnedFd> {
        match self.arena.read_only_fd() {
            Ok(descriptor) => Some(descriptor),
            Err(error) => {
                self.lacks_memory(&error);
                None
            }
        }
    }

    /// A process is no member any more. It may go on reading what it has pinned here.
    pub fn departed(&self, peer: ProcessId) {
        self.departed.add(peer);
        // Its arena stays only as long as there are views of it, and nobody is there to hear that they have gone.
        lock(&self.peers).remove(&peer);
        lock(&self.unpinned).remove(&peer);
    }

    /// Whether that was said of a process.
    pub fn is_departed(&self, peer: ProcessId) -> bool {
        self.departed.contains(peer)
    }

    /// A new session, in which what was left unsaid can be said.
    pub fn session_began(&self) {
        if !lock(&self.unpinned).is_empty() {
            self.work.notify_one();
        }
    }

    /// This process begins to pull what an attempt gave, for which others of its host can wait.
    pub fn pulling(self: &Arc<Self>, id: ObjectId, attempt: u32) -> Pulling {
        lock(&self.pulls).insert((id, attempt));
        Pulling(self.clone(), (id, attempt))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values that are read from disk at once.
const RESTORES: usize = 2;

#[cfg(test)]
mod tests;
