//! What is left of actors when their worker dies.

use super::{LIMIT, cluster};
use fdbray::{Error, RemoteFuture, prelude::*, settle};
use fdbray_tests::actors::*;
use rustix::process::Signal;
use std::fs;

/// Kills the worker that an actor is in, which is idle.
async fn kill_worker_of(journal: &JournalHandle) -> u32 {
    let worker = within(LIMIT, "its process", journal.pid()).await.unwrap();
    send(worker, Signal::KILL);
    worker
}

/// What a call has come to that may have been under way when the worker died.
fn died(error: &Error) -> bool {
    matches!(error, Error::WorkerDied { .. } | Error::ActorEnded { .. })
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn an_actor_ends_with_its_worker() {
    let journal = Journal::remote();
    within(LIMIT, "a line", journal.write(0, 1)).await.unwrap();
    kill_worker_of(&journal).await;
    let error = within(LIMIT, "a call", journal.count()).await.unwrap_err();
    assert!(died(&error), "{error:?}");
    for _ in 0..3 {
        let error = within(LIMIT, "a later call", journal.count()).await.unwrap_err();
        assert!(matches!(error, Error::ActorEnded { .. }), "{error:?}");
    }
    // Another worker has come in its place.
    assert_eq!(within(LIMIT, "another actor", Member::remote(1).add(1)).await.unwrap(), 2);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn or_it_is_made_again_with_a_fresh_state() {
    let journal = Journal::options().max_restarts(1).remote();
    within(LIMIT, "a line", journal.write(0, 1)).await.unwrap();
    let first = kill_worker_of(&journal).await;
    let second = within(LIMIT, "it is made again", journal.pid_surely()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(within(LIMIT, "its count", journal.count()).await.unwrap(), 0);
    assert_eq!(within(LIMIT, "a line", journal.write(0, 1)).await.unwrap(), 1);
    // Once and no more.
    assert_eq!(kill_worker_of(&journal).await, second);
    let error = within(LIMIT, "a call", journal.count()).await.unwrap_err();
    assert!(died(&error), "{error:?}");
    let error = within(LIMIT, "retries do not help", journal.pid_surely()).await.unwrap_err();
    assert!(matches!(error, Error::ActorEnded { .. }), "{error:?}");
}

#[test]
fn an_actor_moves_without_spending_a_restart_when_its_worker_leaves_in_order() {
    let cluster = cluster();
    let workers: Vec<_> = (0..4).map(|_| cluster.worker(&["--cpus", "1"])).collect();
    let mut driver = cluster.driver(&["till-moves", "3"]);
    for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
        let pid: u32 = driver.says(60, "in ").parse().unwrap();
        let at = workers.iter().position(|worker| worker.pid() == pid).expect("it is in a worker");
        workers[at].signal(signal);
    }
    driver.says(60, "in ");
    driver.succeeds(60);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_call_that_ran_is_not_made_again_unless_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let hangs = dir.path().join("hangs");
    let journal = Journal::options().max_restarts(1).remote();
    let worker = within(LIMIT, "its process", journal.pid()).await.unwrap();
    let running = journal.hangs(hangs.to_str().unwrap());
    let surely = journal.write_surely(0, 1);
    file(&hangs).await;
    fs::remove_file(&hangs).unwrap();
    send(worker, Signal::KILL);
    let error = within(LIMIT, "it ran", running).await.unwrap_err();
    assert!(matches!(error, Error::WorkerDied { .. }), "{error:?}");
    assert_eq!(within(LIMIT, "one that is made again", surely).await.unwrap(), 1);
    assert!(!hangs.exists(), "it ran twice");
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_thousand_queued_calls_end_with_the_worker() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("blocked");
    let journal = Journal::remote();
    let worker = within(LIMIT, "its process", journal.pid()).await.unwrap();
    let running = journal.blocks(blocked.to_str().unwrap());
    let queued: Vec<_> = (0..1_000).map(|n| journal.write(0, n)).collect();
    file(&blocked).await;
    send(worker, Signal::KILL);
    let error = within(LIMIT, "the one that ran", running).await.unwrap_err();
    assert!(died(&error), "{error:?}");
    for result in within(LIMIT, "the queued ones", settle(queued)).await {
        let error = result.unwrap_err();
        assert!(died(&error), "{error:?}");
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn or_run_in_order_in_the_actor_that_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("blocked");
    let journal = Journal::options().max_restarts(1).remote();
    let worker = within(LIMIT, "its process", journal.pid()).await.unwrap();
    let running = journal.blocks(blocked.to_str().unwrap());
    let queued: Vec<RemoteFuture<usize>> = (0..1_000).map(|n| journal.write_surely(0, n)).collect();
    file(&blocked).await;
    send(worker, Signal::KILL);
    let error = within(LIMIT, "the one that ran", running).await.unwrap_err();
    assert!(matches!(error, Error::WorkerDied { .. }), "{error:?}");
    let counts = within(LIMIT, "the queued ones", settle(queued)).await;
    assert!(counts.into_iter().map(Result::unwrap).eq(1..=1_000));
    let lines = within(LIMIT, "the lines", journal.lines()).await.unwrap();
    assert_eq!(lines, (0..1_000).map(|n| (0, n)).collect::<Vec<_>>());
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn calls_of_several_callers_keep_their_order_across_a_death() {
    let journal = Journal::options().max_restarts(1).remote();
    let worker = within(LIMIT, "its process", journal.pid()).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|caller| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let calls: Vec<_> = (0..500).map(|n| journal.write_surely(caller, n)).collect();
                settle(calls).await.into_iter().filter(|result| result.is_err()).count()
            })
        })
        .collect();
    within(LIMIT, "some are written", async {
        while journal.count().await.is_ok_and(|count| count < 100) {}
    })
    .await;
    send(worker, Signal::KILL);
    for writer in writers {
        assert_eq!(within(LIMIT, "all are written", writer).await.unwrap(), 0);
    }
    // Of each caller the new state has the last lines, as many as had not been answered before.
    let lines = within(LIMIT, "the lines", journal.lines()).await.unwrap();
    for caller in 0..4 {
        let own: Vec<u64> = lines.iter().filter(|(by, _)| *by == caller).map(|(_, n)| *n).collect();
        assert!(own.windows(2).all(|pair| pair[0] + 1 == pair[1]), "caller {caller}: {own:?}");
        assert!(own.last().is_none_or(|last| *last == 499), "caller {caller}: {own:?}");
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_constructor_is_run_again_when_its_worker_dies() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let worker = within(LIMIT, "a worker", pid::remote()).await.unwrap();
    let journal = Journal::remote_slowly(starts.to_str().unwrap(), 300);
    let written = journal.write(0, 1);
    file(&starts).await;
    send(worker, Signal::KILL);
    within(LIMIT, "it is made after all", journal.ready()).await.unwrap();
    assert_eq!(within(LIMIT, "a line", written).await.unwrap(), 1);
    assert_eq!(fs::read_to_string(&starts).unwrap(), "start\nstart\n");
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn unless_it_has_no_retries() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let worker = within(LIMIT, "a worker", pid::remote()).await.unwrap();
    let journal = Journal::options().retries(0).remote_slowly(starts.to_str().unwrap(), 600_000);
    let written = journal.write(0, 1);
    file(&starts).await;
    send(worker, Signal::KILL);
    let error = within(LIMIT, "it is not made", journal.ready()).await.unwrap_err();
    assert!(matches!(error, Error::WorkerDied { .. }), "{error:?}");
    let error = within(LIMIT, "nor called", written).await.unwrap_err();
    assert!(died(&error), "{error:?}");
    assert_eq!(fs::read_to_string(&starts).unwrap(), "start\n");
}
