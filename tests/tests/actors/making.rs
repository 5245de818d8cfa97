//! How actors come to be, or do not.

use super::LIMIT;
use fdbray::{prelude::*, settle};
use fdbray_tests::actors::*;

#[fdbray::test]
async fn a_handle_is_there_before_its_actor() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let journal = Journal::remote_slowly(starts.to_str().unwrap(), 200);
    let written = journal.write(0, 1);
    within(LIMIT, "it is made", journal.ready()).await.unwrap();
    assert_eq!(within(LIMIT, "a line", written).await.unwrap(), 1);
    within(LIMIT, "again", journal.ready()).await.unwrap();
}

#[fdbray::test]
async fn an_argument_of_a_constructor_may_come_late() {
    let member = Member::remote(late::remote(5, 100));
    assert_eq!(within(LIMIT, "the sum", member.add(1)).await.unwrap(), 6);
}

#[fdbray::test]
async fn an_error_of_the_constructor_reaches_every_call_and_who_waits() {
    let journal = Journal::remote_refused(3);
    let calls: Vec<_> = (0..10).map(|n| journal.write(0, n)).collect();
    let refused = |error: &Error| match error {
        Error::Application(e) => e.clone().downcast::<Refused>().is_ok_and(|refused| refused.n == 3),
        _ => false,
    };
    let error = within(LIMIT, "it is refused", journal.ready()).await.unwrap_err();
    assert!(refused(&error), "{error:?}");
    for call in within(LIMIT, "the calls end", settle(calls)).await {
        let error = call.unwrap_err();
        assert!(refused(&error), "{error:?}");
    }
    let error = within(LIMIT, "a later call", journal.count()).await.unwrap_err();
    assert!(refused(&error), "{error:?}");
    let stopped = within(LIMIT, "there is nothing to stop", journal.stop()).await;
    assert!(stopped.is_err());
}

#[fdbray::test]
async fn so_does_its_panic() {
    let journal = Journal::remote_panicking("no way");
    let calls = [journal.write(0, 1), journal.count()];
    let panicked = |error: &Error| match error {
        Error::Panicked { function, message, .. } => {
            function.ends_with("Journal::panicking") && message.contains("no way")
        }
        _ => false,
    };
    let error = within(LIMIT, "it panics", journal.ready()).await.unwrap_err();
    assert!(panicked(&error), "{error:?}");
    for call in within(LIMIT, "the calls end", settle(calls)).await {
        let error = call.unwrap_err();
        assert!(panicked(&error), "{error:?}");
    }
}

#[fdbray::test]
async fn so_does_what_an_argument_of_it_failed_with() {
    let member = Member::remote(refuses::remote(4));
    for error in [
        within(LIMIT, "it fails", member.ready()).await.unwrap_err(),
        within(LIMIT, "a call", member.add(1)).await.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Application(e) if e.is::<Refused>()), "{error:?}");
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn an_actor_holds_what_it_asks_for_as_long_as_it_lives() {
    let member = Member::options().cpus(1).remote(0);
    within(LIMIT, "it is made", member.ready()).await.unwrap();
    let waiting = pid_with_cpu::remote();
    let there = within(LIMIT, "one without a CPU", pid::remote()).await.unwrap();
    within(LIMIT, "a method needs nothing", member.add(1)).await.unwrap();
    assert!(!waiting.is_settled(), "the actor has the only CPU");
    drop(member);
    assert_eq!(within(LIMIT, "the CPU is free", waiting).await.unwrap(), there);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn an_actor_is_where_its_options_say() {
    let here = within(LIMIT, "a worker", member::remote()).await.unwrap().unwrap();
    for _ in 0..3 {
        let journal = Journal::options().on(here).remote();
        let there = within(LIMIT, "its process", journal.pid()).await.unwrap();
        let pid = pid::options().on(here).remote().await.unwrap();
        assert_eq!(there, pid);
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn what_can_be_nowhere_says_so() {
    let member = Member::options().resource("unicorns", 1).remote(0);
    let error = within(LIMIT, "it cannot be made", member.ready()).await.unwrap_err();
    assert!(matches!(error, Error::Unschedulable { .. }), "{error:?}");
    let error = within(LIMIT, "nor called", member.add(1)).await.unwrap_err();
    assert!(matches!(error, Error::Unschedulable { .. }), "{error:?}");
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn one_that_holds_a_cpu_is_made_where_no_other_holds_it() {
    let there = within(LIMIT, "a member", member::remote()).await.unwrap().unwrap();
    let first = Journal::options().cpus(1).on(there).remote();
    within(LIMIT, "the first", first.ready()).await.unwrap();
    let second = Journal::options().cpus(1).remote();
    within(LIMIT, "the second", second.ready()).await.unwrap();
    assert_ne!(first.pid().await.unwrap(), second.pid().await.unwrap());
}
