//! The start-mark page: what a worker has started, readable by same-host owners after the worker died.
//!
//! A memfd of [`SLOTS`] little cells. The worker maps it writable and then seals it: it can neither shrink nor grow,
//! and nobody else can write to it. An owner on the same host gets the descriptor over the Unix socket, checks the
//! seals (a page that its sender could still shrink would end the reader with SIGBUS) and maps it read-only.
#![allow(unsafe_code)]

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// How many marks a page has.
pub const SLOTS: usize = 4096;

const BYTES: usize = SLOTS * size_of::<AtomicU64>();

/// Without these a sender could make its readers fault: by shrinking, or by punching holes.
const NEEDED: SealFlags = SealFlags::SHRINK.union(SealFlags::FUTURE_WRITE);

/// The worker's side: writes the marks.
pub struct Marks {
    fd: OwnedFd,
    page: Mapping,
}

impl Marks {
    /// A page of zeros.
    ///
    /// # Errors
    /// When the operating system gives no memory or no descriptor, or is older than Linux 5.1.
    pub fn create() -> io::Result<Self> {
        let fd = memfd_create("fdbray-marks", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, BYTES as u64)?;
        let page = Mapping::new(&fd, ProtFlags::READ | ProtFlags::WRITE)?;
        // Only the mapping above may write from here on.
        fcntl_add_seals(&fd, NEEDED | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Marks { fd, page })
    }

    /// What an owner on the same host is handed.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Raises a mark to `value`, unless it is there already: several threads start tasks of one lease. What this thread
    /// did before is visible to who reads the mark. Slots that no page has are not written.
    pub fn raise(&self, slot: usize, value: u64) {
        if let Some(cell) = self.page.cells().get(slot) {
            cell.fetch_max(value, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// An owner's side: reads the marks, also after the worker died.
pub struct MarksView(Mapping);

impl MarksView {
    /// Maps a page that a peer sent.
    ///
    /// # Errors
    /// `InvalidData` when it has another size, or is not sealed, so that reading it could fault.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let refused =
            |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a peer's start marks {why}"));
        let seals = fcntl_get_seals(&fd).map_err(|_| refused("are not in a memfd"))?;
        if !seals.contains(NEEDED) {
            return Err(refused("are not sealed against shrinking and writing"));
        }
        // Only after the seals: from here on the size stays.
        if fstat(&fd)?.st_size != BYTES as i64 {
            return Err(refused("have the wrong size"));
        }
        Ok(MarksView(Mapping::new(&fd, ProtFlags::READ)?))
    }

    /// A mark, and with it what its writer did before. `None` for a slot that no page has, which a peer may name.
    pub fn read(&self, slot: usize) -> Option<u64> {
        self.0.cells().get(slot).map(|cell| cell.load(Ordering::Acquire))
    }

    /// Whether the worker has started anything.
    pub fn any(&self) -> bool {
        self.0.cells().iter().any(|cell| cell.load(Ordering::Acquire) != 0)
    }
}

impl fmt::Debug for MarksView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarksView").finish_non_exhaustive()
    }
}

/// A mapped page.
struct Mapping(NonNull<AtomicU64>);

// SAFETY: it is memory that stays mapped until `Drop`, reached through atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: &OwnedFd, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nobody's memory.
        let at = unsafe { mmap(std::ptr::null_mut(), BYTES, protection, MapFlags::SHARED, fd, 0) }?;
        NonNull::new(at.cast()).map(Mapping).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn cells(&self) -> &[AtomicU64] {
        // SAFETY: `BYTES` are mapped there, page-aligned, until `Drop`; the file has that size and is sealed against
        // shrinking (`create` seals it, `open` checks); other processes write it only through their own atomics, and
        // any bits are a valid `u64`. On a read-only mapping nobody stores: `MarksView` only loads.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), SLOTS) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, of this size, and nothing borrowed from it outlives `self`.
        // A failure would leave the pages mapped, which harms nobody.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::unix::fs::FileExt};

    fn received(marks: &Marks) -> OwnedFd {
        marks.fd().try_clone_to_owned().unwrap()
    }

    fn memfd(bytes: usize, seals: SealFlags) -> OwnedFd {
        let fd = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, bytes as u64).unwrap();
        fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    fn refusal(fd: OwnedFd) -> String {
        let error = MarksView::open(fd).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        error.to_string()
    }

    #[test]
    fn an_owner_reads_what_the_worker_marked_also_when_the_worker_is_gone() {
        let marks = Marks::create().unwrap();
        let view = MarksView::open(received(&marks)).unwrap();
        assert_eq!((view.read(7), view.any()), (Some(0), false));
        marks.raise(7, 42);
        marks.raise(SLOTS - 1, u64::MAX);
        drop(marks);
        assert!(view.any());
        assert_eq!((view.read(7), view.read(SLOTS - 1), view.read(SLOTS)), (Some(42), Some(u64::MAX), None));
    }

    #[test]
    fn nobody_but_the_worker_can_write_shrink_or_punch_the_page() {
        let marks = Marks::create().unwrap();
        let file = File::from(received(&marks));
        assert!(file.write_at(&[1], 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(Mapping::new(&received(&marks), ProtFlags::READ | ProtFlags::WRITE).is_err());
        let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(&file, hole, 0, 4096).is_err());
    }

    #[test]
    fn pages_that_could_make_the_reader_fault_are_refused() {
        assert!(refusal(memfd(BYTES, SealFlags::FUTURE_WRITE)).contains("not sealed"));
        assert!(refusal(memfd(BYTES, SealFlags::SHRINK)).contains("not sealed"));
        assert!(refusal(memfd(0, NEEDED)).contains("wrong size"));
        assert!(refusal(memfd(BYTES + 1, NEEDED)).contains("wrong size"));
        let (pipe, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        assert!(refusal(pipe).contains("not in a memfd"));
    }
}
