//! What only FoundationDB, or its absence, can show. Children are this test binary, run again.

use super::{Options, block_on};
use crate::control::store::testing::{Scratch, on_foundationdb};
use crate::control::store::{Key, Limits, OpenError, Range, Store, StoreError};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const QUICK: Duration = Duration::from_secs(1);

/// A place in the database that `FDBRAY_TEST_FDB` names, or the test returns.
macro_rules! scratch {
    ($test:ident) => {
        match on_foundationdb(concat!(module_path!(), "::", stringify!($test))) {
            true => Scratch::new(Limits::default()),
            false => return,
        }
    };
}

fn open(path: &Path) -> OpenError {
    let options = Options { patience: QUICK, ..Options::default() };
    Store::foundationdb(path, "test", options).expect_err("it cannot be opened")
}

#[test]
fn a_cluster_file_that_is_missing_or_something_else_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fdb.cluster");
    let missing = open(&path);
    assert!(matches!(missing, OpenError::ClusterFile { .. }));
    std::fs::write(&path, "[section]\nkey = 1\n").unwrap();
    let other = open(&path);
    assert!(matches!(other, OpenError::NotAClusterFile { .. }));
    for error in [missing, other] {
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_database_that_does_not_answer_is_given_up_in_time_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fdb.cluster");
    // Nobody listens there any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(&path, format!("away:nobody@{address}\n")).unwrap();
    let begun = Instant::now();
    let error = open(&path);
    assert!((QUICK..QUICK * 5).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(matches!(error, OpenError::NoAnswer { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains(&path.display().to_string()), "{text}");
}

#[test]
fn a_store_of_a_newer_format_is_refused_by_its_version() {
    let scratch = scratch!(a_store_of_a_newer_format_is_refused_by_its_version);
    let store = scratch.empty();
    let newer = serde_format(9, "9.9.9");
    let key = Key::new().str("fdbray").str("test");
    let written = store.transact(move |tx| {
        let (key, newer) = (key.clone(), newer.clone());
        async move { tx.set(key, newer) }
    });
    let written: Result<(), StoreError> = block_on(written);
    written.unwrap();
    let file = std::env::var_os("FDBRAY_TEST_FDB").unwrap();
    let error = Store::foundationdb(&file, "test", scratch.options.clone()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { format: 9, .. }), "{error}");
    assert!(error.to_string().contains("9.9.9"), "{error}");
    // Another cluster in the same database is not concerned.
    Store::foundationdb(&file, "other", scratch.options.clone()).unwrap();
}

fn serde_format(format: u64, written_by: &str) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Format<'a> {
        format: u64,
        written_by: &'a str,
    }
    rmp_serde::to_vec_named(&Format { format, written_by }).unwrap()
}

#[tokio::test]
async fn long_ranges_come_whole_in_either_direction() {
    let scratch = scratch!(long_ranges_come_whole_in_either_direction);
    let store = scratch.empty();
    let log = Key::new().str("log");
    for chunk in 0..10_u64 {
        let log = log.clone();
        let fill = store.transact(move |tx| {
            let log = log.clone();
            async move {
                for n in chunk * 500..(chunk + 1) * 500 {
                    tx.set(log.clone().u64(n), vec![n as u8; 1_000])?;
                }
                Ok::<_, StoreError>(())
            }
        });
        fill.await.unwrap();
    }
    let keys: Vec<Vec<u8>> = (0..5_000).map(|n| log.clone().u64(n).into()).collect();
    let all = Range::children(&log);
    for (range, expected) in [
        (all.clone(), keys.clone()),
        (all.clone().reverse(), keys.iter().rev().cloned().collect()),
        (all.clone().limit(3_000), keys[..3_000].to_vec()),
        (all.clone().reverse().limit(3_000), keys[2_000..].iter().rev().cloned().collect()),
        (all.after(&keys[1_999]).limit(2_000), keys[2_000..4_000].to_vec()),
    ] {
        let asked = range.clone();
        let read = store.read(move |tx| {
            let range = range.clone();
            async move { tx.range(range).await }
        });
        let found: Vec<_> = read.await.map_err(|error: StoreError| error.to_string()).unwrap();
        assert!(found.iter().all(|(_, value)| value.len() == 1_000));
        let found: Vec<Vec<u8>> = found.into_iter().map(|(key, _)| key).collect();
        assert!(found == expected, "{asked:?} gave {} keys", found.len());
    }
}

