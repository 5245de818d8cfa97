//! The LMDB environment: opening it, growing its map, and what its errors mean.
#![allow(unsafe_code)]

use super::shared::allocate;
use super::{Options, Place, Sync, place};
use crate::control::store::{OpenError, StoreError};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The newest format that this program reads and writes.
const FORMAT: u64 = 1;
const FORMAT_KEY: &[u8] = b"\xffformat";
/// Room for some thousand readers, of which each process uses one at a time.
const LOCK_FILE_BYTES: usize = 256 << 10;
/// How often a map is adapted to what other processes did before that counts as an error.
const RESIZES: usize = 8;

pub(super) type Records = Database<Bytes, Bytes>;

/// The environment and its one database. Only the store thread has it.
pub(super) struct Environment {
    pub(super) env: Env<WithoutTls>,
    pub(super) records: Records,
    pub(super) place: Place,
}

/// The record under `FORMAT_KEY`.
#[derive(Serialize, Deserialize)]
struct Format {
    format: u64,
    written_by: String,
}

/// Allocates LMDB's lock file. To be called only while no process, this one included, has the environment open.
pub(super) fn prepare_lock_file(path: &Path) -> io::Result<()> {
    let path = path.join("lock.mdb");
    allocate(
        &File::options().read(true).write(true).create(true).truncate(false).open(path)?,
        LOCK_FILE_BYTES,
    )
}

impl Environment {
    pub(super) fn open(place: Place, options: &Options) -> Result<Self, OpenError> {
        let sync = match options.sync {
            Sync::Full => EnvFlags::empty(),
            Sync::Meta => EnvFlags::NO_META_SYNC,
            Sync::None => EnvFlags::NO_SYNC,
        };
        let page = 4096;
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        open.map_size(options.map_bytes.next_multiple_of(page).max(16 * page));
        // SAFETY: the flags only weaken durability as documented at `Sync`. (A writable map or no locking would not be
        // sound; neither is asked for.)
        unsafe { open.flags(sync) };
        // SAFETY: nothing but LMDB changes the files; `place` is on a local filesystem, and the registry in `mod.rs`
        // opens each directory once per process.
        let env = unsafe { open.open(place.as_ref()) }.map_err(|error| open_error(&place, error))?;
        let environment = Environment { records: Self::records(&env, &place)?, env, place };
        Ok(environment)
    }

    /// What the format key says, if this program can read it; `None` in a new store.
    pub(super) fn check_format(&self) -> Result<Option<()>, OpenError> {
        let path = || self.place.as_ref().clone();
        let read = self.read_txn()?;
        let found = self.records.get(&read, FORMAT_KEY).map_err(|error| self.error(error))?;
        let Some(value) = found else {
            return match self.records.is_empty(&read).map_err(|error| self.error(error))? {
                true => Ok(None),
                false => {
                    Err(OpenError::NotAStore { path: path(), what: "a database of something else".into() })
                }
            };
        };
        let format: Format = rmp_serde::from_slice(value)
            .map_err(|_| OpenError::NotAStore { path: path(), what: "its format is unreadable".into() })?;
        if format.format > FORMAT {
            let Format { format, written_by } = format;
            return Err(OpenError::NewerFormat { path: path(), format, written_by, reads: FORMAT });
        }
        Ok(Some(()))
    }

    /// Writes the format key into a new store. The caller holds the gate.
    pub(super) fn write_format(&self) -> Result<(), OpenError> {
        let format = Format { format: FORMAT, written_by: env!("CARGO_PKG_VERSION").into() };
        let value = rmp_serde::to_vec_named(&format)
            .map_err(|error| StoreError::Record { key: "format".into(), why: error.to_string() })?;
        let mut write = self.write_txn()?;
        let written = match self.records.get(&write, FORMAT_KEY) {
            // Another process was first.
            Ok(Some(_)) => return Ok(()),
            Ok(None) => self.records.put(&mut write, FORMAT_KEY, &value).and_then(|()| write.commit()),
            Err(error) => Err(error),
        };
        Ok(written.map_err(|error| self.error(error))?)
    }

