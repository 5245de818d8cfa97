//! The file beside the database through which the processes that use it find, wait for and wake each other.
//!
//! `fdbray.watch` is one page, mapped by everyone:
//!
//! | offset | what |
//! |---|---|
//! | 0 | `u64` magic |
//! | 8 | `u32` version of this layout |
//! | 12 | `u32` pid of the process that holds the gate, 0 for none |
//! | 16 | `u64` inode of the pid namespace of all users |
//! | 24 | `u32` gate word: counts releases; those who wait for the gate sleep on it |
//! | 28 | `u32` watch word: counts commits; those who watch sleep on it |
//! | 32 | `u64` number of the newest transaction whose buckets were counted up |
//! | 64 | 64 times `u32`: bucket counters, by hash of the key |
//!
//! Byte 0 is also a lock: shared by all users, exclusive for the first one, which (re)writes the page. Byte 1 is the
//! *gate*: whoever writes to the database holds it, so that LMDB's own writer mutex, on which one cannot wait for a
//! limited time, is always free. Both are locks of the open file description: the kernel releases them when their
//! process dies, in whatever state.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) const LAYOUT: u32 = 1;
pub(super) const BUCKETS: usize = 64;

const MAGIC: u64 = u64::from_le_bytes(*b"fdbray\0w");
const SIZE: usize = 4096;
const PRESENCE: i64 = 0;
const GATE: i64 = 1;
/// How long one sleep before the gate lasts at most: the death of its holder wakes nobody.
const GATE_SLEEP: Duration = Duration::from_millis(5);

#[repr(C)]
struct Page {
    magic: AtomicU64,
    layout: AtomicU32,
    holder: AtomicU32,
    namespace: AtomicU64,
    gate: AtomicU32,
    watch: AtomicU32,
    published: AtomicU64,
    _reserved: [u64; 3],
    buckets: [AtomicU32; BUCKETS],
}

const _: () = assert!(std::mem::offset_of!(Page, buckets) == 64 && size_of::<Page>() <= SIZE);

/// The mapped page, and the file whose locks say that this process is here.
pub(super) struct SharedPage {
    file: File,
    page: NonNull<Page>,
}

// SAFETY: the page is only ever accessed through its atomics, and stays mapped until this is dropped.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

/// Why the page of others cannot be used.
pub(super) enum Refused {
    Io(io::Error),
    OtherLayout(u32),
    ForeignNamespace,
    Stuck,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Io(error)
    }
}

