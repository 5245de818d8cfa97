//! In which order calls run.

use super::LIMIT;
use fdbray::{Error, settle};
use fdbray_tests::actors::*;

#[fdbray::test]
async fn calls_of_one_caller_run_in_the_order_made() {
    let journal = Journal::remote();
    let written: Vec<_> = (0..5_000).map(|n| journal.write(0, n)).collect();
    let counts = within(LIMIT, "all are written", settle(written)).await;
    assert!(counts.into_iter().map(Result::unwrap).eq(1..=5_000));
    assert_eq!(journal.lines().await.unwrap(), (0..5_000).map(|n| (0, n)).collect::<Vec<_>>());
}

#[fdbray::test]
async fn that_holds_between_sync_and_async_methods() {
    let journal = Journal::remote();
    let written: Vec<_> = (0..100)
        .map(|n| match n % 3 {
            0 => journal.write_slowly(0, n, 2),
            _ => journal.write(0, n),
        })
        .collect();
    let counts = within(LIMIT, "all are written", settle(written)).await;
    assert!(counts.into_iter().map(Result::unwrap).eq(1..=100));
    assert_eq!(journal.lines().await.unwrap(), (0..100).map(|n| (0, n)).collect::<Vec<_>>());
}

#[fdbray::test]
async fn who_reads_after_writing_reads_what_was_written() {
    let journal = Journal::remote();
    let mut counts = Vec::new();
    for n in 0..500 {
        drop(journal.write(0, n));
        counts.push(journal.count());
    }
    let counts = within(LIMIT, "all are counted", settle(counts)).await;
    assert!(counts.into_iter().map(Result::unwrap).eq(1..=500));
}

#[fdbray::test]
async fn a_call_whose_argument_comes_late_keeps_its_place() {
    let journal = Journal::remote();
    let first = journal.write(0, late::remote(1, 200));
    let second = journal.write(0, 2);
    assert_eq!(within(LIMIT, "the second", second).await.unwrap(), 2);
    assert_eq!(first.await.unwrap(), 1);
    assert_eq!(journal.lines().await.unwrap(), [(0, 1), (0, 2)]);
}

#[fdbray::test(workers = 2)]
async fn calls_of_several_callers_mix_and_each_ones_are_in_order() {
    let journal = Journal::remote();
    let bundle = || Bundle { name: "the journal".into(), journals: vec![journal.clone()] };
    let writers: Vec<_> = (1..=4).map(|caller| write_by::remote(bundle(), caller, 500)).collect();
    let own: Vec<_> = (0..500).map(|n| journal.write(0, n)).collect();
    for result in within(LIMIT, "the others' lines", settle(writers)).await {
        result.unwrap();
    }
    assert!(within(LIMIT, "our lines", settle(own)).await.iter().all(Result::is_ok));
    let lines = journal.lines().await.unwrap();
    assert_eq!(lines.len(), 2_500);
    for caller in 0..=4 {
        assert!(lines.iter().filter(|(by, _)| *by == caller).map(|(_, n)| *n).eq(0..500), "caller {caller}");
    }
}

#[fdbray::test]
async fn a_failed_argument_fails_its_call_alone() {
    let journal = Journal::remote();
    let before = journal.write(0, 1);
    let failed = journal.write(0, refuses::remote(7));
    let after = journal.write(0, 2);
    let error = within(LIMIT, "the failed one", failed).await.unwrap_err();
    assert!(matches!(&error, Error::Application(e) if e.is::<Refused>()), "{error:?}");
    assert!(error.passed().iter().any(|by| by.ends_with("Journal::write")), "{error:?}");
    assert_eq!((before.await.unwrap(), within(LIMIT, "the next", after).await.unwrap()), (1, 2));
    assert_eq!(journal.lines().await.unwrap(), [(0, 1), (0, 2)]);
}

#[fdbray::test]
async fn an_error_of_a_method_fails_its_call_alone() {
    let journal = Journal::remote();
    let results: Vec<_> = (0..10).map(|n| journal.write_even(0, n)).collect();
    for (n, result) in within(LIMIT, "all ten", settle(results)).await.into_iter().enumerate() {
        match result {
            Ok(count) => assert!(n % 2 == 0 && count == n / 2 + 1),
            Err(Error::Application(error)) => {
                assert!(error.function().ends_with("Journal::write_even"), "{}", error.function());
                assert_eq!(error.downcast::<Refused>().unwrap(), Refused { n: n as u64 });
                assert_eq!(n % 2, 1);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[fdbray::test]
async fn what_one_actor_gives_another_may_take_before_it_is_there() {
    let (one, other) = (Member::remote(1), Member::remote(100));
    let sum = other.add(one.add(one.add(10)));
    assert_eq!(within(LIMIT, "the sum", sum).await.unwrap(), 100 + 1 + 10 + 11);
}
