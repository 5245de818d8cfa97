//! The API on a real private cluster: each test starts one.

use fdbray::prelude::*;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("odd {0}")]
struct Odd(u64);

#[derive(Serialize, Deserialize)]
struct Tree {
    value: u64,
    children: Vec<RemoteFuture<u64>>,
    named: HashMap<String, RemoteFuture<String>>,
}

#[remote]
fn add(x: u64, y: u64) -> u64 {
    x + y
}

#[remote]
fn half(x: u64) -> Result<u64, Odd> {
    if x.is_multiple_of(2) { Ok(x / 2) } else { Err(Odd(x)) }
}

#[remote]
async fn fib(n: u64) -> fdbray::Result<u64> {
    if n < 2 {
        return Ok(n);
    }
    let (a, b) = (fib::remote(n - 1), fib::remote(n - 2));
    Ok(a.await? + b.await?)
}

#[remote]
fn fib_blocking(n: u64) -> fdbray::Result<u64> {
    if n < 2 {
        return Ok(n);
    }
    let (a, b) = (fib_blocking::remote(n - 1), fib_blocking::remote(n - 2));
    Ok(a.wait()? + b.wait()?)
}

#[remote]
fn join(words: &[String], between: &str) -> String {
    words.join(between)
}

#[remote]
fn length(bytes: &[u8], numbers: &[f64]) -> usize {
    bytes.len() + numbers.len()
}

#[remote]
async fn total(tree: Tree) -> fdbray::Result<(u64, String)> {
    let mut sum = tree.value;
    for child in &tree.children {
        sum += child.await?;
    }
    let mut names = String::new();
    for name in tree.named.into_values() {
        names += &name.await?;
    }
    Ok((sum, names))
}

#[remote]
fn plant(n: u64) -> Tree {
    Tree { value: n, children: add::map((0..n).map(|i| (i, 1))), named: HashMap::new() }
}

#[remote]
async fn pass(future: RemoteFuture<u64>) -> RemoteFuture<u64> {
    future
}

#[remote]
async fn sleep(millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    millis
}

#[remote]
fn panics(text: String) -> u8 {
    panic!("{text}")
}

#[remote]
async fn whoami() -> (String, u32, String) {
    let task = fdbray::task::current().expect("inside a task");
    (task.function.to_owned(), task.attempt, task.worker.to_string())
}

#[remote]
fn large(n: usize) -> Blob {
    vec![7; n].into()
}

#[fdbray::test]
async fn futures_are_arguments_before_they_have_a_value() -> fdbray::Result<()> {
    let x = add::remote(1, 2);
    let y = add::remote(&x, add::remote(&x, 1));
    assert_eq!((&x).await?, 3);
    assert_eq!((y.await?, x.wait()?), (7, 3));
    assert_eq!(add(1, 2), 3);
    Ok(())
}

#[fdbray::test]
async fn nested_calls_await_and_block() -> fdbray::Result<()> {
    assert_eq!(fib::remote(12).await?, 144);
    assert_eq!(fib_blocking::remote(12).await?, 144);
    Ok(())
}

#[fdbray::test]
async fn borrowed_parameters_take_what_lends_them() -> fdbray::Result<()> {
    let words = fdbray::put(&vec!["a".to_owned(), "b".to_owned()])?;
    let dash = join::remote(vec!["-".to_owned()], "");
    assert_eq!(join::remote(&words, dash).await?, "a-b");
    let numbers = fdbray::put(&Slab::from(vec![1.0, 2.0]))?;
    assert_eq!(length::remote(b"abc", &numbers).await?, 5);
    assert_eq!(length::remote(large::remote(10), [0.5; 3]).await?, 13);
    Ok(())
}

#[fdbray::test]
async fn futures_travel_inside_structs_both_ways() -> fdbray::Result<()> {
    let named = HashMap::from([("k".to_owned(), fdbray::put(&"name".to_owned())?)]);
    let tree = Tree { value: 1, children: vec![add::remote(1, 1), sleep::remote(20)], named };
    assert_eq!(total::remote(tree).await?, (23, "name".to_owned()));
    assert_eq!(total::remote(plant::remote(4)).await?.0, 14);
    let deep = pass::remote(add::remote(2, 2));
    assert_eq!(deep.await?.await?, 4);
    Ok(())
}

