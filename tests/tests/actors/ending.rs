//! How actors end: by their last handle, in order, at once, or by a panic.

use super::LIMIT;
use fdbray::{Error, RemoteFuture, prelude::*, settle};
use fdbray_tests::actors::*;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// Where a journal says that it was dropped, and one that does.
fn ending() -> (TempDir, PathBuf, JournalHandle) {
    let dir = tempfile::tempdir().unwrap();
    let end = dir.path().join("end");
    let journal = Journal::remote_ending_with(end.to_str().unwrap());
    (dir, end, journal)
}

async fn has_ended<T: serde::de::DeserializeOwned + std::fmt::Debug>(call: RemoteFuture<T>) {
    let error = within(LIMIT, "a call after the end", call).await.unwrap_err();
    assert!(matches!(error, Error::ActorEnded { .. }), "{error:?}");
}

#[fdbray::test]
async fn with_its_last_handle_an_actor_ends_and_its_state_is_dropped() {
    let (_dir, end, journal) = ending();
    let other = journal.clone();
    within(LIMIT, "a line", journal.write(0, 1)).await.unwrap();
    drop(journal);
    assert_eq!(within(LIMIT, "another", other.write(0, 2)).await.unwrap(), 2);
    assert!(!end.exists(), "a handle is left");
    drop(other);
    file(&end).await;
    assert_eq!(fs::read_to_string(&end).unwrap(), "2");
}

#[fdbray::test]
async fn calls_that_were_made_are_done_though_no_handle_is_left() {
    let (_dir, end, journal) = ending();
    let written: Vec<_> = (0..100).map(|n| journal.write_slowly(0, n, 1)).collect();
    drop(journal);
    let counts = within(LIMIT, "all are written", settle(written)).await;
    assert!(counts.into_iter().map(Result::unwrap).eq(1..=100));
    file(&end).await;
    assert_eq!(fs::read_to_string(&end).unwrap(), "100");
}

#[fdbray::test]
async fn an_actor_that_nobody_ever_called_ends_too() {
    let (_dir, end, journal) = ending();
    drop(journal);
    file(&end).await;
}

#[fdbray::test]
async fn stop_lets_run_what_was_called_before() {
    let (_dir, end, journal) = ending();
    let written: Vec<_> = (0..50).map(|n| journal.write_slowly(0, n, 1)).collect();
    within(LIMIT, "it stops", journal.stop()).await.unwrap();
    assert!(written.iter().all(RemoteFuture::is_settled), "stopped before they ended");
    let counts = settle(written).await;
    assert!(counts.into_iter().map(Result::unwrap).eq(1..=50));
    file(&end).await;
    assert_eq!(fs::read_to_string(&end).unwrap(), "50");
    has_ended(journal.write(0, 50)).await;
    has_ended(journal.count()).await;
    let again = within(LIMIT, "it has stopped", journal.stop()).await.unwrap_err();
    assert!(matches!(again, Error::ActorEnded { .. }), "{again:?}");
}

#[fdbray::test]
async fn stop_waits_for_those_that_read() {
    let together = Together::remote();
    let reads: Vec<_> = (0..20).map(|_| together.reads(30)).collect();
    within(LIMIT, "it stops", together.stop()).await.unwrap();
    assert!(within(LIMIT, "the reads end", settle(reads)).await.iter().all(Result::is_ok));
    has_ended(together.seen()).await;
}

#[fdbray::test]
async fn kill_ends_an_async_method_where_it_waits_and_all_that_queue_behind_it() {
    let (dir, end, journal) = ending();
    let hangs = dir.path().join("hangs");
    let running = journal.hangs(hangs.to_str().unwrap());
    let queued: Vec<_> = (0..100).map(|n| journal.write(0, n)).collect();
    file(&hangs).await;
    within(LIMIT, "it is killed", journal.kill()).await.unwrap();
    has_ended(running).await;
    for call in queued {
        has_ended(call).await;
    }
    has_ended(journal.count()).await;
    // What held the state while it waited was dropped, and then the state.
    file(&end).await;
    assert_eq!(fs::read_to_string(&end).unwrap(), "0");
    within(LIMIT, "again", journal.kill()).await.unwrap();
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn kill_ends_the_calls_of_a_method_that_never_returns() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("blocked");
    let journal = Journal::remote();
    let running = journal.blocks(blocked.to_str().unwrap());
    let queued = journal.count();
    file(&blocked).await;
    let stopping = journal.stop();
    within(LIMIT, "it is killed", journal.kill()).await.unwrap();
    has_ended(running).await;
    has_ended(queued).await;
    let stopped = within(LIMIT, "nor does it stop", stopping).await.unwrap_err();
    assert!(matches!(stopped, Error::ActorEnded { .. }), "{stopped:?}");
    // The worker goes on.
    assert_eq!(within(LIMIT, "another actor", Member::remote(1).add(1)).await.unwrap(), 2);
}

