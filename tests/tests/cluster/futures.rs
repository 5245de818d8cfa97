//! Futures: passed by value and by reference, before they are ready, inside other values, and awaited in every way.

use fdbray::{RemoteFuture, put};
use fdbray_tests::cluster::*;
use futures_util::{FutureExt, StreamExt};
use std::{collections::BTreeMap, time::Duration};

const LIMIT: u64 = 60;

#[fdbray::test]
async fn arguments_are_values_futures_and_references_to_either() -> fdbray::Result<()> {
    let x = add::remote(1, 2);
    let y = add::remote(&x, 3);
    let z = add::remote(y.clone(), &x);
    assert_eq!(within(LIMIT, "z", z).await?, 9);
    assert_eq!((&x).await?, 3, "by reference");
    assert_eq!((&x).await?, 3, "and again");
    assert_eq!(y.await?, 6);
    Ok(())
}

#[fdbray::test(cpus = 2)]
async fn a_future_is_passed_on_before_it_is_ready() -> fdbray::Result<()> {
    let slow = nap::remote(5, 200);
    let dependent = nap::remote(&slow, 0);
    assert!(!slow.is_settled() && !dependent.is_settled());
    assert_eq!(within(LIMIT, "the dependent", dependent).await?, 5);
    assert!(slow.is_settled());
    Ok(())
}

#[fdbray::test(workers = 2)]
async fn a_long_chain_of_dependents_gives_the_last_value() -> fdbray::Result<()> {
    let mut last = add::remote(0, 0);
    for _ in 0..2_000 {
        last = add::remote(&last, 1);
    }
    assert_eq!(within(LIMIT, "the chain", last).await?, 2_000);
    Ok(())
}

#[fdbray::test(workers = 2)]
async fn a_tree_of_dependents_merges_to_one_value() -> fdbray::Result<()> {
    let mut level: Vec<RemoteFuture<i64>> = add::map((0..1024).map(|i| (i, 0)));
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| add::remote(&pair[0], &pair[1])).collect();
    }
    assert_eq!(within(LIMIT, "the root", level.remove(0)).await?, 1023 * 1024 / 2);
    Ok(())
}

#[fdbray::test(workers = 2)]
async fn futures_travel_inside_structs_and_collections() -> fdbray::Result<()> {
    let slow = add::remote(nap_as_number(7, 100), 0);
    let basket = Basket {
        first: slow.clone(),
        others: add::map((0..100).map(|i| (i, 1))),
        named: BTreeMap::from([("a".to_owned(), put(&1_000_i64)?), ("again".to_owned(), slow)]),
    };
    let expected = 7 + (0..100).map(|i| i + 1).sum::<i64>() + 1_000 + 7;
    assert_eq!(within(LIMIT, "the total", total::remote(&basket)).await?, expected);
    assert_eq!(within(LIMIT, "the total, blocking", total_blocking::remote(basket)).await?, expected);
    Ok(())
}

fn nap_as_number(n: u64, millis: u64) -> RemoteFuture<i64> {
    // The wire form of small numbers is the same, so this would be garbage for negative ones.
    let future = nap_signed::remote(n, millis);
    return future;

    #[fdbray::remote]
    fn nap_signed(n: u64, millis: u64) -> i64 {
        nap(n, millis) as i64
    }
}

#[fdbray::test(workers = 2)]
async fn futures_are_returned_from_functions_and_outlive_the_task_that_made_them() -> fdbray::Result<()> {
    let inner: RemoteFuture<i64> = within(LIMIT, "the outer future", later::remote(20, 22)).await?;
    assert_eq!(within(LIMIT, "the inner future", inner).await?, 42);

    let basket = within(LIMIT, "the basket", fill::remote(10)).await?;
    assert_eq!(within(LIMIT, "its total", total::remote(basket)).await?, 10 + 45 + 20);

    // A task's own future, unawaited through two more tasks and back.
    let own = add::remote(1, 1);
    let twice = within(
        LIMIT,
        "a handle of a handle",
        passes_on::remote(within(LIMIT, "a handle", passes_on_handle(own)).await?),
    )
    .await?;
    assert_eq!(within(LIMIT, "its value", twice).await?, 2);
    Ok(())
}

fn passes_on_handle(future: RemoteFuture<i64>) -> RemoteFuture<RemoteFuture<i64>> {
    passes_on::remote(put(&future).expect("a future can be put"))
}

#[fdbray::test]
async fn a_value_is_put_once_and_passed_often() -> fdbray::Result<()> {
    let order = Order { item: "tea".to_owned(), count: 2 };
    let kept = put(&order)?;
    assert!(kept.is_settled(), "a put is ready at once");
    let texts = fdbray::settle((0..100).map(|_| borrows::remote("some", [1, 2], &kept)));
    for text in within(LIMIT, "all calls with the same value", texts).await {
        assert_eq!(text?, "some 3 tea");
    }
    assert_eq!(kept.await?, order);
    Ok(())
}

#[fdbray::test(workers = 2)]
async fn many_calls_are_made_as_one_batch_and_settle_in_order() {
    let all = add::map((0..10_000).map(|i| (i, 1)));
    for (i, sum) in within(LIMIT, "10,000 calls", fdbray::settle(all)).await.into_iter().enumerate() {
        assert_eq!(sum.unwrap(), i as i64 + 1);
    }
}

#[fdbray::test(workers = 2)]
async fn ten_thousand_single_calls_of_async_functions_settle() {
    let all: Vec<_> = (0..10_000).map(|i| add_async::remote(i, 1)).collect();
    for (i, sum) in within(LIMIT, "10,000 calls", fdbray::settle(&all)).await.into_iter().enumerate() {
        assert_eq!(sum.unwrap(), i as i64 + 1);
    }
}