#[fdbray::test]
async fn many_calls_settle_wait_and_stream() -> fdbray::Result<()> {
    let all = add::map((0..2000).map(|i| (i, 1)));
    let sums: Vec<u64> = fdbray::settle(&all).await.into_iter().collect::<Result<_, _>>()?;
    assert!(sums.into_iter().eq(1..=2000));
    let (first, rest) = fdbray::wait(all, 10).await;
    assert_eq!((first.len(), rest.len()), (10, 1990));
    let seen: Vec<_> = fdbray::as_completed(rest).collect().await;
    assert_eq!((seen.len(), seen.iter().all(Result::is_ok)), (1990, true));

    let (slow, fast) = (sleep::remote(60_000).abort_on_drop(), sleep::remote(1));
    let (first, rest) = fdbray::wait([&*slow, &fast], 1).await;
    assert_eq!((first[0].wait()?, rest[0].id()), (1, slow.id()));
    Ok(())
}

#[fdbray::test]
async fn errors_keep_their_type_and_their_cause_through_dependents() -> fdbray::Result<()> {
    let failed = half::remote(7);
    let dependent = add::remote(add::remote(&failed, 1), 1);
    for error in [failed.await.unwrap_err(), dependent.await.unwrap_err()] {
        let Error::Application(error) = error else { panic!("another variant: {error}") };
        assert_eq!(error.function(), "end_to_end::half");
        assert_eq!(error.downcast::<Odd>().unwrap(), Odd(7));
    }
    let settled = fdbray::settle(half::map(0..4)).await;
    assert_eq!(settled.iter().filter(|result| result.is_err()).count(), 2);

    let panicked = panics::remote("a reason").await.unwrap_err();
    assert!(matches!(&panicked, Error::Panicked { message, .. } if message == "a reason"), "{panicked}");
    Ok(())
}

#[fdbray::test]
async fn what_cannot_be_decoded_names_the_argument() {
    #[remote]
    fn takes(_n: u8, value: serde_json::Value) -> bool {
        value.is_null()
    }
    let flat = serde_json::json!({ "a": 1 });
    let error = takes::remote(1, &flat).await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    assert!(error.to_string().starts_with("argument `value` of `end_to_end::"), "{error}");
}

#[fdbray::test]
async fn calls_are_cancelled_and_have_deadlines() {
    let slow = sleep::remote(60_000);
    slow.cancel();
    assert!(matches!(slow.await, Err(Error::Cancelled { .. })));
    let late = sleep::options().deadline(Duration::from_millis(20)).remote(60_000);
    assert!(matches!(late.await, Err(Error::DeadlineExceeded { .. })));
    let dropped = sleep::remote(60_000);
    drop(dropped.clone().abort_on_drop());
    assert!(matches!(dropped.await, Err(Error::Cancelled { .. })));
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn options_and_the_task_context() -> fdbray::Result<()> {
    let call = whoami::options().cpus(0.5).retries(0).logs(false);
    let (function, attempt, worker) = call.remote().await?;
    assert_eq!((function.as_str(), attempt), ("end_to_end::whoami", 1));
    assert_eq!(worker.len(), 16);
    let submitted = add::options().submit(1, 1).await;
    assert_eq!(submitted.await?, 2);
    Ok(())
}

#[fdbray::test]
async fn values_of_any_size_come_back() -> fdbray::Result<()> {
    for n in [0, 1, 30, 31, 4096, 4097, 1 << 20, 20 << 20] {
        let blob = large::remote(n).await?;
        assert_eq!((blob.len(), blob.iter().all(|b| *b == 7)), (n, true));
        let kept = fdbray::put(&blob)?;
        assert_eq!(length::remote(&kept, []).await?, n);
    }
    Ok(())
}

#[fdbray::test]
async fn after_shutdown_everything_ends_with_an_error() -> fdbray::Result<()> {
    let pending = sleep::remote(60_000);
    fdbray::shutdown().await?;
    assert!(matches!(pending.await, Err(Error::Shutdown)));
    assert!(matches!(add::remote(1, 1).await, Err(Error::Shutdown)));
    assert!(matches!(fdbray::put(&1), Err(Error::Shutdown)));
    Ok(())
}
