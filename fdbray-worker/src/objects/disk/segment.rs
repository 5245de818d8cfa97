//! One file of spilled values, and a value's place in it.

use super::{Form, Totals};
use crate::{objects::Damaged, payload::Payload};
use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, fallocate},
    process::{Resource, getrlimit},
};
use std::{
    fmt,
    fs::{File, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use xxhash_rust::xxh3::Xxh3;

/// A file without a name, which is written from its beginning to its end.
pub(in crate::objects) struct Segment {
    file: File,
    /// Where the next value begins.
    end: AtomicU64,
    /// Bytes of freed values that the file system keeps because it cannot make holes: until the file goes.
    left: AtomicU64,
    totals: Arc<Totals>,
}

/// A place in a file that is to be written.
pub(super) struct Unwritten(Place);

/// A value in a file.
pub(in crate::objects) struct Extent {
    place: Place,
    checksum: u64,
}

/// Some bytes of a file, which are free again when it is dropped.
struct Place {
    segment: Arc<Segment>,
    form: Form,
    at: u64,
    len: u64,
}

impl Segment {
    pub(super) fn create(dir: &Path, totals: Arc<Totals>) -> io::Result<Arc<Self>> {
        let file = tempfile::tempfile_in(dir)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(Segment::of(file, totals))
    }

    /// One that is written to `file`.
    pub(super) fn of(file: File, totals: Arc<Totals>) -> Arc<Self> {
        Arc::new(Segment { file, end: AtomicU64::new(0), left: AtomicU64::new(0), totals })
    }

    /// The next place for `len` bytes; none if the file is long enough already.
    pub(super) fn take(self: &Arc<Self>, form: Form, len: u64) -> Option<Unwritten> {
        // Beyond that the kernel would end the process by a signal.
        let most = getrlimit(Resource::Fsize).current.unwrap_or(i64::MAX as u64);
        let next = |end: u64| {
            let after = end.checked_add(len)?.checked_next_multiple_of(PAGE)?;
            ((end == 0 || after <= LONG) && after <= most).then_some(after)
        };
        let at = self.end.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        self.totals.used.fetch_add(len, Ordering::Relaxed);
        self.totals.objects.fetch_add(1, Ordering::Relaxed);
        Some(Unwritten(Place { segment: self.clone(), form, at, len }))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.totals.used.fetch_sub(*self.left.get_mut(), Ordering::Relaxed);
    }
}

impl Unwritten {
    pub(super) fn write(self, pieces: &[Bytes]) -> io::Result<Extent> {
        let Unwritten(place) = self;
        let mut checksum = Xxh3::new();
        let mut at = place.at;
        for part in pieces.iter().flat_map(|piece| piece.chunks(CHUNK)) {
            // Read once for both, while it is in the processor's cache.
            checksum.update(part);
            place.segment.file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        place.segment.totals.written.fetch_add(place.len, Ordering::Relaxed);
        Ok(Extent { checksum: checksum.digest(), place })
    }
}

impl Extent {
    /// Reads all of it into `bytes`, which are as many.
    pub(in crate::objects) fn read(&self, bytes: &mut [u8]) -> Result<(), Damaged> {
        let Place { segment, at, .. } = &self.place;
        let mut checksum = Xxh3::new();
        let mut offset = *at;
        for part in bytes.chunks_mut(CHUNK) {
            let read = segment.file.read_exact_at(part, offset);
            read.map_err(|error| Damaged::Unreadable(Arc::new(error)))?;
            checksum.update(part);
            offset += part.len() as u64;
        }
        if checksum.digest() != self.checksum {
            return Err(Damaged::Changed);
        }
        segment.totals.read.fetch_add(self.place.len, Ordering::Relaxed);
        Ok(())
    }

    /// The value of which these are the bytes.
    pub(in crate::objects) fn value(&self, bytes: Bytes) -> Result<Payload, Damaged> {
        match self.place.form {
            Form::Plain => Ok(Payload::from(bytes)),
            Form::Described => Ok(Payload::Described(bytes)),
            Form::Parts => Payload::from_flat(bytes).map_err(|_| Damaged::Changed),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Segment { file, left, totals, .. } = &*self.segment;
        totals.objects.fetch_sub(1, Ordering::Relaxed);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(file, hole, self.at, self.len.next_multiple_of(PAGE)) {
            Ok(()) => totals.used.fetch_sub(self.len, Ordering::Relaxed),
            Err(_) => left.fetch_add(self.len, Ordering::Relaxed),
        };
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes long)", self.end.load(Ordering::Relaxed))
    }
}

/// Values begin at multiples of this, so that what is freed is whole pages.
const PAGE: u64 = 4096;
/// What is added to a file ends here, unless it is one value: a file system that makes no holes gets all of it back with
/// the file.
const LONG: u64 = 1 << 30;
/// How much is written or read at once.
const CHUNK: usize = 1 << 20;
