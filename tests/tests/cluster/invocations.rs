//! Arguments, variables and cluster URLs that are wrong, and stores that cannot be used.

use crate::app;
use fdbray_worker::{
    config::ClusterUrl,
    control::store::{Store, StoreError},
};
use std::{fs, sync::mpsc, thread};

const LIMIT: u64 = 30;

#[test]
fn a_worker_needs_a_cluster() {
    app(&["--worker"]).fails(LIMIT).complains(&["Error:", "--cluster URL", "FDBRAY_CLUSTER"]);
}

#[test]
fn unknown_and_wrong_arguments_of_a_worker_are_named_with_those_that_exist() {
    let worker = |args: &[&str]| {
        let ended = app(&[&["--worker", "--cluster", "lmdb:///tmp/never"], args].concat()).fails(LIMIT);
        assert_eq!(ended.stdout, "", "it never becomes a driver: {ended}");
        ended
    };
    worker(&["--nonsense", "3"]).complains(&["--nonsense", "--listen ADDR", "--resource NAME=N"]);
    worker(&["add"]).complains(&["there is no argument add", "--cpus N"]);
    worker(&["--cpus"]).complains(&["--cpus", "needs a value"]);
    worker(&["--cpus", "many"]).complains(&["--cpus=many", "4 or 0.5"]);
    worker(&["--memory", "lots"]).complains(&["--memory=lots", "16GiB"]);
}

#[test]
fn a_programs_own_arguments_are_its_own() {
    app(&["add", "--cpus", "many", "--cluster"]).succeeds(LIMIT).says_after_driver(&["3"]);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [("FDBRAY_CPUS", "many"), ("FDBRAY_WORKERS", "-1"), ("FDBRAY_CLUSTER", "redis:///x")]
    {
        let ended = app(&["add"]).env(name, value).fails(LIMIT);
        ended.complains(&["Error:", name, value]);
        assert_eq!(ended.stdout, "", "main is not entered: {ended}");
    }
}

#[test]
fn a_cluster_url_that_is_wrong_says_what_one_looks_like() {
    for url in ["demo", "redis:///x", "lmdb://relative/path", "lmdb:///x?cluster=", "lmdb:///x?colour=red"] {
        let ended = app(&["--worker", "--cluster", url]).fails(LIMIT);
        ended.complains(&["Error:", "--cluster is wrong", url, "lmdb:///var/lib/app?cluster=demo"]);
    }
    app(&["add"])
        .env("FDBRAY_CLUSTER", "fdb:///etc/foundationdb/fdb.cluster")
        .fails(LIMIT)
        .complains(&["foundationdb"]);
}

#[test]
fn a_store_that_cannot_be_used_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let join = |path: &std::path::Path| {
        let ended =
            app(&["add"]).env("FDBRAY_CLUSTER", format!("lmdb://{}?cluster=x", path.display())).fails(LIMIT);
        ended.complains(&["Error:", &path.display().to_string()]);
        assert_eq!(ended.stdout, "", "main is not entered: {ended}");
        ended
    };
    join("/proc/nowhere".as_ref()).complains(&["cannot be used"]);
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    join(&file).complains(&["cannot be used"]);
    let strange = dir.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("data.mdb"), [7; 100_000]).unwrap();
    join(&strange).complains(&["holds no store of fdbray"]);
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("lmdb://{}?cluster=x", dir.path().join("store").display());
    let run = || app(&["add"]).env("FDBRAY_CLUSTER", &url).env("FDBRAY_UNSCHEDULABLE_AFTER", "100ms");
    run().fails(LIMIT).complains(&["no worker in the cluster"]);
    let data = dir.path().join("store/data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    let record = b"\xa6format\x01";
    let found: Vec<_> =
        (0..bytes.len() - record.len()).filter(|at| bytes[*at..].starts_with(record)).collect();
    assert!(!found.is_empty(), "the store says which format it has");
    for at in found {
        bytes[at + record.len() - 1] = 99;
    }
    fs::write(&data, &bytes).unwrap();
    run().fails(LIMIT).complains(&["Error:", "format 99", &dir.path().display().to_string()]);
    assert!(fs::read(&data).unwrap() == bytes, "nothing was written");
}

#[test]
fn a_store_whose_write_lock_is_held_names_the_process_that_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let url: ClusterUrl = format!("lmdb://{}?cluster=x", dir.path().join("store").display()).parse().unwrap();
    let store = Store::open(&url).expect("a store");
    let (locked, is_locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    let holder = thread::spawn(move || {
        futures::executor::block_on(store.transact(move |transaction| {
            let (locked, released) = (locked.clone(), released.clone());
            async move {
                transaction.set(b"x", b"y")?;
                // Whoever waits for this is this test.
                let _ = locked.send(());
                let _ = released.lock().expect("one waiter").recv();
                Ok::<_, StoreError>(())
            }
        }))
    });
    is_locked.recv_timeout(std::time::Duration::from_secs(LIMIT)).expect("the lock is taken");
    let ended = app(&["add"]).env("FDBRAY_CLUSTER", &url).fails(60);
    ended.complains(&["Error:", "write lock", &std::process::id().to_string()]);
    drop(release);
    holder.join().expect("the holder does not panic").expect("its transaction commits");
    let run = app(&["add"]).env("FDBRAY_CLUSTER", &url).env("FDBRAY_UNSCHEDULABLE_AFTER", "100ms");
    run.fails(LIMIT).complains(&["no worker in the cluster"]);
}
