//! From a cluster file to a database that answers and that this program can read.

use super::failure::{Place, describe};
use super::{Fdb, Options, network};
use crate::control::store::{Key, Limits, OpenError, Store, StoreError, Transaction};
use foundationdb::Database;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// The newest format that this program reads and writes.
const FORMAT: u64 = 1;

/// The record of a cluster's own key.
#[derive(Serialize, Deserialize)]
struct Format {
    format: u64,
    written_by: String,
}

impl Fdb {
    /// Opens the database of a cluster file for one cluster of fdbray. Blocks until it has answered, or for as long as
    /// an attempt waits.
    pub(in super::super) fn open(
        path: &Path,
        cluster: &str,
        options: Options,
    ) -> Result<Arc<Fdb>, OpenError> {
        let file = |source| OpenError::ClusterFile { path: path.into(), source: Arc::new(source) };
        let content = std::fs::read_to_string(path).map_err(file)?;
        let name = path.to_str().ok_or_else(|| file(io::Error::other("its name is not UTF-8")))?;
        let coordinators =
            coordinators(&content).ok_or_else(|| OpenError::NotAClusterFile { path: path.into() })?;
        network::start()?;
        let database = Database::from_path(name)
            .map_err(|error| OpenError::FoundationDbClient { what: describe(error) })?;
        let database = Arc::new(database);
        let place = Place(Arc::new(path.into()));
        // The limits of tests are not meant for this.
        let usual = Options { limits: Limits::default(), ..options.clone() };
        let patience = options.patience;
        let first = Arc::new(Fdb { database: database.clone(), place: place.clone(), options: usual });
        let checked = block_on(check_format(Store { engine: first }, path, cluster));
        network::stop_at_exit();
        match checked {
            Ok(()) => Ok(Arc::new(Fdb { database, place, options })),
            Err(OpenError::Store(StoreError::Unreachable(_))) => {
                Err(OpenError::NoAnswer { path: path.into(), coordinators, waited: patience })
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads the cluster's own key; writes it if it is missing.
async fn check_format(store: Store, path: &Path, cluster: &str) -> Result<(), OpenError> {
    let (path, key) = (path.to_owned(), Key::new().str("fdbray").str(cluster));
    store
        .transact_idempotent(move |tx: Transaction| {
            let (path, key) = (path.clone(), key.clone());
            async move {
                let unreadable = |why: String| StoreError::Record { key: format!("{key:?}"), why };
                let Some(value) = tx.get(&key).await? else {
                    let format = Format { format: FORMAT, written_by: env!("CARGO_PKG_VERSION").into() };
                    let value = rmp_serde::to_vec_named(&format).map_err(|e| unreadable(e.to_string()))?;
                    return Ok(tx.set(&key, value)?);
                };
                let Format { format, written_by } =
                    rmp_serde::from_slice(&value).map_err(|e| unreadable(e.to_string()))?;
                if format > FORMAT {
                    return Err(OpenError::NewerFormat { path, format, written_by, reads: FORMAT });
                }
                Ok(())
            }
        })
        .await
}

/// The addresses in a cluster file, `description:id@address,address`; none if it is something else.
fn coordinators(content: &str) -> Option<String> {
    let line = content.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let (name, addresses) = line.split_once('@')?;
    (name.contains(':') && addresses.contains(':')).then(|| addresses.replace(',', ", "))
}

/// Waits on this thread, which FoundationDB's own wakes: there is no need of an async runtime.
pub(in crate::control) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::coordinators;

    #[test]
    fn a_cluster_file_names_its_coordinators() {
        let content = "# DO NOT EDIT!\n\ntest:abc@10.0.0.1:4500,10.0.0.2:4500:tls\n";
        assert_eq!(coordinators(content).as_deref(), Some("10.0.0.1:4500, 10.0.0.2:4500:tls"));
        for other in ["", "# nothing", "{\"json\": 1}", "user@host", "a:b"] {
            assert_eq!(coordinators(other), None, "{other}");
        }
    }
}
