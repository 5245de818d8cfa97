//! Clusters that several programs share: workers started by hand, drivers beside each other, leaving, TCP and secrets.

use crate::app;
use fdbray_tests::cluster::*;
use rustix::process::Signal;
use std::net::TcpListener;

const LIMIT: u64 = 30;

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_app"))
}

/// A program that joins the cluster as a driver.
fn driver(cluster: &Cluster, args: &[&str]) -> Run {
    app(args).env("FDBRAY_CLUSTER", cluster.url())
}

/// The processes that a driver's calls run in.
fn pids(cluster: &Cluster) -> Vec<u32> {
    let ended = driver(cluster, &["where", "100"]).succeeds(60);
    let pids = ended.stdout.lines().find_map(|line| line.strip_prefix("pids ")).unwrap_or_default();
    pids.split(' ').filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn two_workers_and_a_driver_make_a_cluster() {
    let cluster = cluster();
    let workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus=1"])];
    let mut expected = workers.each_ref().map(App::pid);
    expected.sort_unstable();
    // The second may take a moment to join.
    eventually(60, "both workers run calls", || (pids(&cluster) == expected).then_some(()));
}

#[test]
fn drivers_come_and_go_and_the_workers_stay() {
    let cluster = cluster();
    let worker = cluster.worker(&["--cpus", "2"]);
    for _ in 0..5 {
        driver(&cluster, &["add"]).succeeds(LIMIT).says_after_driver(&["3"]);
    }
    let state = driver(&cluster, &["everything"]).succeeds(60);
    assert!(state.stdout.ends_with("driver is empty: yes\nworker is empty: yes\n"), "{state}");
    assert_eq!(pids(&cluster), [worker.pid()]);
}

#[test]
fn two_drivers_share_a_worker_and_neither_starves() {
    let cluster = cluster();
    let _worker = cluster.worker(&["--cpus", "2"]);
    let mut first = cluster.driver(&["naps", "4000", "5"]);
    first.says(LIMIT, "ended 50");
    let mut second = cluster.driver(&["naps", "400", "5"]);
    second.says(LIMIT, "all 400");
    // The second was served while most of the first's calls, all submitted before, were waiting.
    let ended = first.said_so_far("ended ");
    assert!(ended < 3_500, "the second driver waited for {ended} calls of the first");
    first.says(60, "all 4000");
    first.succeeds(LIMIT);
    second.succeeds(LIMIT);
}

#[test]
fn long_calls_of_one_driver_leave_room_for_another() {
    let cluster = cluster();
    let _worker = cluster.worker(&["--cpus", "2"]);
    let mut first = cluster.driver(&["naps", "200", "100"]);
    first.says(LIMIT, "ended 2");
    driver(&cluster, &["add"]).succeeds(LIMIT).says_after_driver(&["3"]);
    assert!(first.said_so_far("ended ") < 200);
    first.says(60, "all 200");
}

#[test]
fn a_worker_that_is_told_to_leave_finishes_what_runs_and_the_rest_moves() {
    let cluster = cluster();
    let mut leaving = cluster.worker(&["--cpus", "1"]);
    let mut driver = cluster.driver(&["naps", "20", "100"]);
    driver.says(LIMIT, "ended 2");
    let _staying = cluster.worker(&["--cpus", "1"]);
    leaving.signal(Signal::TERM);
    let status = leaving.ends(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", leaving.log());
    driver.says(LIMIT, "all 20");
    driver.succeeds(LIMIT);
    assert_eq!(pids(&cluster).len(), 1);
}

#[test]
fn an_idle_worker_leaves_at_once_when_it_is_told_to() {
    let cluster = cluster();
    let mut worker = cluster.worker(&[]);
    driver(&cluster, &["add"]).succeeds(LIMIT);
    worker.signal(Signal::TERM);
    assert_eq!(worker.ends(LIMIT).code(), Some(0), "{}", worker.log());
    let alone = driver(&cluster, &["add"]).env("FDBRAY_UNSCHEDULABLE_AFTER", "200ms").fails(LIMIT);
    alone.complains(&["no worker in the cluster"]);
}

#[test]
fn a_worker_whose_call_does_not_end_leaves_when_its_grace_period_is_over() {
    let cluster = cluster().env("FDBRAY_GRACE_PERIOD", "300ms");
    let mut worker = cluster.worker(&["--cpus", "1"]);
    let mut driver = cluster.driver(&["naps", "1", "600000"]);
    driver.says(LIMIT, "driver");
    eventually(LIMIT, "the call runs", || worker_is_busy(&worker));
    worker.signal(Signal::TERM);
    assert_eq!(worker.ends(LIMIT).code(), Some(0), "{}", worker.log());
}

/// Whether one of the worker's threads runs a task.
fn worker_is_busy(worker: &App) -> Option<()> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", worker.pid())).ok()?;
    let names =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.into_iter().any(|name| name.trim() == "fdbray-task").then_some(())
}

#[test]
fn processes_reach_each_other_over_tcp() {
    let cluster = cluster();
    let workers =
        [cluster.worker(&["--listen", "127.0.0.1:0", "--cpus", "1"]), cluster.worker(&["--listen=[::1]:0"])];
    let run = driver(&cluster, &["everything"]).env("FDBRAY_LISTEN", "127.0.0.1:0").succeeds(60);
    assert!(run.stdout.ends_with("driver is empty: yes\nworker is empty: yes\n"), "{run}");
    drop(workers);
}

#[test]
fn a_secret_admits_those_who_know_it_and_names_itself_to_those_who_do_not() {
    let cluster = cluster().env("FDBRAY_SECRET", "open sesame").env("FDBRAY_UNSCHEDULABLE_AFTER", "500ms");
    let worker = cluster.worker(&["--listen", "0.0.0.0:0", "--advertise", "127.0.0.1"]);
    driver(&cluster, &["add"]).env("FDBRAY_SECRET", "open sesame").succeeds(LIMIT);
    for wrong in ["open barley", ""] {
        let run = driver(&cluster, &["errors"]).env("FDBRAY_SECRET", wrong);
        let ended = run.env("FDBRAY_UNSCHEDULABLE_AFTER", "500ms").succeeds(LIMIT);
        assert!(
            ended.stdout.contains("same: Incompatible") && ended.stdout.contains("secret"),
            "{wrong:?}: {ended}"
        );
        assert!(!ended.stdout.contains("sesame") && !ended.stderr.contains("sesame"));
    }
    assert!(worker.errors().contains("secret") && !worker.errors().contains("sesame"), "{}", worker.log());
}

#[test]
fn listening_beyond_this_machine_without_a_secret_is_refused() {
    let cluster = cluster();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let ended = app(&["--worker", "--cluster", &cluster.url(), "--listen", listen]).fails(LIMIT);
        ended.complains(&["Error:", listen, "secret"]);
    }
}

#[test]
fn a_port_that_is_taken_or_wrong_is_named() {
    let (cluster, taken) = (cluster(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = taken.local_addr().expect("its address").to_string();
    let worker =
        |listen: &str| app(&["--worker", "--cluster", &cluster.url(), "--listen", listen]).fails(LIMIT);
    worker(&address).complains(&["Error:", &address, "in use"]);
    worker("nowhere").complains(&["Error:", "nowhere", "HOST:PORT"]);
}
