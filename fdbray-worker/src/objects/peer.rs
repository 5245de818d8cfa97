//! The arena of another process on this host: mapped once, read in place.
#![allow(unsafe_code)]

use super::{location::Location, valgrind};
use bytes::Bytes;
use rustix::{
    fs::{SealFlags, fcntl_get_seals, fstat, fstatfs},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use std::{
    fmt, io,
    ops::Deref,
    os::fd::OwnedFd,
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError},
};

/// A peer's arena. Clones are the same mapping, which lasts as long as they and their views, also when the peer is gone.
#[derive(Clone, Debug)]
pub struct PeerArena {
    mapping: Arc<Mapping>,
}

/// Why a descriptor from a peer is not mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// It is no memfd, or one of huge pages: reading it could fault.
    #[error("the peer's arena is not in a memfd; both processes need the same version of fdbray")]
    NotMemory,
    /// Its sender could still shrink it, and so make readers fault.
    #[error(
        "the peer's arena is not sealed against shrinking; both processes need the same version of fdbray"
    )]
    NotSealed,
    /// It has no bytes.
    #[error("the peer's arena is empty; both processes need the same version of fdbray")]
    Empty,
    /// The operating system refused: there is too little address space, mostly.
    #[error(
        "the peer's arena could not be mapped; raise this process's limit of address space (`ulimit -v`)"
    )]
    System(#[from] io::Error),
}

/// Why there is no view of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// It reaches beyond the peer's arena: the peer sent nonsense.
    #[error(
        "the peer named {location}, and its arena has {size} bytes; fetch the object over the socket instead"
    )]
    Outside {
        /// What it named.
        location: Location,
        /// The size of its arena, in bytes.
        size: u64,
    },
}

impl PeerArena {
    /// Maps the arena that a peer has handed over.
    ///
    /// # Errors
    /// When it is not memory that can be read without faults, or cannot be mapped.
    pub fn map(fd: OwnedFd) -> Result<Self, MapError> {
        let seals = fcntl_get_seals(&fd).map_err(|_| MapError::NotMemory)?;
        let system = |error: rustix::io::Errno| MapError::System(error.into());
        // A memfd of huge pages has seals too, and faults where none is left.
        if fstatfs(&fd).map_err(system)?.f_type as u64 != TMPFS_MAGIC {
            return Err(MapError::NotMemory);
        }
        if !seals.contains(SealFlags::SHRINK) {
            return Err(MapError::NotSealed);
        }
        // Only after the seals: from here on it can only become larger, and what is added is not looked at.
        let size = usize::try_from(fstat(&fd).map_err(system)?.st_size).unwrap_or(0);
        if size == 0 {
            return Err(MapError::Empty);
        }
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nobody's memory.
        let at =
            unsafe { mmap(std::ptr::null_mut(), size, ProtFlags::READ, flags, &fd, 0) }.map_err(system)?;
        let at = NonNull::new(at.cast()).ok_or(io::Error::from(io::ErrorKind::OutOfMemory))?;
        valgrind::take_back(at, size);
        Ok(PeerArena { mapping: Arc::new(Mapping { at, size }) })
    }

    /// Bytes that can be viewed: the size of the peer's file.
    pub fn size(&self) -> u64 {
        self.mapping.size as u64
    }

    /// The bytes at a location that the peer has *pinned* for this process. `unpin` runs when the last clone of the view
    /// is dropped, also if there is no view: whoever has a pin gives it here.
    ///
    /// # Errors
    /// When the location reaches beyond the peer's arena. Nothing else can be seen from here: that the peer has
    /// acknowledged the pin is for the caller to know.
    pub fn view(&self, location: Location, unpin: impl FnOnce() + Send + 'static) -> Result<View, ViewError> {
        let unpin = Unpin(Mutex::new(Some(Box::new(unpin))));
        let size = self.size();
        let start = usize::try_from(location.offset.0).ok();
        let inside = location.end().is_some_and(|end| end <= size);
        let Some(start) = start.filter(|_| inside) else {
            return Err(ViewError::Outside { location, size });
        };
        // SAFETY: it lies within the mapping, as was just compared.
        let at = unsafe { self.mapping.at.add(start) };
        // As `location.end()` is at most `size`, a `usize`, so is its length.
        let len = location.len as usize;
        valgrind::lend(at, len);
        let seen = Seen { at, len, mapping: self.mapping.clone(), _unpin: unpin };
        Ok(View(Arc::new(seen)))
    }
}

/// Bytes in the arena of a peer, read in place. They stay as long as a clone of it does, also when the peer dies.
#[derive(Clone)]
pub struct View(Arc<Seen>);

impl Deref for View {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let Seen { at, len, ref mapping, .. } = *self.0;
        debug_assert!(len <= mapping.size);
        // SAFETY: `view` saw that they lie within the mapping, which `mapping` keeps. The file cannot shrink, so that no
        // page of it is beyond its end. That nobody changes the bytes rests on the pin: a peer acknowledges one only for
        // a sealed block, which it never writes again, and neither frees the block nor gives its memory back while it is
        // pinned; `unpin` runs after the last use. The pages of a block were reserved before it was written, so reading
        // makes no new ones. A peer that dies takes none of that away: the mapping keeps the file and its pages, and
        // nobody else has a descriptor that writes. A peer that breaks these rules is the same user's program of the same
        // cluster; it can show us wrong bytes, as it could send us wrong bytes, and any bits are a `u8`.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), len) }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The same bytes; the view is held by them and all their parts.
impl From<View> for Bytes {
    fn from(view: View) -> Self {
        Bytes::from_owner(view)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes)", self.0.len)
    }
}

