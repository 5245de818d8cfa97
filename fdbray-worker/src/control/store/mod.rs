//! An ordered, transactional key-value store behind one handle, [`Store`], whatever the engine.
//!
//! | engine | what it is for | processes |
//! |---|---|---|
//! | `lmdb` | the default: clusters on one machine, private ones too | those of one machine |
//! | `fdb` (feature `foundationdb`) | clusters of many machines | any |
//! | `memory` | unit tests and the simulator, with injected conflicts, delays and unknown results | one |
//!
//! Transactions are serializable. A body gets a [`Transaction`], awaits nothing but that, and may run more than
//! once: it prepares state, which the caller adopts when `transact` has returned it. On LMDB bodies run on the
//! store's own thread, so they must not block either.
//!
//! ```
//! use fdbray_worker::control::store::{Store, StoreError};
//! # async fn example(store: Store) -> Result<(), StoreError> {
//! let visits = store
//!     .transact(|tx| async move {
//!         tx.add(b"visits", 1)?;
//!         tx.get(b"visits").await
//!     })
//!     .await?;
//! # Ok(()) }
//! ```

mod engine;
mod error;
#[cfg(feature = "foundationdb")]
pub mod fdb;
pub mod key;
pub mod lmdb;
pub mod memory;
mod transaction;
mod usage;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(in crate::control) mod testing;

pub use engine::KeyValue;
pub use error::{OpenError, StoreError};
pub use key::{Key, Stamp, StampedKey};
pub use transaction::{Limits, Range, Transaction, Watch};
pub use usage::Usage;

use crate::config::{ClusterUrl, Engine as EngineUrl};
use engine::{Attempt, Body, BoxFuture, Engine, Mode};
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

/// How often a transaction that takes too long is tried.
const TIME_LIMIT_ATTEMPTS: u32 = 3;

/// A store. A cheap clone; the store closes when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
}

impl Store {
    /// Opens the store that a cluster URL names. Blocks for as long as that takes: a few milliseconds, or ten seconds
    /// when FoundationDB does not answer.
    pub fn open(url: &ClusterUrl) -> Result<Store, OpenError> {
        match &url.engine {
            EngineUrl::Lmdb { path, sync } => {
                Store::lmdb(path, lmdb::Options { sync: *sync, ..lmdb::Options::default() })
            }
            #[cfg(feature = "foundationdb")]
            EngineUrl::FoundationDb { cluster_file } => {
                Store::foundationdb(cluster_file, &url.cluster, fdb::Options::default())
            }
            #[cfg(not(feature = "foundationdb"))]
            EngineUrl::FoundationDb { .. } => Err(OpenError::NoFoundationDb),
        }
    }

    /// Opens the LMDB store in a directory, which is made if it is missing.
    pub fn lmdb(path: impl AsRef<std::path::Path>, options: lmdb::Options) -> Result<Store, OpenError> {
        Ok(Store { engine: lmdb::Lmdb::open(path.as_ref(), options)? })
    }

    /// Opens the FoundationDB database of a cluster file, for the cluster of that name.
    #[cfg(feature = "foundationdb")]
    pub fn foundationdb(
        cluster_file: impl AsRef<std::path::Path>,
        cluster: &str,
        options: fdb::Options,
    ) -> Result<Store, OpenError> {
        Ok(Store { engine: fdb::Fdb::open(cluster_file.as_ref(), cluster, options)? })
    }

    /// Opens an empty store in memory.
    pub fn memory(faults: memory::Faults) -> Store {
        memory::Memory::new(faults).store()
    }

    /// Whether all processes that ever use this store are on this machine.
    pub fn one_machine(&self) -> bool {
        self.engine.name() == "lmdb"
    }

    /// Runs a transaction until it commits, or until it fails for a reason other than a conflict. An error of the
    /// body's own aborts it. Dropping the future leaves open whether the transaction takes effect.
    pub async fn transact<T, E, F, R>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(Transaction) -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(Mode::Write, false, body).await.map(|(value, _)| value)
    }

    /// As `transact`, for transactions that may take effect twice: also runs again when the result is unknown.
    pub async fn transact_idempotent<T, E, F, R>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(Transaction) -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(Mode::Write, true, body).await.map(|(value, _)| value)
    }

    /// As `transact`; also returns the versionstamp of the commit, unless nothing was written.
    pub async fn transact_stamped<T, E, F, R>(&self, body: F) -> Result<(T, Option<[u8; 10]>), E>
    where
        F: FnMut(Transaction) -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(Mode::Write, false, body).await
    }

    /// Runs a transaction that only reads: one consistent view, and no lock.
    pub async fn read<T, E, F, R>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(Transaction) -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(Mode::Read, true, body).await.map(|(value, _)| value)
    }

    async fn run<T, E, F, R>(
        &self,
        mode: Mode,
        idempotent: bool,
        mut f: F,
    ) -> Result<(T, Option<[u8; 10]>), E>
    where
        F: FnMut(Transaction) -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        // What the body returned in its last run. Adopted only once that run has committed.
        let prepared: Arc<Mutex<Option<Result<T, E>>>> = Arc::new(Mutex::new(None));
        let result = prepared.clone();
        let body: Body = Arc::new(Mutex::new(move |transaction| -> BoxFuture<'static, bool> {
            let run = f(transaction);
            let result = result.clone();
            Box::pin(async move {
                let value = run.await;
                let commit = value.is_ok();
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                commit
            })
        }));
        let mut attempts = 0;
        loop {
            let attempt = self.engine.attempt(mode, body.clone()).await;
            attempts += 1;
            usage::transaction();
            let value = prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
            match (attempt, value) {
                (Attempt::Committed(stamp), Some(Ok(value))) => return Ok((value, stamp)),
                (Attempt::Aborted, Some(Err(error))) => return Err(error),
                (Attempt::Failed(StoreError::TimeLimit(limit)), _) if attempts >= TIME_LIMIT_ATTEMPTS => {
                    return Err(StoreError::TimeLimit(limit).into());
                }
                (Attempt::Failed(error), _) if error.at_once() => {}
                (Attempt::Failed(StoreError::CommitUnknown), _) if idempotent => {}
                (Attempt::Failed(error), _) => return Err(error.into()),
                (Attempt::Panicked(payload), _) => resume_unwind(payload),
                (Attempt::Committed(_) | Attempt::Aborted, _) => {
                    unreachable!("an attempt ends as its body said")
                }
            }
            self.engine.pause(attempts).await;
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.engine.name())
    }
}