#[fdbray::test(workers = 2)]
async fn wait_gives_the_first_to_end_and_the_rest() -> fdbray::Result<()> {
    let quick = doze::map((0..3).map(|n| (n, 1_u64)));
    let slow = doze::map((3..6).map(|n| (n, 60_000_u64)));
    let all = slow.into_iter().chain(quick);
    let (ready, rest) = within(LIMIT, "the quick ones", fdbray::wait(all, 3)).await;
    let mut values = fdbray::settle(ready).await.into_iter().collect::<fdbray::Result<Vec<u64>>>()?;
    values.sort_unstable();
    assert_eq!(values, [0, 1, 2]);
    assert_eq!(rest.len(), 3);
    assert!(rest.iter().all(|future| !future.is_settled()));
    rest.iter().for_each(RemoteFuture::cancel);
    Ok(())
}

#[fdbray::test(workers = 2)]
async fn as_completed_gives_each_result_once() {
    let calls = refuses::map((0..1_000).map(|i| i % 2));
    let results = within(LIMIT, "all ends", fdbray::as_completed(calls).collect::<Vec<_>>()).await;
    assert_eq!(results.len(), 1_000);
    assert_eq!(results.iter().filter(|r| matches!(r, Ok(0))).count(), 500);
    assert_eq!(results.iter().filter(|r| is_refused(r, 1)).count(), 500);
}

#[fdbray::test]
async fn settle_never_fails_as_a_whole() {
    let settled = within(LIMIT, "all", fdbray::settle(refuses::map([0, 3, 0]))).await;
    assert!(matches!(settled[0], Ok(0)) && matches!(settled[2], Ok(0)));
    assert!(is_refused(&settled[1], 3), "{:?}", settled[1]);
}

#[fdbray::test]
async fn a_thread_waits_without_any_async_runtime() {
    let thread = std::thread::spawn(|| {
        let x = add::remote(1, 2);
        (x.wait(), x.wait(), nap::remote(9, 100).wait())
    });
    let (once, again, slow) =
        tokio::task::spawn_blocking(|| thread.join().expect("the thread does not panic"))
            .await
            .expect("the thread ends");
    assert_eq!((once.unwrap(), again.unwrap(), slow.unwrap()), (3, 3, 9));
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_thread_that_waits_for_a_time_gets_nothing_or_the_value_and_the_call_goes_on() {
    let waited = tokio::task::spawn_blocking(|| {
        let slow = nap::remote(9, 500);
        let early = slow.wait_timeout(Duration::from_millis(20));
        (early, slow.wait_timeout(Duration::ZERO), slow.wait_timeout(Duration::MAX), refuses::remote(3))
    });
    let (early, at_once, late, refused) = waited.await.expect("the thread ends");
    assert_eq!((early.unwrap(), at_once.unwrap(), late.unwrap()), (None, None, Some(9)));
    let refused = tokio::task::spawn_blocking(move || refused.wait_timeout(Duration::from_secs(LIMIT)));
    assert!(matches!(refused.await, Ok(Err(fdbray::Error::Application(_)))));
    // In a task, on the only slot: it is lent to the child, which takes longer than its parent waits at first.
    let (looks, value) = within(LIMIT, "the task ends", looks_again::remote(300)).await.unwrap();
    assert!(looks > 1 && value == 300, "looked {looks} times");
}

#[fdbray::test]
async fn futures_await_under_another_executor_and_in_a_select() {
    let other = std::thread::spawn(|| {
        futures::executor::block_on(async {
            let (a, b) = futures::join!(nap::remote(1, 50), add::remote(1, 1));
            (a.unwrap(), b.unwrap())
        })
    });
    let joined = tokio::task::spawn_blocking(|| other.join()).await.expect("the thread ends");
    assert_eq!(joined.expect("it does not panic"), (1, 2));

    let mut slow = doze::remote(1, 60_000).fuse();
    let mut quick = doze::remote(2, 1).fuse();
    let first = within(LIMIT, "the quicker of two", async {
        futures_util::select_biased! { n = slow => n, n = quick => n }
    });
    assert_eq!(first.await.unwrap(), 2);

    let spawned = tokio::spawn(async { add::remote(3, 4).await });
    assert_eq!(spawned.await.expect("the task ends").unwrap(), 7);
}

#[fdbray::test]
async fn a_result_that_nobody_awaits_is_no_trouble() {
    for i in 0..1_000 {
        drop(add::remote(i, i));
        drop(refuses::remote(1));
    }
    assert_eq!(within(LIMIT, "a call after them", add::remote(1, 1)).await.unwrap(), 2);
}

#[fdbray::test]
async fn calls_take_up_to_twelve_parameters_and_none() -> fdbray::Result<()> {
    let text = twelve::remote(1, 2, 3, 4, -5, -6, -7, -8, "nine", Some('x'), (true, 1.5), [1, 2].as_slice());
    assert_eq!(within(LIMIT, "twelve", text).await?, "1 2 3 4 -5 -6 -7 -8 nine Some('x') (true, 1.5) [1, 2]");
    within(LIMIT, "nothing", nothing::remote()).await
}

#[fdbray::test]
async fn borrowed_parameters_take_what_lends_them_and_futures_of_that() -> fdbray::Result<()> {
    let order = Order { item: "milk".to_owned(), count: 1 };
    let (text, numbers) = (put(&"late".to_owned())?, put(&vec![4_i64, 5])?);
    assert_eq!(within(LIMIT, "values", borrows::remote("now", vec![1, 2], &order)).await?, "now 3 milk");
    assert_eq!(
        within(LIMIT, "futures", borrows::remote(&text, &numbers, put(&order)?)).await?,
        "late 9 milk"
    );
    Ok(())
}
