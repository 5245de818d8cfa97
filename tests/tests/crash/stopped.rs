//! Processes that are stopped for a while: briefly, which nobody notices, and for so long that they are declared dead.

use crate::PROGRAM;
use fdbray::settle;
use fdbray_tests::crash::{
    Cluster, all_gone, children_of, counted, eventually, is_alive, send, starts, within, work,
};
use rustix::process::Signal;
use std::{collections::BTreeMap, path::Path, process, thread, time::Duration};

/// How often each call started.
fn count(file: &Path) -> BTreeMap<u64, u32> {
    let mut count = BTreeMap::new();
    starts(file).iter().for_each(|start| *count.entry(start.n).or_default() += 1);
    count
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn a_worker_that_is_stopped_for_a_second_loses_nothing_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let workers = children_of(process::id(), 2);
    let calls = counted::map((0..4_000_u64).map(|n| (n, 500_u64, file.clone())));
    tokio::time::sleep(Duration::from_millis(100)).await;
    send(workers[0], Signal::STOP);
    tokio::time::sleep(Duration::from_secs(1)).await;
    send(workers[0], Signal::CONT);
    for (n, value) in within(60, "the calls end", settle(calls)).await.into_iter().enumerate() {
        assert_eq!(value.unwrap(), n as u64);
    }
    assert_eq!(count(Path::new(&file)), (0..4_000).map(|n| (n, 1)).collect(), "each started once");
    assert_eq!(children_of(process::id(), 2), workers);
}

/// A worker is stopped with calls in flight and never continued.
async fn stop_for_good(workers: usize) {
    let stopped = children_of(process::id(), workers)[0];
    let calls = work::map((0..4_000_u64).map(|n| (n, 500_u64)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    send(stopped, Signal::STOP);
    for (n, value) in within(60, "the calls end elsewhere", settle(calls)).await.into_iter().enumerate() {
        assert_eq!(value.unwrap(), n as u64);
    }
    eventually(20, "the stopped worker has gone", || (!is_alive(stopped)).then_some(()));
    assert!(!children_of(process::id(), workers).contains(&stopped));
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn of_two_workers_one_that_stays_stopped_is_declared_dead_and_replaced() {
    stop_for_good(2).await;
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn an_only_worker_that_stays_stopped_is_declared_dead_and_replaced() {
    stop_for_good(1).await;
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn without_retries_nothing_that_a_stopped_worker_had_starts_twice() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let stopped = children_of(process::id(), 1)[0];
    let calls = counted::options().retries(0).map((0..4_000_u64).map(|n| (n, 500_u64, file.clone())));
    tokio::time::sleep(Duration::from_millis(100)).await;
    send(stopped, Signal::STOP);
    let results = within(60, "the calls end", settle(calls)).await;
    let values = results.iter().filter(|result| result.is_ok()).count();
    assert!(values > 3_000, "what the stopped worker had not started ran elsewhere: {values} values");
    assert!(count(Path::new(&file)).values().all(|n| *n == 1), "nothing started twice");
}

#[test]
fn a_stopped_driver_goes_on_with_its_private_cluster() {
    let cluster = Cluster::new(PROGRAM);
    let mut driver =
        cluster.private(&["batch", "2000", "5000", &cluster.file("starts").display().to_string()]);
    driver.says(20, "submitted");
    let workers = children_of(driver.pid(), 1);
    driver.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(10));
    driver.signal(Signal::CONT);
    driver.says(60, "all");
    driver.succeeds(10);
    all_gone(5, &workers);
    assert_eq!(count(&cluster.file("starts")), (0..2_000).map(|n| (n, 1)).collect(), "each started once");
}

#[test]
fn a_stopped_driver_of_a_shared_cluster_ends_what_is_pending_when_it_wakes() {
    let cluster = Cluster::new(PROGRAM);
    let _workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["settles", "20000", "1000"]);
    driver.says(20, "submitted");
    driver.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(10));
    driver.signal(Signal::CONT);
    driver.says(60, "ends");
    driver.succeeds(10);
    // The workers are free for others.
    let mut other = cluster.driver(&["everywhere", "2"]);
    other.succeeds(30);
}

#[test]
fn a_worker_of_a_shared_cluster_that_is_stopped_for_ten_seconds_comes_back_as_a_new_process() {
    let cluster = Cluster::new(PROGRAM);
    let file = cluster.file("starts").display().to_string();
    let workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let before = cluster.driver(&["everywhere", "2"]).says(30, "workers");
    // So long that the woken one can notice before the call that it was stopped in has ended.
    let mut driver = cluster.driver(&["batch", "100", "50000", &file]);
    driver.says(20, "submitted");
    eventually(20, "calls start", || (starts(Path::new(&file)).len() > 10).then_some(()));
    cluster.stop(&workers[0]);
    driver.says(60, "all");
    driver.succeeds(10);
    let started = starts(Path::new(&file)).len();
    thread::sleep(Duration::from_secs(5));
    workers[0].signal(Signal::CONT);
    let after = cluster.driver(&["everywhere", "2"]).says(40, "workers");
    let pid = format!("{}:", workers[0].pid());
    let incarnation = |seen: &str| seen.split('"').find(|who| who.starts_with(&pid)).map(str::to_owned);
    assert!(incarnation(&before).is_some() && incarnation(&after).is_some(), "{before} {after}");
    assert_ne!(incarnation(&before), incarnation(&after), "a new process");
    assert!(starts(Path::new(&file)).len() <= started + 1, "the woken one dropped what it had");
}

#[test]
fn a_worker_of_a_shared_cluster_that_is_stopped_for_a_second_stays() {
    let cluster = Cluster::new(PROGRAM);
    let workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["steady", "4"]);
    driver.says(30, "steady");
    workers[1].signal(Signal::STOP);
    thread::sleep(Duration::from_secs(1));
    workers[1].signal(Signal::CONT);
    driver.says(30, "made");
    driver.succeeds(10);
}
