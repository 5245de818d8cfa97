//! A FoundationDB that is killed, comes back and stays away, under load.

use crate::PROGRAM;
use fdbray::ClusterUrl;
use fdbray_tests::crash::{Cluster, FoundationDb, within};
use fdbray_worker::control::store::{Store, StoreError};
use rustix::process::Signal;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// What came of many additions.
#[derive(Default)]
struct Count {
    certain: AtomicU64,
    unknown: AtomicU64,
    away: AtomicU64,
    stop: AtomicBool,
}

async fn add_until_stopped(store: Store, count: Arc<Count>) {
    while !count.stop.load(Ordering::SeqCst) {
        let added = store.transact(|tx| async move { tx.add(b"sum", 1) }).await;
        let counted = match added {
            Ok(()) => &count.certain,
            Err(StoreError::CommitUnknown) => &count.unknown,
            Err(StoreError::Unreachable(_)) => &count.away,
            Err(error) => panic!("{error}"),
        };
        counted.fetch_add(1, Ordering::SeqCst);
    }
}

async fn answers(store: &Store) {
    let begun = Instant::now();
    loop {
        let read = store.read(|tx| async move { tx.get(b"sum").await });
        let read: Result<_, StoreError> = read.await;
        match read {
            Ok(_) => return,
            Err(error) => assert!(error.retryable() && begun.elapsed() < Duration::from_secs(90), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_under_load_loses_nothing_that_was_committed() {
    let name = "a_database_that_is_killed_under_load_loses_nothing_that_was_committed";
    let Some(mut database) = FoundationDb::start(name) else { return };
    let url: ClusterUrl = database.url().parse().unwrap();
    let store = Store::open(&url).unwrap();
    let watch = store.read(|tx| async move { tx.watch(b"later") });
    let watch: Result<_, StoreError> = watch.await;
    let count = Arc::new(Count::default());
    let adding: Vec<_> =
        (0..8).map(|_| tokio::spawn(add_until_stopped(store.clone(), count.clone()))).collect();
    for _ in 0..3 {
        let before = count.certain.load(Ordering::SeqCst);
        while count.certain.load(Ordering::SeqCst) < before + 100 {
            sleep(Duration::from_millis(10)).await;
        }
        database.kill();
        sleep(Duration::from_secs(1)).await;
        database.run();
        answers(&store).await;
    }
    database.kill();
    let begun = Instant::now();
    let away = store.transact_idempotent(|tx| async move { tx.set(b"x", b"") });
    let away: Result<(), StoreError> = within(60, "a call to a database that is away fails", away).await;
    let error = away.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    assert!(begun.elapsed() >= Duration::from_secs(9), "it waits for a moment: {:?}", begun.elapsed());
    assert!(error.to_string().contains("fdb.cluster"), "{error}");
    database.run();
    answers(&store).await;
    count.stop.store(true, Ordering::SeqCst);
    for task in adding {
        task.await.unwrap();
    }
    let sum = store.read(|tx| async move { tx.get(b"sum").await });
    let sum: Result<_, StoreError> = sum.await;
    let sum = u64::from_le_bytes(sum.unwrap().unwrap().try_into().unwrap());
    let [certain, unknown, away] =
        [&count.certain, &count.unknown, &count.away].map(|n| n.load(Ordering::SeqCst));
    assert!(
        (certain..=certain + unknown).contains(&sum),
        "{sum} of {certain}, {unknown} unknown, {away} away"
    );
    store.transact(|tx| async move { tx.set(b"later", b"") }).await.unwrap();
    within(60, "the watch survives", watch.unwrap()).await.unwrap();
}

#[test]
fn while_foundationdb_is_away_for_a_minute_nobody_is_declared_dead_and_calls_go_on() {
    let name = "while_foundationdb_is_away_for_a_minute_nobody_is_declared_dead_and_calls_go_on";
    let Some(database) = FoundationDb::start(name) else { return };
    let cluster = Cluster::at(PROGRAM, database.url()).env("CRASH_LOG", "warn");
    let workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["steady", "75"]);
    driver.says(30, "steady");
    database.signal(Signal::STOP);
    let mut late = cluster.driver(&["one-call"]);
    assert!(!late.ends(40).success());
    assert!(late.errors().contains("did not answer within 10 s"), "{}", late.errors());
    thread::sleep(Duration::from_secs(50));
    database.signal(Signal::CONT);
    driver.says(60, "made");
    driver.succeeds(10);
    let mut after = cluster.driver(&["everywhere", "2"]);
    after.succeeds(30);
    for worker in &workers {
        assert!(!worker.errors().contains("declared dead"), "{}", worker.log());
    }
}