struct Seen {
    at: NonNull<u8>,
    len: usize,
    mapping: Arc<Mapping>,
    _unpin: Unpin,
}

// SAFETY: the memory is only ever read, and stays mapped as long as `mapping`.
unsafe impl Send for Seen {}
// SAFETY: as above; what runs at the end is behind a lock.
unsafe impl Sync for Seen {}

/// Runs when it is dropped.
struct Unpin(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for Unpin {
    fn drop(&mut self) {
        let unpin = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(unpin) = unpin {
            unpin();
        }
    }
}

/// A peer's file, mapped to read.
struct Mapping {
    at: NonNull<u8>,
    size: usize,
}

// SAFETY: it is memory that is only read and stays mapped until `Drop`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, of this size, and every view holds it.
        // A failure would leave the pages mapped, which harms nobody.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.size) };
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size)
    }
}

/// What `statfs` says of memory (linux/magic.h).
const TMPFS_MAGIC: u64 = 0x0102_1994;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Arena, Offset, Options};
    use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn arena() -> Arena {
        Arena::new(Options { limit: 4 << 20, reserve: 0, low_water: 0, background: false })
    }

    fn sealed(arena: &Arena, bytes: &[u8]) -> crate::objects::Block {
        let mut block = arena.allocate(bytes.len()).unwrap();
        block.copy_from_slice(bytes);
        block.seal()
    }

    #[test]
    fn a_peer_reads_in_place_what_was_written_before_and_after_it_mapped() {
        let arena = arena();
        let before = sealed(&arena, b"before");
        let peer = PeerArena::map(arena.read_only_fd().unwrap()).unwrap();
        let after = sealed(&arena, b"after");
        for block in [before, after] {
            let view = peer.view(block.location(), || {}).unwrap();
            assert_eq!(&view[..], &block[..]);
            assert_ne!(view.as_ptr(), block.as_ptr());
            let part = peer.view(arena.locate(&block[1..3]).unwrap(), || {}).unwrap();
            assert_eq!(&part[..], &block[1..3]);
        }
    }

    #[test]
    fn the_pin_ends_with_the_last_clone_of_a_view() {
        let arena = arena();
        let block = sealed(&arena, &[5; 100]);
        let peer = PeerArena::map(arena.read_only_fd().unwrap()).unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        let unpin = |ended: &Arc<AtomicUsize>| {
            let ended = ended.clone();
            move || _ = ended.fetch_add(1, Ordering::SeqCst)
        };
        let view = peer.view(block.location(), unpin(&ended)).unwrap();
        let bytes = Bytes::from(view.clone()).slice(10..20);
        drop((view, peer));
        assert_eq!((&bytes[..], ended.load(Ordering::SeqCst)), (&[5; 10][..], 0));
        drop(bytes);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        let peer = PeerArena::map(arena.read_only_fd().unwrap()).unwrap();
        let nonsense = Location { offset: Offset(u64::MAX), len: 2, generation: 0 };
        assert!(peer.view(nonsense, unpin(&ended)).is_err());
        assert_eq!(ended.load(Ordering::SeqCst), 2, "a pin without a view ends too");
    }

    #[test]
    fn views_outlive_the_writer() {
        let arena = arena();
        let block = sealed(&arena, &[6; 5000]);
        let peer = PeerArena::map(arena.read_only_fd().unwrap()).unwrap();
        let view = peer.view(block.location(), || {}).unwrap();
        drop((block, arena, peer));
        assert!(view.iter().all(|&byte| byte == 6));
    }

    #[test]
    fn ranges_outside_of_the_arena_are_refused() {
        let peer = PeerArena::map(arena().read_only_fd().unwrap()).unwrap();
        let size = peer.size();
        for (offset, len) in
            [(size, 1), (size - 1, 2), (0, size + 1), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)]
        {
            let location = Location { offset: Offset(offset), len, generation: 1 };
            assert_eq!(peer.view(location, || {}).unwrap_err(), ViewError::Outside { location, size });
        }
        let last = Location { offset: Offset(size), len: 0, generation: 1 };
        assert!(peer.view(last, || {}).unwrap().is_empty());
    }

    #[test]
    fn what_could_make_its_reader_fault_is_not_mapped() {
        let memfd = |bytes, seals| {
            let fd = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
            ftruncate(&fd, bytes).unwrap();
            fcntl_add_seals(&fd, seals).unwrap();
            fd
        };
        let refused = |fd| PeerArena::map(fd).unwrap_err();
        assert!(matches!(refused(memfd(4096, SealFlags::GROW)), MapError::NotSealed));
        assert!(matches!(refused(memfd(0, SealFlags::SHRINK)), MapError::Empty));
        let (pipe, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        assert!(matches!(refused(pipe), MapError::NotMemory));
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(refused(file.into()), MapError::NotMemory | MapError::NotSealed));
        assert!(PeerArena::map(memfd(4096, SealFlags::SHRINK)).is_ok());
    }
}
