//! The FoundationDB that tests run on: the one whose cluster file `FDBRAY_TEST_FDB` names. Each test has a place of its own
//! in it, which is wiped afterwards. Without that variable they say by name that they were skipped.

use std::io::Write;

pub(in crate::control) use scratch::Scratch;

/// Whether the test of that name can run.
pub(in crate::control) fn on_foundationdb(test: &str) -> bool {
    let asked = std::env::var_os("FDBRAY_TEST_FDB").is_some();
    if !asked {
        // Not by `eprintln`, which is not shown for tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped {test}: FDBRAY_TEST_FDB names no cluster file");
    }
    assert!(
        !asked || cfg!(feature = "foundationdb"),
        "FDBRAY_TEST_FDB is set, but the tests were built without the feature `foundationdb`"
    );
    asked
}

#[cfg(feature = "foundationdb")]
mod scratch {
    use crate::control::store::fdb::{Options, block_on};
    use crate::control::store::{Key, Limits, OpenError, Store};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    /// A place in the database.
    pub(in crate::control) struct Scratch {
        pub(in crate::control) options: Options,
    }

    impl Scratch {
        /// A new one, for transactions with these limits.
        pub(in crate::control) fn new(limits: Limits) -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let subspace = Key::new()
                .str("fdbray-test")
                .u64(since.as_micros() as u64)
                .u64(std::process::id().into())
                .u64(NEXT.fetch_add(1, Ordering::Relaxed))
                .into();
            Scratch { options: Options { subspace, limits, ..Options::default() } }
        }

        /// An empty store for the whole place: also what opening writes is removed.
        pub(in crate::control) fn empty(&self) -> Store {
            let store = open("test", self.options.clone()).unwrap();
            self.wipe().unwrap();
            store
        }

        /// For a child, which opens the same place with `of_parent`.
        pub(in crate::control) fn name(&self) -> String {
            self.options.subspace.iter().map(|byte| format!("{byte:02x}")).collect()
        }

        /// A store for a place of the parent's.
        pub(in crate::control) fn of_parent(name: &str) -> Store {
            let byte = |at| u8::from_str_radix(&name[at..at + 2], 16).unwrap();
            let options =
                Options { subspace: (0..name.len()).step_by(2).map(byte).collect(), ..Options::default() };
            open("test", options).unwrap()
        }

        fn wipe(&self) -> Result<(), OpenError> {
            // Not the cluster of the test, which may be made unreadable.
            let store = open("wipe", Options { limits: Limits::default(), ..self.options.clone() })?;
            block_on(store.transact_idempotent(|tx| async move { Ok(tx.clear_range(b"", b"\xff")?) }))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            if let Err(error) = self.wipe() {
                eprintln!("what the test left in FoundationDB was not removed: {error}");
            }
        }
    }

    fn open(cluster: &str, options: Options) -> Result<Store, OpenError> {
        let file = std::env::var_os("FDBRAY_TEST_FDB").expect("asked for before");
        Store::foundationdb(file, cluster, options)
    }
}

/// So that the tests need no conditions: they end before they use it.
#[cfg(not(feature = "foundationdb"))]
mod scratch {
    use crate::control::store::{Limits, Store};

    pub(in crate::control) struct Scratch;

    impl Scratch {
        pub(in crate::control) fn new(_: Limits) -> Self {
            unreachable!("there is no FoundationDB in this build")
        }

        pub(in crate::control) fn empty(&self) -> Store {
            unreachable!("there is no FoundationDB in this build")
        }

        pub(in crate::control) fn name(&self) -> String {
            unreachable!("there is no FoundationDB in this build")
        }

        pub(in crate::control) fn of_parent(_: &str) -> Store {
            unreachable!("there is no FoundationDB in this build")
        }
    }
}
