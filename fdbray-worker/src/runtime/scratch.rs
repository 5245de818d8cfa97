//! The scratch directory of a private cluster: its store and sockets live in it, and nothing of it stays behind.
//!
//! It holds a file `owner`, on which the driver and each child keep a shared `flock`, which the kernel ends with the
//! process that holds it. Whoever turns its own lock into an exclusive one is the last, and removes the directory: the
//! driver after its children left, or a child when the driver is gone. What is left when all of them die at once is
//! removed by the next program that starts.

use super::leash;
use rustix::{
    fs::{Access, FlockOperation, access, flock},
    io::Errno,
    process::geteuid,
};
use std::{
    env,
    fs::{self, DirBuilder, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf, absolute},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Where scratch directories are made, when set.
pub const ENV: &str = "FDBRAY_TMPDIR";

const PREFIX: &str = "fdbray-";
const OWNER: &str = "owner";
const GONE: &str = ".gone";
/// How long a child whose driver is gone waits for the others' locks to end.
const LAST: Duration = Duration::from_millis(600);
/// A directory with something in it but an owner file is one that is being removed, unless it is this old.
const UNFINISHED: Duration = Duration::from_secs(60);

/// A scratch directory that this process shares in. Dropping it removes the directory if no other process does.
#[derive(Debug)]
pub struct Scratch(Arc<Share>);

impl Scratch {
    /// A new directory, for this user only, under `$FDBRAY_TMPDIR`, else under `$XDG_RUNTIME_DIR` if that can be
    /// written to, else in the directory for temporary files. Stale ones there are removed in the background.
    ///
    /// # Errors
    /// When the directory cannot be made; the message names it.
    pub fn create() -> io::Result<Self> {
        let base = absolute(base())?;
        let scratch = Self::create_in(&base)?;
        // Nobody waits for it; if there is no thread, the next start tries again.
        let _ = thread::Builder::new().name("fdbray-sweep".into()).spawn(move || sweep(&base));
        Ok(scratch)
    }

    /// As [`Scratch::create`], in `base`, and removes nothing else.
    ///
    /// # Errors
    /// When the directory cannot be made; the message names it.
    pub fn create_in(base: &Path) -> io::Result<Self> {
        loop {
            let name = format!("{PREFIX}{}", &crate::id::ProcessId::random().to_string()[..12]);
            let path = base.join(name);
            let failed = |e: io::Error| {
                let hint = if e.kind() == io::ErrorKind::StorageFull {
                    "; set FDBRAY_TMPDIR to another place"
                } else {
                    ""
                };
                io::Error::new(
                    e.kind(),
                    format!("the scratch directory {} cannot be made: {e}{hint}", path.display()),
                )
            };
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(failed)?,
            }
            let owner = match File::create_new(path.join(OWNER)) {
                // A sweeper has taken it for one whose maker died.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                made => made.map_err(failed)?,
            };
            let share = Share { path: path.clone(), owner, removed: Mutex::new(false) };
            // A sweeper may have come between the two and taken it for stale: then another one.
            if flock(&share.owner, FlockOperation::NonBlockingLockShared).is_ok() && share.is_whole() {
                return Ok(Scratch(Arc::new(share)));
            }
        }
    }

    /// Shares in the directory that the driver made; removes it when the driver is gone and no other child is left.
    /// To be called before [`leash::hold`], so that a driver that is gone already is noticed with it.
    ///
    /// # Errors
    /// When the directory is not there any more, or not a scratch directory.
    pub fn join(path: &Path) -> io::Result<Self> {
        let owner = File::open(path.join(OWNER))?;
        flock(&owner, FlockOperation::NonBlockingLockShared)?;
        let share = Arc::new(Share { path: path.to_owned(), owner, removed: Mutex::new(false) });
        let weak = Arc::downgrade(&share);
        leash::on_parent_gone(move || {
            if let Some(share) = weak.upgrade() {
                // What fails here is tried again at the next start.
                let _ = share.remove_if_last(LAST);
            }
        });
        Ok(Scratch(share))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Removes the directory, unless another process shares in it, which then does. Says whether it did.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(self) -> io::Result<bool> {
        self.0.remove_if_last(Duration::ZERO)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What fails here is tried again at the next start.
        let _ = self.0.remove_if_last(Duration::ZERO);
    }
}

/// Removes the scratch directories in `base` that belong to this user and to no living process.
pub fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let ours = |m: Metadata| m.is_dir() && m.uid() == geteuid().as_raw();
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && fs::symlink_metadata(entry.path()).is_ok_and(ours)
        {
            sweep_one(&entry.path());
        }
    }
}

fn sweep_one(path: &Path) {
    match File::open(path.join(OWNER)) {
        Ok(owner) => {
            let share = Share { path: path.to_owned(), owner, removed: Mutex::new(false) };
            let _ = share.remove_if_last(Duration::ZERO);
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Whoever is making it at this moment makes another one: only an empty one goes.
            if fs::remove_dir(path).is_ok() {
                return;
            }
            let age = fs::symlink_metadata(path)
                .and_then(|m| m.modified())
                .map(|t| t.elapsed().unwrap_or_default());
            if age.is_ok_and(|age| age > UNFINISHED) {
                let _ = fs::remove_dir_all(path);
            }
        }
        Err(_) => {}
    }
}

/// One process's lock on a scratch directory.
#[derive(Debug)]
struct Share {
    path: PathBuf,
    owner: File,
    /// Held while it is removed: this process must not end in the middle.
    removed: Mutex<bool>,
}

impl Share {
    fn remove_if_last(&self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        // A conversion that fails gives up the shared lock, so that of several who try the last one succeeds. Others'
        // locks may end a little later than what told us that they are gone.
        while let Err(e) = flock(&self.owner, FlockOperation::NonBlockingLockExclusive) {
            if e != Errno::WOULDBLOCK && e != Errno::INTR {
                return Err(e.into());
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(2));
        }
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if *removed || !self.is_whole() {
            return Ok(false);
        }
        // Under another name first: threads of this process that still run can then make no more files in it.
        let gone = match self.path.to_string_lossy().ends_with(GONE) {
            true => self.path.clone(),
            false => self.path.with_extension(&GONE[1..]),
        };
        fs::rename(&self.path, &gone)?;
        *removed = true;
        match fs::remove_dir_all(gone) {
            // A sweeper has taken the empty rest.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            done => done.map(|()| true),
        }
    }

    /// Whether the path still leads to the file that is locked.
    fn is_whole(&self) -> bool {
        let Ok(held) = self.owner.metadata() else { return false };
        let named = fs::symlink_metadata(self.path.join(OWNER));
        named.is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()))
    }
}

fn base() -> PathBuf {
    let given = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given(ENV)
        .or_else(|| {
            given("XDG_RUNTIME_DIR").filter(|d| access(d, Access::WRITE_OK | Access::EXEC_OK).is_ok())
        })
        .unwrap_or_else(env::temp_dir)
}

#[cfg(test)]
mod tests;
