//! The store of a test's cluster: a directory, or a cluster name of its own in the FoundationDB that `FDBRAY_TEST_FDB` names.

use fdbray::ClusterUrl;
use fdbray_worker::control::store::{Key, Store, StoreError};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// One test's store. What it left in FoundationDB is removed when this is dropped.
pub(super) struct Shared {
    url: String,
    wipe: bool,
}

impl Shared {
    /// In FoundationDB if that is asked for.
    pub(super) fn new(directory: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(file) = std::env::var("FDBRAY_TEST_FDB") else { return Shared::embedded(directory) };
        if cfg!(not(feature = "foundationdb")) {
            panic!("FDBRAY_TEST_FDB is set, but the tests were built without the feature `foundationdb`");
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros());
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Shared { url: format!("fdb://{file}?cluster=test-{now}-{pid}-{n}"), wipe: true }
    }

    pub(super) fn embedded(directory: &Path) -> Self {
        Shared { url: format!("lmdb://{}?cluster=crash", directory.display()), wipe: false }
    }

    /// One that goes by itself.
    pub(super) fn at(url: String) -> Self {
        Shared { url, wipe: false }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    fn remove(&self) -> Result<(), Box<dyn std::error::Error>> {
        let url: ClusterUrl = self.url.parse()?;
        let cluster = Key::new().str("fdbray").str(&url.cluster);
        let store = Store::open(&url)?;
        let removed = store.transact_idempotent(move |tx| {
            let (begin, end) = cluster.children();
            let cleared = tx.clear(&cluster).and_then(|()| tx.clear_range(begin, end));
            async move { cleared }
        });
        Ok(futures::executor::block_on(removed).map_err(|error: StoreError| error)?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.wipe
            && let Err(error) = self.remove()
        {
            eprintln!("{} was not wiped: {error}", self.url);
        }
    }
}
