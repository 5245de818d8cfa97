//! What is lost with a worker: futures that it owned, values that it kept, a place in a cluster that it was leaving.

use crate::PROGRAM;
use fdbray::Error;
use fdbray_tests::crash::{Cluster, big, big_once, children_of, eventually, send, starts, within};
use rustix::process::Signal;
use std::{path::Path, process, thread, time::Duration};

#[test]
fn a_future_ends_with_its_owner() {
    let cluster = Cluster::new(PROGRAM).env("FDBRAY_WORKERS", 2).env("FDBRAY_CPUS", 1);
    let mut driver = cluster.private(&["orphan", &cluster.file("starts").display().to_string()]);
    let owner = driver.says(30, "owner").parse().unwrap();
    send(owner, Signal::KILL);
    driver.says(30, "owner died");
    driver.succeeds(10);
}

const LARGE: usize = 4 << 20;

/// Has a worker make a large value, and kills it before the value was asked for.
async fn lose<T: Send + 'static>(future: &fdbray::RemoteFuture<T>) {
    let (done, _) = within(20, "the value is there", fdbray::wait([future], 1)).await;
    assert_eq!(done.len(), 1);
    send(children_of(process::id(), 1)[0], Signal::KILL);
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_large_value_that_dies_with_its_worker_is_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let value = big::remote(7, LARGE, &file);
    lose(&value).await;
    let value = within(30, "the value is computed again", value).await.unwrap();
    assert!(value.len() == LARGE && value.iter().all(|byte| *byte == 7));
    assert_eq!(starts(Path::new(&file)).len(), 2);
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_large_value_whose_retries_are_spent_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let value = big_once::remote(7, LARGE, &file);
    lose(&value).await;
    match within(30, "the future ends", value).await {
        Err(Error::ObjectLost { .. }) => {}
        other => panic!("{:?}", other.map(|value| value.len())),
    }
    assert_eq!(starts(Path::new(&file)).len(), 1);
}

#[test]
fn a_worker_that_is_killed_while_it_drains_loses_no_call() {
    let cluster = Cluster::new(PROGRAM);
    let file = cluster.file("starts").display().to_string();
    let mut workers = [cluster.worker(&["--cpus", "2"]), cluster.worker(&["--cpus", "2"])];
    cluster.driver(&["everywhere", "2"]).succeeds(30);
    let mut driver = cluster.driver(&["drains", &file]);
    driver.says(20, "submitted");
    eventually(20, "the first worker runs some", || {
        starts(Path::new(&file)).iter().any(|start| start.pid == workers[0].pid()).then_some(())
    });
    workers[0].signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    workers[0].kill();
    driver.says(60, "all");
    driver.succeeds(10);
}
