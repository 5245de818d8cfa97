//! What only real processes, a real file and a real disk can show. Children are this test binary, run again.

mod helper;
mod killed;

use super::{Options, Sync};
use crate::control::store::key::Key;
use crate::control::store::{OpenError, Range, Store, StoreError, Watch};
use helper::Helper;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const QUICK: Options = Options {
    sync: Sync::None,
    lock_wait: Duration::from_millis(300),
    map_bytes: 1 << 20,
    limits: crate::control::store::Limits {
        key: 480,
        value: 100_000,
        transaction: 10_000_000,
        time: Duration::from_secs(5),
    },
};

/// Waits as long as it takes: these tests must not fail because the machine is slow.
const PATIENT: Options = Options { lock_wait: Duration::from_secs(60), ..QUICK };

async fn fill(store: &Store, n: u64) -> Result<(), StoreError> {
    store.transact(move |tx| async move { tx.set(Key::new().str("fill").u64(n), vec![7; 80_000]) }).await
}

async fn number(store: &Store, key: &'static [u8]) -> u64 {
    let value: Result<_, StoreError> = store.read(move |tx| async move { tx.get(key).await }).await;
    value.unwrap().map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
}

async fn watch(store: &Store, key: &'static [u8]) -> Watch {
    store.read(move |tx| async move { tx.watch(key) }).await.unwrap()
}

fn open(directory: &Path, options: Options) -> Store {
    Store::lmdb(directory, options).unwrap()
}

#[tokio::test]
async fn what_is_committed_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let store = open(directory.path(), Options { sync: Sync::Full, ..QUICK });
        assert_eq!(number(&store, b"n").await, n);
        store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    }
}

#[tokio::test]
async fn two_stores_of_one_process_share_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let one = open(directory.path(), QUICK);
    let link = directory.path().with_extension("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let other = open(&link, QUICK);
    one.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    assert_eq!(number(&other, b"n").await, 1);
    let error = Store::lmdb(directory.path(), Options { sync: Sync::Full, ..QUICK }).unwrap_err();
    assert!(error.to_string().contains("sync=none"), "{error}");
    drop(one);
    assert_eq!(number(&other, b"n").await, 1, "one of them may close");
    std::fs::remove_file(link).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_transactions_at_once_share_commits_and_fail_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let tasks: Vec<_> = (0..500_u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = store.transact(move |tx| async move {
                    tx.add(b"n", 1)?;
                    tx.set(Key::new().u64(n), b"")?;
                    if n % 7 == 0 { Err(StoreError::Unreachable("on purpose".into())) } else { Ok(()) }
                });
                run.await.is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += u64::from(task.await.unwrap());
    }
    assert_eq!(succeeded, 500 - 72);
    assert_eq!(number(&store, b"n").await, succeeded);
    let last = store.read(|tx| async move { tx.range(Range::new(b"", b"n").reverse()).await });
    let last: Result<Vec<_>, StoreError> = last.await;
    assert_eq!(last.unwrap().len() as u64, succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_grows_for_whoever_fills_it_and_for_everybody_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    for n in 0..50 {
        fill(&store, n).await.unwrap();
    }
    let mut other = Helper::start("grow", directory.path());
    other.expect("done");
    let all: Result<Vec<_>, StoreError> =
        store.read(|tx| async move { tx.range(Range::prefix(b"")).await }).await;
    assert_eq!(all.unwrap().len(), 200);
    fill(&store, 500).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_may_need_a_map_many_times_larger() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let large = store.transact(|tx| async move {
        (0..90_u64).try_for_each(|n| tx.set(Key::new().u64(n), vec![1; 100_000]))?;
        Ok::<_, StoreError>(())
    });
    large.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transactions_at_once_are_spread_over_several_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let large = |task: u64| {
        store.transact_stamped(move |tx| async move {
            (0..60_u64).try_for_each(|n| tx.set(Key::new().u64(task).u64(n), vec![1; 100_000]))?;
            Ok::<_, StoreError>(())
        })
    };
    let all = futures_util::future::join_all((0..12).map(large)).await;
    let stamps: Vec<[u8; 10]> = all.into_iter().map(|result| result.unwrap().1.unwrap()).collect();
    assert!(stamps.is_sorted(), "in the order in which they came");
    assert_ne!(stamps[0][..8], stamps[11][..8]);
    let all: Result<Vec<_>, StoreError> =
        store.read(|tx| async move { tx.range(Range::prefix(b"")).await }).await;
    assert_eq!(all.unwrap().len(), 12 * 60);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("data.mdb"), vec![b'x'; 100_000]).unwrap();
    let error = Store::lmdb(directory.path(), QUICK).unwrap_err();
    assert!(matches!(&error, OpenError::NotAStore { .. }), "{error}");
    assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_path_that_cannot_be_used_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::lmdb(file.path(), QUICK).unwrap_err();
    assert!(matches!(&error, OpenError::Path { .. }), "{error}");
    let error = Store::lmdb("/proc/nowhere", QUICK).unwrap_err();
    assert!(error.to_string().contains("/proc/nowhere"), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused_by_its_version() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), QUICK));
    super::environment::tests::write_newer_format(directory.path());
    let error = Store::lmdb(directory.path(), QUICK).unwrap_err();
    assert!(matches!(&error, OpenError::NewerFormat { format: 2, .. }), "{error}");
    assert!(error.to_string().contains("fdbray 9.9.9"), "{error}");
}

#[tokio::test]
async fn awaiting_something_else_than_the_store_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    let stuck = store.transact(|tx| async move {
        tx.set(b"a", b"")?;
        std::future::pending::<()>().await;
        Ok::<_, StoreError>(())
    });
    assert!(matches!(stuck.await, Err(StoreError::ForeignAwait)));
    let waits_for_itself = store.transact(|tx| async move {
        tokio::task::yield_now().await;
        tx.set(b"a", b"")
    });
    waits_for_itself.await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_nobody_waits_for_any_more_need_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    for _ in 0..100 {
        drop(store.transact(|tx| async move { tx.add(b"n", 1) }));
    }
    assert_eq!(number(&store, b"n").await, 0);
}

#[tokio::test]
async fn watches_of_a_store_that_closes_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    let watch = watch(&store, b"n").await;
    drop(store);
    assert!(matches!(watch.await, Err(StoreError::Closed)));
}
