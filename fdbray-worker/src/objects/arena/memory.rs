//! The arena's memory: one memfd, mapped once, whose pages are reserved before they are used.
//!
//! The file has its full size from the start and can neither shrink nor grow, so that no reader faults. It is sparse:
//! reserving makes its pages, and giving back makes a hole of them again. Its mode is read-only and other processes get a
//! descriptor that only reads. A seal against their writing would also forbid holes (`F_SEAL_FUTURE_WRITE` does): it is
//! put on where there is no other way, and then nothing is given back any more.
#![allow(unsafe_code)]

use super::offsets::EXTENT;
use crate::objects::valgrind;
use rustix::{
    fs::{
        FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fchmod, fcntl_add_seals, ftruncate,
        memfd_create, open,
    },
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap},
    process::{Resource, getrlimit},
};
use std::{
    fmt, io,
    ops::Range,
    os::fd::{AsRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
};

/// See the module's documentation.
pub(super) struct Memory {
    fd: OwnedFd,
    at: NonNull<u8>,
    len: u64,
    holes: AtomicBool,
}

// SAFETY: it is memory that stays mapped until `Drop`. What is read and written in it is `block.rs`'s to say.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Address space for `limit` bytes, and as much again: where free parts lie scattered their memory can be given back
    /// and reserved again in one piece. No page of it is there yet.
    ///
    /// # Errors
    /// When the operating system gives no descriptor or address space, or lets no file be that large.
    pub(super) fn create(limit: u64) -> io::Result<Self> {
        // Beyond this limit the kernel would not refuse, it would kill (SIGXFSZ).
        let longest = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX).min(isize::MAX as u64);
        let len = limit.saturating_mul(2).min(longest) / EXTENT * EXTENT;
        if len < limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let fd = memfd_create("fdbray-arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nobody's memory.
        let at = unsafe { mmap(std::ptr::null_mut(), usize_of(len), protection, flags, &fd, 0) }?;
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        valgrind::take_back(at, usize_of(len));
        // From here on `Drop` takes the mapping down.
        let memory = Memory { fd, at, len, holes: AtomicBool::new(true) };
        fcntl_add_seals(&memory.fd, SealFlags::SHRINK | SealFlags::GROW)?;
        // Who gets a descriptor that reads cannot open the file once more to write.
        fchmod(&memory.fd, Mode::RUSR)?;
        Ok(memory)
    }

    /// Bytes of address space.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Makes pages for these extents: touching them cannot fail from here on. Where they are there already, nothing
    /// changes.
    ///
    /// # Errors
    /// When there is no memory. Then none of these pages was made.
    pub(super) fn reserve(&self, extents: Range<u64>) -> io::Result<()> {
        loop {
            match fallocate(&self.fd, FallocateFlags::empty(), extents.start, extents.end - extents.start) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Gives the pages of these extents back; read again they would be zero. No block lies there: the caller has taken
    /// them from [`Offsets`](super::offsets::Offsets).
    ///
    /// # Errors
    /// When the file may no longer have holes. Then the pages stay.
    pub(super) fn give_back(&self, extents: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match fallocate(&self.fd, flags, extents.start, extents.end - extents.start) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Whether memory can be given back.
    pub(super) fn gives_back(&self) -> bool {
        self.holes.load(Ordering::Relaxed)
    }

    /// Maps the pages of a reserved range now rather than one by one when they are touched. It changes no byte. False if
    /// this kernel cannot (before Linux 5.14).
    pub(super) fn populate(&self, range: Range<u64>) -> bool {
        let Some(len) = range.end.checked_sub(range.start).filter(|_| range.end <= self.len) else {
            return false;
        };
        // SAFETY: the range lies within the mapping, which is ours, and this advice acts like a write that changes
        // nothing: it touches no byte that a block shows.
        unsafe {
            madvise(self.pointer(range.start).as_ptr().cast(), usize_of(len), Advice::LinuxPopulateWrite)
        }
        .is_ok()
    }

    /// Where an offset is in this process.
    pub(super) fn pointer(&self, offset: u64) -> NonNull<u8> {
        debug_assert!(offset <= self.len);
        // SAFETY: offsets come from `Offsets`, which has none beyond the mapping's `len` bytes.
        unsafe { self.at.add(usize_of(offset)) }
    }

    /// Which offset an address is at, if it is here.
    pub(super) fn offset(&self, at: *const u8) -> Option<u64> {
        let offset = at.addr().checked_sub(self.at.addr().get())? as u64;
        (offset < self.len).then_some(offset)
    }

    /// A descriptor through which the memory can be read but not written.
    ///
    /// # Errors
    /// When the operating system gives no descriptor.
    pub(super) fn read_only(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(fd),
            // No `/proc`: only the mapping that is there already may write from here on.
            Err(_) => self.sealed(),
        }
    }

    /// The descriptor itself, after which nobody can map the file to write. Nor can it have holes again.
    pub(super) fn sealed(&self) -> io::Result<OwnedFd> {
        fcntl_add_seals(&self.fd, SealFlags::FUTURE_WRITE)?;
        self.holes.store(false, Ordering::Relaxed);
        self.fd.try_clone()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("fd", &self.fd).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, of this size; every block holds the arena, so that none is left.
        // A failure would leave the pages mapped, which harms nobody.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), usize_of(self.len)) };
    }
}

/// No offset is beyond `isize::MAX`: `create` sees to it.
fn usize_of(bytes: u64) -> usize {
    bytes as usize
}
