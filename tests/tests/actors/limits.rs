//! How long calls may take: `with_deadline`.

use super::LIMIT;
use fdbray::{RemoteFuture, prelude::*};
use fdbray_tests::actors::*;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;

/// Enough for a call to be begun, and not for one that never ends.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3_600);

/// A journal, and a file by which it says that it hangs.
fn journal() -> (TempDir, PathBuf, JournalHandle) {
    let dir = tempfile::tempdir().unwrap();
    let hangs = dir.path().join("hangs");
    (dir, hangs, Journal::remote())
}

async fn took_too_long<T: serde::de::DeserializeOwned + std::fmt::Debug>(
    call: RemoteFuture<T>,
    method: &str,
) {
    let error = within(LIMIT, "it ends", call).await.unwrap_err();
    assert!(
        matches!(&error, Error::DeadlineExceeded { function, .. } if function.ends_with(method)),
        "{error:?}"
    );
}

#[fdbray::test]
async fn a_call_past_its_deadline_ends_where_it_waits_and_the_next_runs() {
    let (_dir, hangs, journal) = journal();
    within(LIMIT, "it is made", journal.ready()).await.unwrap();
    let running = journal.with_deadline(SHORT).hangs(hangs.to_str().unwrap());
    let next = journal.write(0, 1);
    took_too_long(running, "Journal::hangs").await;
    assert_eq!(within(LIMIT, "the next", next).await.unwrap(), 1);
}

#[fdbray::test]
async fn one_that_was_not_begun_never_is() {
    let (_dir, hangs, journal) = journal();
    let running = journal.hangs(hangs.to_str().unwrap());
    file(&hangs).await;
    let waiting = journal.with_deadline(SHORT).write(0, 1);
    let next = journal.write(0, 2);
    took_too_long(waiting, "Journal::write").await;
    assert!(!running.is_settled(), "it has no deadline");
    running.cancel();
    assert_eq!(within(LIMIT, "the next", next).await.unwrap(), 1);
    assert_eq!(journal.lines().await.unwrap(), [(0, 2)]);
}

#[fdbray::test]
async fn nor_is_one_whose_actor_is_not_made_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let journal = Journal::remote_slowly(starts.to_str().unwrap(), 600_000).with_deadline(SHORT);
    took_too_long(journal.write(0, 1), "Journal::write").await;
}

#[fdbray::test]
async fn calls_in_time_are_as_without() {
    let (_dir, _, journal) = journal();
    for limit in [LONG, Duration::MAX] {
        let journal = journal.with_deadline(limit);
        within(LIMIT, "a line", journal.write_even(0, 2)).await.unwrap();
        assert!(matches!(journal.write_even(0, 1).await, Err(Error::Application(_))));
    }
    assert_eq!(journal.count().await.unwrap(), 2);
}

#[fdbray::test]
async fn a_deadline_is_that_of_its_handle_and_of_the_clones_of_that() {
    let (_dir, hangs, journal) = journal();
    let hangs = hangs.to_str().unwrap();
    let short = journal.with_deadline(SHORT);
    took_too_long(short.clone().hangs(hangs), "Journal::hangs").await;
    took_too_long(short.with_deadline(LONG).with_deadline(SHORT).hangs(hangs), "Journal::hangs").await;
    for patient in [journal.clone(), short.with_deadline(LONG)] {
        let running = patient.hangs(hangs);
        within(LIMIT, "a while", late::remote(0, 600)).await.unwrap();
        assert!(!running.is_settled(), "ended by another handle's deadline");
        running.cancel();
    }
    // Neither what waits for the actor nor its end.
    within(LIMIT, "it is made", short.with_deadline(Duration::ZERO).ready()).await.unwrap();
    let slow = journal.write_slowly(0, 1, 300);
    within(LIMIT, "it stops", short.stop()).await.unwrap();
    assert_eq!(within(LIMIT, "what came before", slow).await.unwrap(), 1);
}

#[fdbray::test]
async fn it_does_not_travel() {
    let (_dir, hangs, journal) = journal();
    let bundle = Bundle { name: "in a hurry".into(), journals: vec![journal.with_deadline(SHORT)] };
    let back = within(LIMIT, "it comes back", write_by::remote(bundle, 0, 1)).await.unwrap();
    let running = back.journals[0].hangs(hangs.to_str().unwrap());
    within(LIMIT, "a while", late::remote(0, 600)).await.unwrap();
    assert!(!running.is_settled(), "it came back with its deadline");
    // Nor does it where another calls: the line is written long after the deadline.
    let keeper = Keeper::remote(journal.with_deadline(SHORT));
    let written = keeper.write(1);
    within(LIMIT, "a while", late::remote(0, 600)).await.unwrap();
    running.cancel();
    assert_eq!(within(LIMIT, "a line", written).await.unwrap(), 2);
}
