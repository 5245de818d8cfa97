//! Where spilled values lie: in files without names, so that nothing of them is left behind, however the process ends.
//!
//! A file is made in the spill directory and loses its name at once; the kernel frees it with the process. It is written
//! from its beginning to its end, and what is freed in it becomes a hole, so that the order in which values come and go
//! does not matter. Nothing is synced: what is in it is of no use to a later process. Nobody else reads it, so that
//! what is known of a value (its length, its form, its checksum) stays in memory.

mod segment;

use super::{Stats, located::Form};
use bytes::Bytes;
use rustix::fs::statvfs;
pub(super) use segment::Extent;
use segment::Segment;
use std::{
    env, fmt,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The disk for the values of one process.
#[derive(Debug)]
pub struct Disk {
    /// None: nothing is spilled.
    dir: Option<PathBuf>,
    limit: Option<u64>,
    totals: Arc<Totals>,
    state: Mutex<State>,
}

/// Where and how much may be spilled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskOptions {
    /// The directory, which is made if there is none; `off`: nothing is spilled. None: `$FDBRAY_TMPDIR`, else the first of
    /// `/var/tmp` and the directory for temporary files that is not in memory.
    pub dir: Option<PathBuf>,
    /// The most bytes. None: what is free on the file system, but for a twentieth of it or a GiB.
    pub limit: Option<u64>,
}

/// Why a value was not written to the disk.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// It is switched off, or there is no directory for it that is not in memory.
    #[error("nothing is written to disk; set FDBRAY_SPILL_DIR to a directory on one")]
    Off,
    /// The configured limit.
    #[error(
        "{used} of at most {limit} bytes are spilled to disk; drop futures that are not needed, or raise FDBRAY_SPILL_BYTES"
    )]
    Limit {
        /// Bytes that are spilled.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The file system has no room.
    #[error(
        "the disk of the spill directory {} is full; free some of it, or set FDBRAY_SPILL_DIR to another place",
        dir.display()
    )]
    Full {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refuses.
    #[error(
        "nothing can be written to the spill directory {}: {error}; repair that, or set FDBRAY_SPILL_DIR to another place",
        dir.display()
    )]
    System {
        /// The directory.
        dir: PathBuf,
        /// What it says.
        #[source]
        error: Arc<io::Error>,
    },
}

/// What is spilled, shared with all of it.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Bytes on the disk.
    used: AtomicU64,
    objects: AtomicU64,
    /// Bytes that were ever written, and read again.
    written: AtomicU64,
    read: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What is written next.
    current: Option<Arc<Segment>>,
    /// Nothing is tried again before this, after it failed.
    rest: Option<(Instant, SpillError)>,
    /// It was said that it failed, and it has not succeeded since.
    said: bool,
}

impl Disk {
    /// Nothing is made yet.
    pub fn new(options: &DiskOptions) -> Self {
        let dir = match &options.dir {
            Some(dir) if dir.as_os_str() == "off" => None,
            Some(dir) => Some(dir.clone()),
            None => default_dir(),
        };
        Disk { dir, limit: options.limit, totals: Arc::default(), state: Mutex::default() }
    }

    /// These stats of the arena, with those of the disk.
    pub fn stats(&self, mut stats: Stats) -> Stats {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Totals { used, objects, written, read } = &*self.totals;
        stats.spilled = number(used);
        stats.spilled_objects = number(objects);
        stats.spilled_ever = number(written);
        stats.restored_ever = number(read);
        stats.spill_limit = if self.dir.is_none() { 0 } else { self.limit.unwrap_or(u64::MAX) };
        stats
    }

    /// Writes these pieces, one after the other.
    ///
    /// # Errors
    /// There is no room, or no disk: [`SpillError`] says what to do. Nothing of it was kept.
    pub(super) fn write(&self, form: Form, pieces: &[Bytes]) -> Result<Extent, SpillError> {
        let dir = self.dir.as_deref().ok_or(SpillError::Off)?;
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let extent = self.reserve(dir, form, len)?;
        let written = extent.write(pieces).map_err(|error| self.failed(dir, error))?;
        self.state().said = false;
        Ok(written)
    }

    /// Takes a place for `len` bytes, in the file that is written at this moment or in a new one.
    fn reserve(&self, dir: &Path, form: Form, len: u64) -> Result<segment::Unwritten, SpillError> {
        let mut state = self.state();
        if let Some((until, why)) = &state.rest {
            if Instant::now() < *until {
                return Err(why.clone());
            }
            state.rest = None;
        }
        let used = self.totals.used.load(Ordering::Relaxed);
        if let Some(limit) = self.limit
            && used.saturating_add(len) > limit
        {
            return Err(SpillError::Limit { used, limit });
        }
        if let Some(place) = state.current.as_ref().and_then(|segment| segment.take(form, len)) {
            drop(state);
            return if has_room(dir, len, self.limit) { Ok(place) } else { Err(self.full(dir)) };
        }
        drop(state);
        let made = Segment::create(dir, self.totals.clone());
        let segment = made.or_else(|error| {
            // It may never have been there, or be gone.
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            Segment::create(dir, self.totals.clone())
        });
        let segment = segment.map_err(|error| self.failed(dir, error))?;
        if !has_room(dir, len, self.limit) {
            return Err(self.full(dir));
        }
        let place = segment.take(form, len);
        self.state().current = Some(segment);
        // A new one takes anything.
        place.ok_or_else(|| self.full(dir))
    }

    fn full(&self, dir: &Path) -> SpillError {
        self.rest(SpillError::Full { dir: dir.to_owned() })
    }

    fn failed(&self, dir: &Path, error: io::Error) -> SpillError {
        // The file may be what is broken: the next one is another.
        self.state().current = None;
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return self.full(dir);
        }
        self.rest(SpillError::System { dir: dir.to_owned(), error: Arc::new(error) })
    }

    fn rest(&self, why: SpillError) -> SpillError {
        let mut state = self.state();
        state.rest = Some((Instant::now() + REST, why.clone()));
        let said = std::mem::replace(&mut state.said, true);
        drop(state);
        if !said {
            tracing::warn!("a value was not spilled: {why}");
        }
        why
    }

    /// Something was freed on it, so that it may be tried again at once.
    pub fn has_room_again(&self) {
        self.state().rest = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Whether the file system has room for `len` bytes more. Without a limit some of it is left to others.
fn has_room(dir: &Path, len: u64, limit: Option<u64>) -> bool {
    // What cannot be told is found out by writing.
    let Ok(system) = statvfs(dir) else { return true };
    let kept = if limit.is_some() { 0 } else { (system.f_blocks * system.f_frsize / 20).min(1 << 30) };
    system.f_bavail.saturating_mul(system.f_frsize) >= len.saturating_add(kept)
}

/// A directory for temporary files that is on a disk.
fn default_dir() -> Option<PathBuf> {
    // What is set is meant.
    if let Some(dir) = env::var_os("FDBRAY_TMPDIR").filter(|dir| !dir.is_empty()) {
        return Some(dir.into());
    }
    [PathBuf::from("/var/tmp"), env::temp_dir()].into_iter().find(|dir| {
        let memory = |magic: u64| magic == TMPFS_MAGIC || magic == RAMFS_MAGIC;
        rustix::fs::statfs(dir).is_ok_and(|system| !memory(system.f_type as u64))
    })
}

/// What `statfs` says of file systems in memory (linux/magic.h).
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// Before a disk that failed is tried again.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