impl SharedPage {
    /// Joins the users of the file. The first one runs `first` while nobody else can join.
    pub(super) fn join(
        path: &Path,
        namespace: u64,
        wait: Duration,
        first: impl FnOnce() -> io::Result<()>,
    ) -> Result<Self, Refused> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        allocate(&file, SIZE)?;
        let page = map(&file)?;
        let shared = SharedPage { file, page };
        let deadline = Instant::now() + wait;
        loop {
            if shared.lock(PRESENCE, libc::F_WRLCK)? {
                shared.write_new(namespace);
                first()?;
                // From exclusive to shared in one step: nobody else can become the first in between.
                shared.lock(PRESENCE, libc::F_RDLCK)?;
                return Ok(shared);
            }
            if shared.lock(PRESENCE, libc::F_RDLCK)? {
                break;
            }
            if Instant::now() > deadline {
                return Err(Refused::Stuck);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let page = shared.page();
        let layout = page.layout.load(Ordering::Acquire);
        if page.magic.load(Ordering::Acquire) != MAGIC || layout != LAYOUT {
            return Err(Refused::OtherLayout(layout));
        }
        if page.namespace.load(Ordering::Acquire) != namespace {
            return Err(Refused::ForeignNamespace);
        }
        Ok(shared)
    }

    /// Takes the gate if it is free.
    pub(super) fn try_enter(&self) -> io::Result<bool> {
        let entered = self.lock(GATE, libc::F_WRLCK)?;
        if entered {
            self.page().holder.store(std::process::id(), Ordering::Release);
        }
        Ok(entered)
    }

    /// Sleeps until the gate may be free, for a few milliseconds at most.
    pub(super) fn sleep_at_gate(&self) -> io::Result<bool> {
        let word = &self.page().gate;
        let seen = word.load(Ordering::Acquire);
        if self.try_enter()? {
            return Ok(true);
        }
        futex_wait(word, seen, GATE_SLEEP, u32::MAX);
        self.try_enter()
    }

    /// Opens the gate again.
    pub(super) fn leave(&self) -> io::Result<()> {
        let page = self.page();
        page.holder.store(0, Ordering::Release);
        self.lock(GATE, libc::F_UNLCK)?;
        page.gate.fetch_add(1, Ordering::AcqRel);
        futex_wake(&page.gate, 1, u32::MAX);
        Ok(())
    }

    /// The process that holds the gate, as far as it said so.
    pub(super) fn holder(&self) -> Option<u32> {
        Some(self.page().holder.load(Ordering::Acquire)).filter(|&pid| pid != 0)
    }

    /// The newest transaction whose watchers were told.
    pub(super) fn published(&self) -> u64 {
        self.page().published.load(Ordering::Acquire)
    }

    /// Tells watchers that transaction `id` wrote keys in these buckets. The caller holds the gate.
    pub(super) fn publish(&self, id: u64, buckets: u64) {
        let page = self.page();
        for (bucket, counter) in page.buckets.iter().enumerate() {
            if buckets & (1 << bucket) != 0 {
                counter.fetch_add(1, Ordering::AcqRel);
            }
        }
        page.published.store(id, Ordering::Release);
        page.watch.fetch_add(1, Ordering::AcqRel);
        futex_wake(&page.watch, i32::MAX, fold(buckets));
    }

    /// Makes the watcher threads look at what they are to watch.
    pub(super) fn nudge(&self) {
        let page = self.page();
        page.watch.fetch_add(1, Ordering::AcqRel);
        futex_wake(&page.watch, i32::MAX, u32::MAX);
    }

    /// The watch word: pass it to `sleep` so that nothing that comes after it is slept through.
    pub(super) fn now(&self) -> u32 {
        self.page().watch.load(Ordering::Acquire)
    }

    /// The buckets that were counted up since `seen`, which is brought up to date.
    pub(super) fn changed(&self, seen: &mut [u32; BUCKETS]) -> u64 {
        let counters = self.page().buckets.iter().zip(seen).enumerate();
        counters.fold(0, |changed, (bucket, (counter, seen))| {
            let count = counter.load(Ordering::Acquire);
            if std::mem::replace(seen, count) == count { changed } else { changed | 1 << bucket }
        })
    }

    /// Sleeps until a commit in these buckets, a nudge, or for `limit`, unless something came since `now`.
    pub(super) fn sleep(&self, now: u32, buckets: u64, limit: Duration) {
        // An empty set cannot be slept on; one bucket too many costs a wake-up.
        futex_wait(&self.page().watch, now, limit, fold(buckets | 1));
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped by `map` with at least `size_of::<Page>()` bytes until `self` is dropped; all fields are
        // atomics (or never read), for which every bit pattern is valid and concurrent change is defined.
        unsafe { self.page.as_ref() }
    }

    fn write_new(&self, namespace: u64) {
        let page = self.page();
        page.magic.store(MAGIC, Ordering::Release);
        page.layout.store(LAYOUT, Ordering::Release);
        page.namespace.store(namespace, Ordering::Release);
        page.holder.store(0, Ordering::Release);
        page.published.store(0, Ordering::Release);
    }

    /// Takes or gives back a lock on one byte; false if another process has it.
    fn lock(&self, byte: i64, kind: libc::c_int) -> io::Result<bool> {
        // SAFETY: `flock` is plain data for which zeros are valid.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = byte;
        lock.l_len = 1;
        // SAFETY: the descriptor is open as long as `self.file`, and `lock` outlives the call.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            error => Err(error),
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.page.as_ptr().cast(), SIZE) };
    }
}

/// The bucket of a key, the same in every version of fdbray: FNV-1a.
pub(super) fn bucket(key: &[u8]) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    1 << ((hash ^ hash >> 32) % BUCKETS as u64)
}