#[fdbray::test]
async fn an_actor_may_be_killed_while_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let journal = Journal::remote_slowly(starts.to_str().unwrap(), 600_000);
    let queued = journal.count();
    file(&starts).await;
    within(LIMIT, "it is killed", journal.kill()).await.unwrap();
    has_ended(queued).await;
    let error = within(LIMIT, "it never is", journal.ready()).await.unwrap_err();
    assert!(matches!(error, Error::ActorEnded { .. }), "{error:?}");
}

#[fdbray::test]
async fn a_cancelled_call_leaves_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let hangs = dir.path().join("hangs");
    let journal = Journal::remote();
    let running = journal.hangs(hangs.to_str().unwrap());
    let (queued, after) = (journal.write(0, 1), journal.write(0, 2));
    file(&hangs).await;
    queued.cancel();
    running.cancel();
    for call in [within(LIMIT, "it is cancelled", running).await.unwrap_err(), queued.await.unwrap_err()] {
        assert!(matches!(call, Error::Cancelled { .. }), "{call:?}");
    }
    assert_eq!(within(LIMIT, "the next", after).await.unwrap(), 1);
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_call_may_be_cancelled_before_it_first_waits() {
    let dir = tempfile::tempdir().unwrap();
    let hangs = dir.path().join("hangs");
    let journal = Journal::remote();
    let running = journal.hangs_slowly(hangs.to_str().unwrap(), 300);
    let after = journal.write(0, 1);
    file(&hangs).await;
    running.cancel();
    assert_eq!(within(LIMIT, "the next", after).await.unwrap(), 1);
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn and_its_actor_killed() {
    let (dir, end, journal) = ending();
    let hangs = dir.path().join("hangs");
    let running = journal.hangs_slowly(hangs.to_str().unwrap(), 300);
    file(&hangs).await;
    within(LIMIT, "it is killed", journal.kill()).await.unwrap();
    has_ended(running).await;
    file(&end).await;
}

#[fdbray::test]
async fn a_method_that_awaits_a_call_of_its_own_actor_is_told_that_it_would_never_end() {
    let journal = Journal::remote();
    for call in [journal.asks_itself(&journal), journal.asks_itself_later(&journal)] {
        let error = within(LIMIT, "it is told", call).await.unwrap_err().to_string();
        assert!(error.contains("write") && error.contains("could start only when"), "{error}");
    }
    assert_eq!(journal.write(0, 3).await.unwrap(), 1);
}

#[fdbray::test]
async fn a_panic_in_a_method_that_reads_fails_its_call_alone() {
    let journal = Journal::remote();
    within(LIMIT, "a line", journal.write(0, 1)).await.unwrap();
    let error = within(LIMIT, "the panic", journal.stumbles()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Panicked { message, .. } if message == "stumbled over 1 lines"),
        "{error:?}"
    );
    assert_eq!(within(LIMIT, "the next", journal.write(0, 2)).await.unwrap(), 2);
}

#[fdbray::test]
async fn a_panic_in_one_that_writes_ends_the_actor() {
    let (_dir, end, journal) = ending();
    let before = journal.write(0, 1);
    let broken = journal.breaks();
    let after = journal.write(0, 2);
    assert_eq!(within(LIMIT, "before", before).await.unwrap(), 1);
    let error = within(LIMIT, "the panic", broken).await.unwrap_err();
    assert!(
        matches!(&error, Error::Panicked { message, .. } if message == "broken in the middle"),
        "{error:?}"
    );
    has_ended(after).await;
    has_ended(journal.count()).await;
    file(&end).await;
}

#[fdbray::test]
async fn or_has_it_made_again_as_often_as_it_says() {
    let journal = Journal::options().max_restarts(2).remote();
    for _ in 0..2 {
        assert_eq!(within(LIMIT, "a fresh state", journal.write(0, 1)).await.unwrap(), 1);
        let error = within(LIMIT, "the panic", journal.breaks()).await.unwrap_err();
        assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
    }
    assert_eq!(within(LIMIT, "the last", journal.write(0, 1)).await.unwrap(), 1);
    let error = within(LIMIT, "the panic", journal.breaks()).await.unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
    has_ended(journal.write(0, 1)).await;
}
