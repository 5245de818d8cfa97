//! The FoundationDB that tests run on: the one whose cluster file `FDBRAY_TEST_FDB` names. Each test has a place of its own
//! in it, which is wiped afterwards. Without that variable they say by name that they were skipped.

use std::io::Write;
use std::path::PathBuf;

/// The cluster file, for the test of that name.
pub(in crate::control) fn cluster_file(test: &str) -> Option<PathBuf> {
    let file = std::env::var_os("FDBRAY_TEST_FDB");
    if file.is_none() {
        // Not by `eprintln`, which is not shown for tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped {test}: FDBRAY_TEST_FDB names no cluster file");
    }
    assert!(
        file.is_none() || cfg!(feature = "foundationdb"),
        "FDBRAY_TEST_FDB is set, but the tests were built without the feature `foundationdb`"
    );
    file.map(PathBuf::from)
}

#[cfg(feature = "foundationdb")]
pub(in crate::control) use scratch::Scratch;

#[cfg(feature = "foundationdb")]
mod scratch {
    use crate::control::store::fdb::{Options, block_on};
    use crate::control::store::{Key, Limits, Store, StoreError};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    /// An empty place in the database.
    pub(in crate::control) struct Scratch {
        whole: Store,
        pub(in crate::control) options: Options,
    }

    impl Scratch {
        /// A new one, for a test with these limits.
        pub(in crate::control) fn new(limits: Limits) -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let subspace = Key::new()
                .str("fdbray-test")
                .u64(since.as_micros() as u64)
                .u64(std::process::id().into())
                .u64(NEXT.fetch_add(1, Ordering::Relaxed))
                .into();
            let whole = Options { subspace, ..Options::default() };
            let options = Options { limits, ..whole.clone() };
            Scratch { whole: open(whole), options }
        }

        /// A store for all keys of the place.
        pub(in crate::control) fn store(&self) -> Store {
            open(self.options.clone())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let wiped = self.whole.transact_idempotent(|tx| async move { tx.clear_range(b"", b"\xff") });
            let wiped: Result<(), StoreError> = block_on(wiped);
            if let Err(error) = wiped {
                eprintln!("what the test left in FoundationDB was not removed: {error}");
            }
        }
    }

    fn open(options: Options) -> Store {
        let file = std::env::var_os("FDBRAY_TEST_FDB").expect("asked for before");
        Store::foundationdb(file, "test", options).unwrap_or_else(|error| panic!("{error}"))
    }
}