#[tokio::test]
async fn what_is_stamped_can_be_read_beside() {
    let scratch = scratch!(what_is_stamped_can_be_read_beside);
    let store = scratch.empty();
    let log = Key::new().str("log");
    for n in 0..3 {
        let log = log.clone();
        let append = store.transact(move |tx| {
            let log = log.clone();
            async move {
                tx.set_stamped(log.clone().next_stamp(0), b"entry")?;
                // FoundationDB by itself would refuse this.
                tx.range(Range::children(&log)).await
            }
        });
        let seen: Result<_, StoreError> = append.await;
        assert_eq!(seen.unwrap().len(), n, "stamped keys of the same transaction are not seen");
    }
}

fn child(action: &str, scratch: &Scratch, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "control::store::fdb::tests::helper", "--nocapture", "--test-threads=1"]);
    command.env("FDBRAY_TEST_HELPER", action).envs(env.iter().copied()).stdout(Stdio::null());
    command.env("FDBRAY_TEST_PLACE", scratch.name());
    command
}

fn run(mut command: Command) -> ExitStatus {
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the child did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Not a test: what the children run.
#[tokio::test(flavor = "multi_thread")]
async fn helper() {
    let Ok(action) = std::env::var("FDBRAY_TEST_HELPER") else { return };
    let store = Scratch::of_parent(&std::env::var("FDBRAY_TEST_PLACE").unwrap());
    match action.as_str() {
        "leave" => leave(store).await,
        "doubt" => doubt(store).await,
        action => panic!("there is no helper for {action}"),
    }
}

/// Exits in the middle of everything.
async fn leave(store: Store) {
    let watch = store.read(|tx| async move { tx.watch(b"n") });
    let watch: Result<_, StoreError> = watch.await;
    tokio::spawn(watch.unwrap());
    for _ in 0..8 {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let _ = store.transact(|tx| async move { tx.add(b"n", 1) }).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    std::process::exit(7);
}

#[test]
fn a_process_exits_in_order_whatever_it_is_doing() {
    let scratch = scratch!(a_process_exits_in_order_whatever_it_is_doing);
    for _ in 0..20 {
        let status = run(child("leave", &scratch, &[]));
        assert_eq!(status.code(), Some(7), "{status}");
    }
}

/// Counts with results of which some are unknown, and says what it knows.
async fn doubt(store: Store) {
    let (mut certain, mut unknown) = (0, 0);
    for n in 0..300_u64 {
        match store.transact(|tx| async move { tx.add(b"sum", 1) }).await {
            Ok(()) => certain += 1,
            Err(StoreError::CommitUnknown) => unknown += 1,
            Err(error) => panic!("{error}"),
        }
        let key = Key::new().str("all").u64(n);
        let set = store.transact_idempotent(move |tx| {
            let key = key.clone();
            async move {
                tx.get(&key).await?;
                tx.set(&key, b"")
            }
        });
        let set: Result<(), StoreError> = set.await;
        set.unwrap();
    }
    let seen = store.read(|tx| async move {
        let all = tx.range(Range::children(&Key::new().str("all"))).await?;
        Ok::<_, StoreError>((all.len(), tx.get(b"sum").await?))
    });
    let (all, sum) = seen.await.unwrap();
    let sum = u64::from_le_bytes(sum.unwrap().try_into().unwrap());
    assert_eq!(all, 300);
    assert!(
        (certain..=certain + unknown).contains(&sum),
        "{certain} certain, {unknown} unknown, {sum} counted"
    );
    assert!(unknown > 0, "FoundationDB's client was told to make trouble");
}

#[test]
fn unknown_results_are_told_and_settled() {
    let scratch = scratch!(unknown_results_are_told_and_settled);
    // FoundationDB's client has its own fault injection.
    let faults = [
        ("FDB_NETWORK_OPTION_CLIENT_BUGGIFY_ENABLE", ""),
        ("FDB_NETWORK_OPTION_CLIENT_BUGGIFY_SECTION_ACTIVATED_PROBABILITY", "100"),
        ("FDB_NETWORK_OPTION_CLIENT_BUGGIFY_SECTION_FIRED_PROBABILITY", "10"),
    ];
    let status = run(child("doubt", &scratch, &faults));
    assert!(status.success(), "{status}");
}
