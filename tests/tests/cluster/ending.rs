//! Ending calls early: cancelled while pending and while running, aborted by a drop, and past their deadline.

use fdbray::Error;
use fdbray_tests::cluster::*;
use std::time::Duration;

const LIMIT: u64 = 60;

#[fdbray::test(cpus = 1)]
async fn a_cancelled_call_that_has_not_started_never_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let (gate, touched) = (dir.path().join("gate"), dir.path().join("touched"));
    let busy = waits_for_file_blocking::remote(gate.display().to_string());
    let pending = touch::remote(touched.display().to_string());
    pending.cancel();
    let result = within(LIMIT, "the cancelled call", &pending).await;
    assert!(
        matches!(&result, Err(Error::Cancelled { function, .. }) if function.ends_with("touch")),
        "{result:?}"
    );
    std::fs::write(&gate, "").expect("the gate opens");
    within(LIMIT, "the call before it", busy).await.expect("it was not cancelled");
    within(LIMIT, "a call after it", nothing::remote()).await.expect("it was not cancelled");
    assert!(!touched.exists(), "it ran");
}

#[fdbray::remote]
fn waits_for_file_blocking(path: String) {
    while !std::path::Path::new(&path).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[fdbray::test]
async fn a_running_async_call_is_dropped_where_it_awaits_when_it_is_cancelled() {
    let dir = tempfile::tempdir().expect("a directory");
    let note = dir.path().join("dropped");
    let running = waits_for_ever::remote(note.display().to_string());
    // That it runs is known by another call that came after it.
    within(LIMIT, "a call after it", doze::remote(1, 50)).await.expect("it is not cancelled");
    running.cancel();
    let result = within(LIMIT, "the cancelled call", running).await;
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    within(LIMIT, "its future is dropped", appears(&note)).await;
}

async fn appears(path: &std::path::Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[fdbray::test(cpus = 2)]
async fn a_running_sync_call_ends_for_its_awaiters_when_it_is_cancelled() {
    let running = blocks_for_ever::remote();
    within(LIMIT, "a call beside it", nap::remote(1, 20)).await.expect("it is not cancelled");
    running.cancel();
    let result = within(LIMIT, "the cancelled call", running).await;
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
}

#[fdbray::test]
async fn cancelling_what_has_ended_changes_nothing() {
    let sum = add::remote(1, 2);
    assert_eq!(within(LIMIT, "the sum", &sum).await.unwrap(), 3);
    sum.cancel();
    assert_eq!(within(LIMIT, "the sum", sum).await.unwrap(), 3);
}

#[fdbray::test]
async fn the_dependents_of_a_cancelled_call_end_with_it() {
    let running = doze::remote(1, 60_000);
    let dependent = nap::remote(&running, 0);
    running.cancel();
    let error = within(LIMIT, "the dependent", dependent).await.unwrap_err();
    assert!(matches!(&error, Error::Cancelled { function, .. } if function.ends_with("doze")), "{error:?}");
    assert_eq!(error.passed().len(), 1);
}

#[fdbray::test]
async fn dropping_a_future_does_not_cancel_and_abort_on_drop_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let (kept, touched) = (dir.path().join("kept"), dir.path().join("touched"));
    drop(touch::remote(kept.display().to_string()));
    within(LIMIT, "a dropped call runs", appears(&kept)).await;

    let future = waits_for_ever::remote(touched.display().to_string());
    let watched = future.clone();
    let aborted = future.abort_on_drop();
    within(LIMIT, "a call after it", doze::remote(1, 50)).await.expect("it is not cancelled");
    assert!(!aborted.is_settled());
    drop(aborted);
    let result = within(LIMIT, "the aborted call", watched).await;
    assert!(matches!(result, Err(Error::Cancelled { .. })), "{result:?}");
    within(LIMIT, "its future is dropped", appears(&touched)).await;

    let sum = add::remote(1, 2).abort_on_drop();
    assert_eq!(within(LIMIT, "an aborting future gives its value too", sum).await.unwrap(), 3);
}

#[fdbray::test(cpus = 2)]
async fn a_deadline_ends_a_running_and_a_waiting_call() {
    let running = doze::options().cpus(1.0).deadline(Duration::from_millis(100)).remote(1, 60_000);
    let waiting =
        nap::options().deadline(Duration::from_millis(100)).remote(waits_for_file::remote("/not/there"), 0);
    for call in [running, waiting] {
        let result = within(LIMIT, "a call past its deadline", call).await;
        assert!(matches!(result, Err(Error::DeadlineExceeded { .. })), "{result:?}");
    }
    let in_time = nap::options().deadline(Duration::from_secs(60)).remote(3, 1);
    assert_eq!(within(LIMIT, "a call within its deadline", in_time).await.unwrap(), 3);
}

#[fdbray::test(cpus = 1)]
async fn a_cancelled_crowd_leaves_the_worker_free() {
    let crowd: Vec<_> = (0..1_000).map(|i| nap::remote(i, 1_000)).collect();
    crowd.iter().for_each(fdbray::RemoteFuture::cancel);
    let ends = within(LIMIT, "all of them", fdbray::settle(crowd)).await;
    assert!(ends.iter().all(|end| matches!(end, Err(Error::Cancelled { .. }) | Ok(_))));
    within(LIMIT, "a call after them", nothing::remote()).await.expect("it was not cancelled");
}
