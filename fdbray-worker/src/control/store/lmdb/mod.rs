//! The embedded store: processes of one machine share a directory with an LMDB database.
//!
//! One environment per directory and process (more `Store`s on one directory share it), used by one *store thread*,
//! since LMDB wants transactions to stay on their thread and is quick enough for one. Bodies run to their end on it,
//! within LMDB's write transaction, so that there are no conflicts; those that are queued share one commit, each in a
//! nested transaction of its own. No read transaction outlives its body: a sleeping reader would let the file grow.
//!
//! | file | what |
//! |---|---|
//! | `data.mdb`, `lock.mdb` | LMDB's own |
//! | `fdbray.watch` | see `shared.rs`: who is here, the gate before the write lock, futexes for watches |
//!
//! Keys are stored as they are, in the unnamed database. `ff "format"` says which fdbray wrote the store:
//! MessagePack `{format: u64, written_by: str}`.
//!
//! A process that is killed holds up nobody: the gate is released with its files, LMDB's mutex is robust, its reader
//! slots are cleared within a second, and the commit whose watchers it did not tell is told by the next writer, or by
//! anyone within a second.

mod batch;
mod drive;
mod environment;
mod place;
mod shared;
#[cfg(test)]
mod tests;
mod thread;
mod watches;

use super::engine::{Attempt, Body, BoxFuture, Engine, Mode};
use super::{Limits, OpenError, StoreError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thread::{Job, Request};
use tokio::sync::oneshot;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sync {
    /// Until it is on the disk.
    Full,
    /// Until it is on the disk, but for the page that says so: a crash of the machine may undo the last transactions,
    /// whole ones only.
    #[default]
    Meta,
    /// For nothing: fastest, and a crash of the machine (not of a process) may damage the store. For private clusters,
    /// which end with their processes.
    None,
}

impl Sync {
    /// As it is written in a cluster URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Sync::Full => "full",
            Sync::Meta => "meta",
            Sync::None => "none",
        }
    }
}

/// How to open a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a commit waits for.
    pub sync: Sync,
    /// How long a transaction waits for the write lock before it fails with [`StoreError::Busy`].
    pub lock_wait: Duration,
    /// The address space to begin with. It doubles whenever the store is full.
    pub map_bytes: usize,
    /// Limits of transactions. To change them is for tests.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sync: Sync::default(),
            lock_wait: Duration::from_secs(5),
            map_bytes: 256 << 20,
            limits: Limits::default(),
        }
    }
}

/// An open environment: a queue to its store thread.
pub(super) struct Lmdb {
    queue: Sender<Request>,
    threads: Vec<JoinHandle<()>>,
    sync: Sync,
}

/// The environments of this process. LMDB must not open one twice in a process, since closing one copy would drop
/// the file locks of the other. An entry goes when its store thread has closed it.
static OPEN: Mutex<BTreeMap<Identity, Weak<Lmdb>>> = Mutex::new(BTreeMap::new());

/// How long opening waits for this process to close the same directory.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

impl Lmdb {
    pub(super) fn open(path: &Path, options: Options) -> Result<Arc<Lmdb>, OpenError> {
        let path = place::prepare(path, options.sync != Sync::None)?;
        let fail = |source| OpenError::Path { path: path.clone(), source: Arc::new(source) };
        let identity = place::identity(&path).map_err(fail)?;
        let started = Instant::now();
        let mut open = loop {
            let open = registry();
            match open.get(&identity).map(Weak::upgrade) {
                None => break open,
                Some(Some(lmdb)) if lmdb.sync == options.sync => return Ok(lmdb),
                Some(Some(lmdb)) => return Err(OpenError::OtherOptions { path, sync: lmdb.sync.as_str() }),
                // Its last handle is gone, and its thread will be in a moment.
                Some(None) if started.elapsed() < CLOSE_WAIT => drop(open),
                Some(None) => return Err(OpenError::Stuck { path, waited: CLOSE_WAIT }),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let (queue, threads) = thread::start(path, identity, options)?;
        let lmdb = Arc::new(Lmdb { queue, threads, sync: options.sync });
        open.insert(identity, Arc::downgrade(&lmdb));
        Ok(lmdb)
    }
}

impl Engine for Lmdb {
    fn attempt(&self, mode: Mode, body: Body) -> BoxFuture<'_, Attempt> {
        let (reply, attempt) = oneshot::channel();
        let sent = self.queue.send(Request::Run(Job { mode, body, reply }));
        Box::pin(async move {
            match (sent, attempt.await) {
                (Ok(()), Ok(attempt)) => attempt,
                _ => Attempt::Failed(StoreError::Closed),
            }
        })
    }

    fn pause(&self, _attempt: u32) -> BoxFuture<'_, ()> {
        // Nothing conflicts here, and waiting for the lock happens on the store thread.
        Box::pin(std::future::ready(()))
    }

    fn name(&self) -> &'static str {
        "lmdb"
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        // The store thread has ended already if this fails.
        let _ = self.queue.send(Request::Close);
        for thread in self.threads.drain(..) {
            // The last handle may go in a transaction's body, on the store thread itself.
            if thread.thread().id() != std::thread::current().id() {
                // A panic there was reported by the panic hook.
                let _ = thread.join();
            }
        }
    }
}

fn registry() -> MutexGuard<'static, BTreeMap<Identity, Weak<Lmdb>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory, whatever its name: device and inode.
type Identity = (u64, u64);

/// The store's directory, for messages.
type Place = Arc<PathBuf>;
