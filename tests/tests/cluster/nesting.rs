//! Calls inside calls: deep, wide, blocking and not, with more of them waiting than there are cpus and threads.

use fdbray::{Error, settle};
use fdbray_tests::cluster::*;

const LIMIT: u64 = 120;

#[fdbray::test(cpus = 2)]
async fn nested_calls_run_deep_on_few_cpus() {
    assert_eq!(within(LIMIT, "fib(15)", fib::remote(15)).await.unwrap(), 610);
    assert_eq!(within(LIMIT, "fib(15), blocking", fib_blocking::remote(15)).await.unwrap(), 610);
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn nested_calls_run_on_several_workers() {
    let all = [fib::remote(12), fib_blocking::remote(12), fib::remote(12), fib_blocking::remote(12)];
    for result in within(LIMIT, "four trees", settle(all)).await {
        assert_eq!(result.unwrap(), 144);
    }
}

#[fdbray::test(cpus = 1)]
async fn one_call_within_another_goes_hundreds_deep_on_one_cpu() {
    assert_eq!(within(LIMIT, "async", deep_async::remote(1_000)).await.unwrap(), 1_000);
    assert_eq!(within(LIMIT, "blocking", deep::remote(500)).await.unwrap(), 500);
}

#[fdbray::test(cpus = 2)]
async fn thousands_of_async_tasks_wait_for_others_on_two_cpus() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = dir.path().join("gate");
    let source = waits_for_file::remote(gate.display().to_string());
    let handle = fdbray::put(&source).expect("a future can be put");
    let waiting: Vec<_> = (0..5_000).map(|n| awaits::remote(&handle, n)).collect();
    let beside =
        within(LIMIT, "calls beside those that wait", settle(add::map((0..100).map(|i| (i, 0))))).await;
    assert!(beside.iter().all(Result::is_ok));
    std::fs::write(&gate, "").expect("the gate opens");
    for (n, result) in within(LIMIT, "all that waited", settle(waiting)).await.into_iter().enumerate() {
        assert_eq!(result.unwrap(), 7 + n as u64);
    }
}

#[fdbray::test(cpus = 2)]
async fn as_many_sync_tasks_as_may_park_wait_for_others_on_two_cpus() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = dir.path().join("gate");
    let source = waits_for_file::remote(gate.display().to_string());
    let handle = fdbray::put(&source).expect("a future can be put");
    let waiting: Vec<_> = (0..200).map(|n| waits_for::remote(&handle, n)).collect();
    let beside =
        within(LIMIT, "calls beside those that wait", settle(add::map((0..100).map(|i| (i, 0))))).await;
    assert!(beside.iter().all(Result::is_ok));
    std::fs::write(&gate, "").expect("the gate opens");
    for (n, result) in within(LIMIT, "all that waited", settle(waiting)).await.into_iter().enumerate() {
        assert_eq!(result.unwrap(), 7 + n as u64);
    }
}

#[fdbray::test(cpus = 2)]
async fn sync_tasks_that_wait_beyond_max_parked_have_a_value_or_an_error_that_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = dir.path().join("gate");
    let source = waits_for_file::remote(gate.display().to_string());
    let handle = fdbray::put(&source).expect("a future can be put");
    let waiting: Vec<_> = (0..2_000).map(|n| waits_for::remote(&handle, n)).collect();
    let beside =
        within(LIMIT, "calls beside those that wait", settle(add::map((0..100).map(|i| (i, 0))))).await;
    assert!(beside.iter().all(Result::is_ok));
    std::fs::write(&gate, "").expect("the gate opens");
    for (n, result) in within(LIMIT, "all that waited", settle(waiting)).await.into_iter().enumerate() {
        match result {
            Ok(value) => assert_eq!(value, 7 + n as u64),
            Err(Error::Control { message, .. }) => assert!(message.contains("max_parked"), "{message}"),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(within(LIMIT, "a call after them", add::remote(1, 1)).await.unwrap(), 2);
}

#[fdbray::test(cpus = 2)]
async fn a_sync_call_that_blocks_for_ever_does_not_hold_up_the_others() {
    let stuck = blocks_for_ever::remote();
    let others = settle(add::map((0..5_000).map(|i| (i, 1))));
    assert!(within(LIMIT, "the others", others).await.iter().all(Result::is_ok));
    let nested = within(LIMIT, "nested calls", fib_blocking::remote(10)).await;
    assert_eq!(nested.unwrap(), 55);
    assert!(!stuck.is_settled());
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn tasks_that_wait_for_each_others_children_across_workers_make_progress() {
    let trees: Vec<_> = (0..50).map(|_| fib_blocking::remote(8)).collect();
    let baskets: Vec<_> = (1..50).map(|n| total_blocking::remote(fill::remote(n))).collect();
    for tree in within(LIMIT, "the trees", settle(trees)).await {
        assert_eq!(tree.unwrap(), 21);
    }
    for (n, sum) in (1..50).zip(within(LIMIT, "the baskets", settle(baskets)).await) {
        assert_eq!(sum.unwrap(), n + n * (n - 1) / 2 + 2 * n);
    }
}