/// Gives a file its blocks now: writing to a map of a file without blocks on a full disk would be SIGBUS.
pub(super) fn allocate(file: &File, size: usize) -> io::Result<()> {
    if file.metadata()?.len() >= size as u64 {
        return Ok(());
    }
    // SAFETY: the descriptor is open for the length of the call.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size as libc::off_t) } {
        0 => Ok(()),
        // The filesystem cannot reserve: write.
        libc::EOPNOTSUPP | libc::EINVAL => {
            let have = file.metadata()?.len();
            file.write_all_at(&vec![0; size.saturating_sub(have as usize)], have)
        }
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn map(file: &File) -> io::Result<NonNull<Page>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice, of a file that is at least this long.
    let address =
        unsafe { libc::mmap(std::ptr::null_mut(), SIZE, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// Futexes select sleepers by 32 bits: two buckets share one.
fn fold(buckets: u64) -> u32 {
    (buckets | buckets >> 32) as u32
}

fn futex_wait(word: &AtomicU32, seen: u32, limit: Duration, mask: u32) {
    // FUTEX_WAIT_BITSET takes an absolute time of the monotonic clock.
    // SAFETY: `timespec` is plain data for which zeros are valid.
    let mut until: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `until` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut until) };
    let nanos = i64::from(limit.subsec_nanos()) + until.tv_nsec;
    until.tv_sec += limit.as_secs() as libc::time_t + nanos / 1_000_000_000;
    until.tv_nsec = nanos % 1_000_000_000;
    // SAFETY: the word is mapped and `until` outlives the call. Not private: other processes wake it. Every way of
    // returning (woken, changed, timed out, interrupted) is the same to callers, who look again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            seen,
            &until as *const libc::timespec,
            std::ptr::null::<u32>(),
            mask,
        );
    }
}

fn futex_wake(word: &AtomicU32, count: i32, mask: u32) {
    if mask == 0 {
        return;
    }
    // SAFETY: the word is mapped; waking has no other effect.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_BITSET,
            count,
            std::ptr::null::<libc::timespec>(),
            std::ptr::null::<u32>(),
            mask,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(path: &Path, namespace: u64) -> Result<SharedPage, Refused> {
        SharedPage::join(path, namespace, Duration::from_secs(1), || Ok(()))
    }

    #[test]
    fn processes_of_another_pid_namespace_are_refused_while_the_first_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch");
        let first = join(&path, 1).ok().unwrap();
        let second = join(&path, 1).ok().unwrap();
        assert!(matches!(join(&path, 2), Err(Refused::ForeignNamespace)));
        drop(first);
        assert!(matches!(join(&path, 2), Err(Refused::ForeignNamespace)));
        drop(second);
        assert!(join(&path, 2).is_ok(), "nobody is left of the others");
    }

    #[test]
    fn processes_with_another_layout_are_refused_while_they_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch");
        let first = join(&path, 1).ok().unwrap();
        first.page().layout.store(7, Ordering::Release);
        assert!(matches!(join(&path, 1), Err(Refused::OtherLayout(7))));
        drop(first);
        assert!(join(&path, 1).is_ok());
    }

    #[test]
    fn the_gate_lets_one_in_and_the_next_one_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch");
        let (first, second) = (join(&path, 1).ok().unwrap(), join(&path, 1).ok().unwrap());
        assert!(first.try_enter().unwrap());
        assert!(!second.try_enter().unwrap());
        assert_eq!(second.holder(), Some(std::process::id()));
        let waiting = std::thread::spawn(move || while !second.sleep_at_gate().unwrap() {});
        first.leave().unwrap();
        waiting.join().unwrap();
    }

    #[test]
    fn a_sleep_ends_with_a_commit_in_its_buckets_even_one_that_came_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch");
        let page = join(&path, 1).ok().unwrap();
        let mut seen = [0; BUCKETS];
        page.changed(&mut seen);
        let now = page.now();
        page.publish(1, bucket(b"key"));
        page.sleep(now, bucket(b"key"), Duration::from_secs(3600));
        assert_eq!(page.changed(&mut seen), bucket(b"key"));
        assert_eq!(page.changed(&mut seen), 0);
        assert_eq!(page.published(), 1);
    }

    #[test]
    fn keys_are_spread_over_all_buckets() {
        let all = (0..2000_u32).fold(0, |all, n| all | bucket(&n.to_le_bytes()));
        assert_eq!(all, u64::MAX);
    }
}
