//! What becomes of actors when those die who made them, hold them or call them.

use super::{LIMIT, cluster};
use fdbray::{Error, ProcessId, prelude::*, settle};
use fdbray_tests::actors::*;
use rustix::process::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// A directory, and two files in it.
fn files() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (end, other) = (dir.path().join("end"), dir.path().join("other"));
    (dir, end, other)
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

/// How many lines an actor had when it ended, which it has.
async fn ended_with(end: &Path) -> usize {
    file(end).await;
    fs::read_to_string(end).unwrap().parse().unwrap()
}

async fn kill(worker: ProcessId) {
    let pid = within(LIMIT, "its process", pid::options().on(worker).remote()).await.unwrap();
    send(pid, Signal::KILL);
}

/// What a call comes to whose actor's owner died.
fn is_without_owner(error: &Error) -> bool {
    matches!(error, Error::OwnerDied { .. } | Error::ActorEnded { .. })
}

/// An actor in `there` that one in `here` has made and holds, so that it is owned by that worker.
async fn owned(here: ProcessId, there: ProcessId, end: &Path) -> (KeeperHandle, JournalHandle) {
    let keeper = Keeper::options().on(here).remote_making_at(path(end), there);
    let journal = within(LIMIT, "it is shown", keeper.shown()).await.unwrap().unwrap();
    let pids =
        (within(LIMIT, "a process", keeper.pid()).await, within(LIMIT, "another", journal.pid()).await);
    assert_ne!(pids.0.unwrap(), pids.1.unwrap());
    (keeper, journal)
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn an_actor_ends_with_its_owner_and_its_worker_goes_on() {
    let (_dir, end, _) = files();
    let [here, there] = workers().await;
    let (_keeper, journal) = owned(here, there, &end).await;
    assert_eq!(within(LIMIT, "a line", journal.write(0, 1)).await.unwrap(), 1);
    let worker = journal.pid().await.unwrap();
    kill(here).await;
    assert_eq!(ended_with(&end).await, 1);
    for _ in 0..3 {
        let error = within(LIMIT, "a call", journal.count()).await.unwrap_err();
        assert!(is_without_owner(&error), "{error:?}");
    }
    let error = within(LIMIT, "who waits for it", journal.ready()).await.unwrap_err();
    assert!(is_without_owner(&error), "{error:?}");
    let other = Journal::options().on(there).remote();
    assert_eq!(within(LIMIT, "another actor", other.pid()).await.unwrap(), worker);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn with_its_owner_end_the_call_that_runs_and_a_thousand_that_queue() {
    let (_dir, end, hangs) = files();
    let [here, there] = workers().await;
    let (_keeper, journal) = owned(here, there, &end).await;
    let running = journal.hangs(path(&hangs));
    let queued: Vec<_> = (0..1_000).map(|n| journal.write_surely(0, n)).collect();
    file(&hangs).await;
    kill(here).await;
    let error = within(LIMIT, "the one that ran", running).await.unwrap_err();
    assert!(is_without_owner(&error), "{error:?}");
    for result in within(LIMIT, "the queued ones", settle(queued)).await {
        let error = result.unwrap_err();
        assert!(is_without_owner(&error), "{error:?}");
    }
    assert_eq!(ended_with(&end).await, 0);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn who_dies_with_a_thousand_queued_calls_holds_nobody_up() {
    let (_dir, end, hangs) = files();
    let [here, there] = workers().await;
    let journal = Journal::options().on(there).remote_ending_with(path(&end));
    let running = journal.hangs(path(&hangs));
    file(&hangs).await;
    let written = hangs.with_extension("written");
    let bundle = Bundle { name: "for the caller".into(), journals: vec![journal.clone()] };
    let caller = write_on::options().on(here).remote(bundle, 7, 1_000, path(&written));
    file(&written).await;
    let own: Vec<_> = (0..100).map(|n| journal.write(0, n)).collect();
    kill(here).await;
    let error = within(LIMIT, "the caller is dead", caller).await.unwrap_err();
    assert!(matches!(error, Error::WorkerDied { .. }), "{error:?}");
    running.cancel();
    for result in within(LIMIT, "our lines", settle(own)).await {
        result.unwrap();
    }
    // Of those of the dead caller none has run, or the first ones in order.
    let lines = within(LIMIT, "the lines", journal.lines()).await.unwrap();
    let of = |caller| lines.iter().filter(move |(by, _)| *by == caller).map(|(_, n)| *n);
    assert!(of(0).eq(0..100));
    let dead = of(7).count() as u64;
    assert!(of(7).eq(0..dead));
    // Nothing that it held keeps the actor.
    drop(journal);
    assert_eq!(ended_with(&end).await as u64, 100 + dead);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn an_actor_ends_when_the_only_one_dies_that_holds_it() {
    let (_dir, end, _) = files();
    let [here, there] = workers().await;
    let journal = Journal::options().on(there).remote_ending_with(path(&end));
    let keeper = Keeper::options().on(here).remote(&journal);
    assert_eq!(within(LIMIT, "a line", keeper.write(1)).await.unwrap(), 1);
    drop(journal);
    assert_eq!(within(LIMIT, "another", keeper.write(2)).await.unwrap(), 2);
    assert!(!end.exists(), "ended though it is held");
    kill(here).await;
    assert_eq!(ended_with(&end).await, 2);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn or_when_that_one_is_killed_as_an_actor() {
    let (_dir, end, _) = files();
    let journal = Journal::remote_ending_with(path(&end));
    let keeper = Keeper::remote(&journal);
    assert_eq!(within(LIMIT, "a line", keeper.write(1)).await.unwrap(), 1);
    drop(journal);
    within(LIMIT, "it is killed", keeper.kill()).await.unwrap();
    assert_eq!(ended_with(&end).await, 1);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn unless_that_one_may_be_made_again_which_needs_it() {
    let (_dir, end, _) = files();
    let [here, there] = workers().await;
    let journal = Journal::options().on(there).remote_ending_with(path(&end));
    let keeper = Keeper::options().max_restarts(1).prefer(here).remote(&journal);
    assert_eq!(within(LIMIT, "a line", keeper.write(1)).await.unwrap(), 1);
    drop(journal);
    kill(here).await;
    // Calls that may have run when it died end; then it is another one, and holds the same.
    let count = within(LIMIT, "it is made again", async {
        loop {
            match keeper.write(2).await {
                Ok(count) => return count,
                Err(error) => assert!(matches!(error, Error::WorkerDied { .. }), "{error:?}"),
            }
        }
    });
    assert_eq!(count.await, 2);
    assert!(!end.exists(), "ended though it is needed");
    drop(keeper);
    assert_eq!(ended_with(&end).await, 2);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn an_argument_that_is_never_decoded_holds_what_is_inside_it() {
    let (_dir, end, _) = files();
    let bundle = Bundle { name: "kept".into(), journals: vec![Journal::remote_ending_with(path(&end))] };
    let waits = write_by::remote(&bundle, late::remote(0, 600_000), 1);
    drop(bundle);
    within(LIMIT, "a while", late::remote(0, 100)).await.unwrap();
    assert!(!end.exists(), "ended though a call holds it");
    waits.cancel();
    assert_eq!(ended_with(&end).await, 0);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn so_does_a_result_that_nobody_awaits() {
    let (_dir, end, _) = files();
    let result = bundle::remote(path(&end));
    let same = result.clone();
    within(LIMIT, "it is there", fdbray::wait([&result], 1)).await;
    drop(result);
    within(LIMIT, "a while", late::remote(0, 100)).await.unwrap();
    assert!(!end.exists(), "ended though a result holds it");
    drop(same);
    assert_eq!(ended_with(&end).await, 0);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn and_one_whose_owner_dies_lets_go_of_it() {
    let (_dir, end, _) = files();
    let [here, there] = workers().await;
    let journal = Journal::options().on(there).remote_ending_with(path(&end));
    // Then it is in a value alone that the other worker owns.
    let keeper = Keeper::options().on(here).remote(&journal);
    within(LIMIT, "it is put", keeper.puts()).await.unwrap();
    within(LIMIT, "let go", keeper.releases()).await.unwrap();
    drop(journal);
    within(LIMIT, "a while", late::remote(0, 100)).await.unwrap();
    assert!(!end.exists(), "ended though a value holds it");
    kill(here).await;
    assert_eq!(ended_with(&end).await, 0);
}

/// How an actor ends whose driver, which has called it a thousand times, goes this way.
fn ends_with_its_driver(way: &str) {
    let cluster = cluster();
    let mut worker = cluster.worker(&["--cpus", "2"]);
    let (end, hangs) = (cluster.file("end"), cluster.file("hangs"));
    let mut driver = cluster.driver(&[way, path(&end), path(&hangs)]);
    driver.says(60, "has called");
    match way {
        "journal-leaves" => driver.succeeds(60),
        _ => driver.kill(),
    }
    eventually(60, "the actor ends", || end.exists().then_some(()));
    assert_eq!(fs::read_to_string(&end).unwrap(), "3");
    // The worker goes on, for another driver.
    fs::remove_file(&end).unwrap();
    fs::remove_file(&hangs).unwrap();
    cluster.driver(&["journal-leaves", path(&end), path(&hangs)]).succeeds(60);
    eventually(60, "that one's ends", || end.exists().then_some(()));
    worker.signal(Signal::TERM);
    worker.succeeds(60);
}

#[test]
fn an_actor_ends_with_its_driver_that_is_killed() {
    ends_with_its_driver("journal-stays");
}

#[test]
fn and_with_one_that_leaves() {
    ends_with_its_driver("journal-leaves");
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn stop_waits_for_a_method_that_never_returns_until_that_is_cancelled() {
    let (_dir, end, hangs) = files();
    let journal = Journal::remote_ending_with(path(&end));
    let running = journal.hangs(path(&hangs));
    file(&hangs).await;
    let before = journal.write(0, 1);
    let stopping = tokio::spawn(journal.stop());
    within(LIMIT, "a while", late::remote(0, 200)).await.unwrap();
    assert!(!stopping.is_finished() && !end.exists(), "stopped though a method runs");
    running.cancel();
    within(LIMIT, "it stops", stopping).await.unwrap().unwrap();
    assert_eq!(within(LIMIT, "what came before", before).await.unwrap(), 1);
    assert_eq!(ended_with(&end).await, 1);
    let error = within(LIMIT, "a call after the end", journal.count()).await.unwrap_err();
    assert!(has_ended(&error), "{error:?}");
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn and_ends_with_the_worker_of_one_that_cannot_be() {
    let (_dir, _, blocked) = files();
    let journal = Journal::options().max_restarts(0).remote();
    let worker = within(LIMIT, "its process", journal.pid()).await.unwrap();
    let running = journal.blocks(path(&blocked));
    let stopping = journal.stop();
    file(&blocked).await;
    running.cancel();
    assert!(matches!(within(LIMIT, "it is cancelled", running).await, Err(Error::Cancelled { .. })));
    send(worker, Signal::KILL);
    let error = within(LIMIT, "nor does it stop", stopping).await.unwrap_err();
    assert!(matches!(error, Error::WorkerDied { .. } | Error::ActorEnded { .. }), "{error:?}");
    let error = within(LIMIT, "a call after the end", journal.count()).await.unwrap_err();
    assert!(has_ended(&error), "{error:?}");
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_method_that_never_returns_outlives_the_last_handle_until_it_is_cancelled() {
    let (_dir, end, hangs) = files();
    let journal = Journal::remote_ending_with(path(&end));
    let running = journal.hangs(path(&hangs));
    drop(journal);
    file(&hangs).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!running.is_settled() && !end.exists(), "ended though a call runs");
    running.cancel();
    assert_eq!(ended_with(&end).await, 0);
}
