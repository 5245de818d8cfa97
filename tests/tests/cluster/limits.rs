//! Limits: what calls need and workers have, what may be pending, and trees of calls without end.

use crate::app;
use fdbray::{Error, settle};
use fdbray_tests::cluster::*;

const LIMIT: u64 = 60;

#[fdbray::test(workers = 1, cpus = 2)]
async fn no_more_run_at_once_than_there_are_cpus() {
    let most = |results: Vec<fdbray::Result<u64>>| results.into_iter().map(|n| n.unwrap()).max();
    let whole = settle((0..20).map(|_| crowd::remote(20)));
    assert_eq!(most(within(LIMIT, "one cpu each", whole).await), Some(2));
    let two = crowd::options().cpus(2.0);
    let two = settle((0..5).map(|_| two.remote(20)));
    assert_eq!(most(within(LIMIT, "two cpus each", two).await), Some(1));
    let half = crowd::options().cpus(0.5);
    let half = settle((0..40).map(|_| half.remote(50)));
    assert_eq!(most(within(LIMIT, "half a cpu each", half).await), Some(4));
}

#[fdbray::test(workers = 1, cpus = 8)]
async fn no_more_are_under_way_at_once_than_the_call_allows() {
    let most = |results: Vec<fdbray::Result<u64>>| results.into_iter().map(|n| n.unwrap()).max();
    let three = crowd::options().concurrency(3);
    // Clones share the bound, and so do single calls.
    let mut calls = three.map((0..20).map(|_| 10));
    calls.extend((0..5).map(|_| three.clone().remote(10)));
    calls.push(three.submit(10).await);
    assert_eq!(most(within(LIMIT, "three at once", settle(calls)).await), Some(3));
    let one = crowd::options().cpus(0.1).concurrency(0).map([5; 10]);
    assert_eq!(most(within(LIMIT, "one at once", settle(one)).await), Some(1));
}

#[test]
fn named_resources_gpus_and_memory_are_shared_out_like_cpus() {
    let offer = |run: Run| {
        let run = run.env("FDBRAY_RESOURCES", "licence=1,disk=0.5").env("FDBRAY_GPUS", 1.5);
        run.env("FDBRAY_MEMORY", "1GiB").env("FDBRAY_UNSCHEDULABLE_AFTER", "200ms")
    };
    offer(app(&["needs", "licence"])).succeeds(30).says_after_driver(&["submitted", "licence: 1"]);
    offer(app(&["needs", "gpus"])).succeeds(30).says_after_driver(&["submitted", "gpus: 1"]);
    offer(app(&["shares"])).succeeds(30).says_after_driver(&[
        "0.5 of licence=1: 2 at once",
        "0.75 of gpus=1.5: 2 at once",
        "400MB of 1GiB: 2 at once",
    ]);
}

#[test]
fn what_no_worker_has_is_unschedulable_with_the_reason() {
    for (what, reason) in
        [("gpus", "has 0 gpus"), ("much", "1000 cpus"), ("memory", "memory"), ("licence", "licence")]
    {
        let ended = app(&["needs", what]).env("FDBRAY_UNSCHEDULABLE_AFTER", "300ms").succeeds(30);
        let line = ended.stdout.lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("{what}: Unschedulable")), "{ended}");
        assert!(line.contains(reason) && line.contains("crowd"), "{ended}");
    }
}

#[test]
fn without_workers_calls_are_unschedulable_and_say_that_there_are_none() {
    let ended =
        app(&["needs", "nothing"]).env("FDBRAY_WORKERS", 0).env("FDBRAY_UNSCHEDULABLE_AFTER", "300ms");
    let ended = ended.succeeds(30);
    let line = ended.stdout.lines().last().unwrap_or_default();
    assert!(
        line.starts_with("nothing: Unschedulable") && line.contains("no worker in the cluster"),
        "{ended}"
    );
}

#[test]
fn waiting_work_runs_when_a_worker_that_fits_joins() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_app"));
    let mut waiting = cluster.driver(&["needs", "licence"]);
    waiting.says(30, "submitted");
    let _poor = cluster.worker(&["--cpus", "2"]);
    let rich = cluster.worker(&["--cpus", "1", "--resource", "licence=1"]);
    waiting.says(30, "licence: 1");
    waiting.succeeds(30);
    drop(rich);
}

#[test]
fn what_is_pending_is_bounded_by_overloaded_and_submit_waits_for_room() {
    let ended = app(&["overload"]).env("FDBRAY_MAX_PENDING_BYTES", "1MB").succeeds(60);
    ended.says_after_driver(&[
        "some ran: true, some were refused: true",
        "submitted: 300",
        "some of a batch were refused: true",
    ]);
}

#[test]
fn a_fork_bomb_of_nested_calls_is_bounded_and_others_run_beside_it() {
    let ended = app(&["bombs"]).env("FDBRAY_MAX_PENDING_BYTES", "1MB").env("FDBRAY_CPUS", 2).succeeds(100);
    ended.says_after_driver(&["async: bounded", "sync: bounded", "beside them: 2", "memory is bounded: yes"]);
}

#[test]
fn few_threads_may_park_and_nothing_hangs() {
    let ended = app(&["parks"]).env("FDBRAY_MAX_PARKED", 4).env("FDBRAY_CPUS", 2).succeeds(60);
    ended.says_after_driver(&["all 100 ended, some with values: true", "a tree: Ok(55)"]);
}

#[fdbray::test]
async fn options_out_of_range_are_refused() {
    for call in
        [crowd::options().cpus(-1.0), crowd::options().cpus(f64::NAN), crowd::options().gpus(f64::INFINITY)]
    {
        let result = within(LIMIT, "a call that cannot be", call.remote(1)).await;
        assert!(matches!(result, Err(Error::Control { .. } | Error::Unschedulable { .. })), "{result:?}");
    }
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn a_call_that_takes_long_holds_up_nothing_that_could_run_elsewhere() {
    for round in 0..10 {
        // Short calls are sent ahead in great numbers; then one of them all is long.
        let before = settle(add::map((0..2_000).map(|i| (i, round))));
        assert!(within(LIMIT, "short calls", before).await.iter().all(Result::is_ok));
        let long = doze::remote(1, 600_000);
        let after = settle(add::map((0..2_000).map(|i| (i, round))));
        assert!(within(LIMIT, "short calls beside a long one", after).await.iter().all(Result::is_ok));
        long.cancel();
    }
}