    /// Begins to read.
    pub(super) fn read_txn(&self) -> Result<RoTxn<'_, WithoutTls>, StoreError> {
        self.adapting(|| self.env.read_txn())
    }

    /// Begins to write. The caller holds the gate.
    pub(super) fn write_txn(&self) -> Result<RwTxn<'_>, StoreError> {
        self.adapting(|| self.env.write_txn())
    }

    /// The number of the newest commit, of any process.
    pub(super) fn last_commit(&self) -> u64 {
        self.env.info().last_txn_id as u64
    }

    /// Doubles the map. No transaction may be open.
    pub(super) fn grow(&self) -> Result<(), StoreError> {
        let bytes = self.env.info().map_size.saturating_mul(2);
        // SAFETY: this thread alone has transactions of this environment in this process, and none is open now.
        unsafe { self.env.resize(bytes) }
            .map_err(|_| StoreError::MapFull { path: self.place.as_ref().clone(), bytes: bytes as u64 })
    }

    /// What an error of the library means to users.
    pub(super) fn error(&self, error: heed::Error) -> StoreError {
        let path = self.place.as_ref().clone();
        match error {
            heed::Error::Io(error) if is_full(&error) => StoreError::DiskFull { path },
            // LMDB says EIO when only a part could be written, which is how a disk becomes full.
            heed::Error::Io(error)
                if error.raw_os_error() == Some(libc::EIO) && place::is_nearly_full(&path) =>
            {
                StoreError::DiskFull { path }
            }
            heed::Error::Io(source) => StoreError::Io { path, source: Arc::new(source) },
            heed::Error::Mdb(MdbError::MapFull) => {
                StoreError::MapFull { path, bytes: self.env.info().map_size as u64 }
            }
            heed::Error::Mdb(MdbError::ReadersFull) => {
                StoreError::Unreachable("too many processes read it at once".into())
            }
            heed::Error::Mdb(MdbError::Panic) => StoreError::Unreachable(
                "an earlier write failed in its last step; start this process again".into(),
            ),
            heed::Error::Mdb(error) => StoreError::Damaged { path, what: error.to_string() },
            error => StoreError::Io { path, source: Arc::new(io::Error::other(error.to_string())) },
        }
    }

    /// Begins a transaction, after following the map of another process that grew the file.
    fn adapting<T>(&self, mut begin: impl FnMut() -> heed::Result<T>) -> Result<T, StoreError> {
        for _ in 0..RESIZES {
            match begin() {
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    // SAFETY: as in `grow`; zero means the size that the file says.
                    unsafe { self.env.resize(0) }.map_err(|error| self.error(error))?;
                }
                result => return result.map_err(|error| self.error(error)),
            }
        }
        Err(StoreError::Unreachable("other processes keep growing it".into()))
    }

    fn records(env: &Env<WithoutTls>, place: &Place) -> Result<Records, OpenError> {
        // The unnamed database is always there: opening it needs no writing.
        let open = || -> heed::Result<Option<Records>> {
            let read = env.read_txn()?;
            env.open_database(&read, None)
        };
        let records = match open() {
            Err(heed::Error::Mdb(MdbError::MapResized)) => {
                // SAFETY: no transaction of this new environment is open.
                unsafe { env.resize(0) }.and_then(|()| open())
            }
            result => result,
        };
        let missing = || OpenError::NotAStore { path: place.as_ref().clone(), what: "no database".into() };
        records.map_err(|error| open_error(place, error))?.ok_or_else(missing)
    }
}

/// Whether the disk, or what one may use of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

fn open_error(place: &Place, error: heed::Error) -> OpenError {
    let path = place.as_ref().clone();
    match error {
        heed::Error::Io(error) if is_full(&error) => StoreError::DiskFull { path }.into(),
        heed::Error::Io(source) => OpenError::Path { path, source: Arc::new(source) },
        error => OpenError::NotAStore { path, what: error.to_string() },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a store look as if a later fdbray had written it.
    pub(in super::super) fn write_newer_format(path: &Path) {
        let environment = Environment::open(Arc::new(path.into()), &Options::default()).unwrap();
        let format = Format { format: FORMAT + 1, written_by: "9.9.9".into() };
        let mut write = environment.write_txn().unwrap();
        let value = rmp_serde::to_vec_named(&format).unwrap();
        environment.records.put(&mut write, FORMAT_KEY, &value).unwrap();
        write.commit().unwrap();
    }
}
