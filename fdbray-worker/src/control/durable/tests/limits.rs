//! Large arguments and values, versions, listing, shapes.

use super::help::*;
use crate::control::durable::*;
use crate::control::members::{Capacity, Member};
use crate::control::store::{Key, StoreError};
use serde::Serialize;

fn large(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn large_arguments_and_values_come_back_whole_and_go_with_their_future() {
    everywhere(|cluster| async move {
        let (me, worker) = (cluster.join(1).await, cluster.join(9).await);
        assert_eq!(cluster.call().id.process, me);
        let call = Submission { durable_value: true, arguments: large(2_000_001), ..cluster.call() };
        let id = cluster.submit_one(call.clone()).await;
        assert_eq!(cluster.submit_one(call.clone()).await, id);
        assert_eq!(cluster.arguments(id).await.unwrap(), call.arguments);
        let token = cluster.take(worker).await.token;
        cluster.write_value(worker, token, &large(3_000_000)).await.unwrap();
        cluster.checked().await;
        cluster.end(worker, token, Outcome::Chunks(3_000_000)).await;
        assert_eq!(cluster.value(id).await.unwrap().unwrap(), large(3_000_000));
        cluster.checked().await;
        cluster.release(vec![id]).await.unwrap();
        cluster.checked().await;
    })
    .await;
}

#[tokio::test]
async fn what_was_written_ahead_by_somebody_who_died_is_removed() {
    everywhere(|cluster| async move {
        let (me, worker, other) = (cluster.join(1).await, cluster.join(9).await, cluster.join(8).await);
        let call = Submission { arguments: large(200_000), ..cluster.call() };
        cluster.write_chunks(call.id, 0, None, &call.arguments).await.unwrap();
        let id = cluster.submit_one(Submission { durable_value: true, ..cluster.call() }).await;
        let token = cluster.take(worker).await.token;
        cluster.write_value(worker, token, &large(500_000)).await.unwrap();
        cluster.checked().await;
        for dead in [me, worker] {
            cluster.bury(dead).await;
            cluster.recover(dead).await.unwrap();
        }
        let late = cluster.write_value(worker, token, b"late").await;
        assert!(matches!(late, Err(DurableError::Stale(_) | DurableError::NotMember(_))), "{late:?}");
        cluster.checked().await;
        let token = cluster.take(other).await.token;
        cluster.write_value(other, token, &large(100_000)).await.unwrap();
        cluster.end(other, token, Outcome::Chunks(100_000)).await;
        assert_eq!(cluster.value(id).await.unwrap().unwrap(), large(100_000));
        let refused = cluster.submit(vec![call]).await;
        assert!(matches!(refused, Err(DurableError::NotMember(_))));
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    everywhere(|cluster| async move {
        cluster.join(1).await;
        let worker = cluster.join(9).await;
        let call = Submission { arguments: vec![0; LARGEST + 1], ..cluster.call() };
        let error = cluster.submit(vec![call]).await.unwrap_err().to_string();
        assert!(error.contains("67108864"), "{error}");
        let long = Submission { function: "x".repeat(95_000), ..cluster.call() };
        assert!(matches!(cluster.submit(vec![long]).await.unwrap()[0], Err(Refused::TooLarge { .. })));
        cluster.submit_one(cluster.call()).await;
        let token = cluster.take(worker).await.token;
        let value = Outcome::Value(vec![0; INLINE_VALUE + 1]);
        assert!(matches!(
            cluster.complete(worker, vec![(token, value)]).await,
            Err(DurableError::TooLarge { .. })
        ));
        let none = cluster.write_value(worker, token, b"x").await;
        assert!(matches!(none, Err(DurableError::NoDurableValue(_))));
        cluster.end(worker, token, Outcome::Value(vec![0; INLINE_VALUE])).await;
        let error = Failure::error("é".repeat(50_000), vec![0; 50_000]);
        assert!(error.to_string().len() <= 16 << 10);
        let many: Vec<_> = (0..100).map(|_| cluster.call()).collect();
        let arguments: Vec<_> = many.iter().map(|call| call.id).cycle().take(1001).collect();
        cluster.submit(many).await.unwrap();
        let gather = Submission { futures: arguments, ..cluster.call() };
        assert!(matches!(
            cluster.submit(vec![gather]).await.unwrap()[0],
            Err(Refused::TooManyArguments { .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn a_newer_record_is_refused_by_name_and_passed_over_in_batches() {
    everywhere(|cluster| async move {
        #[derive(Serialize)]
        struct Newer {
            v: u32,
            flux: u8,
        }
        let (dead, worker) = (cluster.join(8).await, cluster.join(9).await);
        let newer = cluster.submit_one(Submission { deadline: Some(1), ..cluster.call() }).await;
        let known = cluster.submit_one(cluster.call()).await;
        let dependent = cluster.submit_one(Submission { futures: vec![known], ..cluster.call() }).await;
        let held =
            cluster.submit_one(Submission { function: "g".into(), priority: 1, ..cluster.call() }).await;
        cluster.take(dead).await;
        let rewrite = |id: FutureId| {
            let key = id.append(Key::new().str("fdbray").str("demo").str("durable").str("future"));
            cluster.store.transact_idempotent(move |tx| {
                let key = key.clone();
                async move {
                    let record = rmp_serde::to_vec_named(&Newer { v: 99, flux: 1 }).unwrap();
                    tx.set(key, record)?;
                    Ok::<_, StoreError>(())
                }
            })
        };
        for id in [newer, dependent, held] {
            rewrite(id).await.unwrap();
        }
        let error = cluster.record(newer).await.unwrap_err().to_string();
        assert!(error.contains(&newer.to_string()) && error.contains("version 99"), "{error}");
        let page = cluster.list(Filter::default(), None, 10).await.unwrap();
        assert_eq!((page.futures.len(), page.newer.len()), (1, 3));
        let claimed = cluster.claim(worker, Wants { start: 5, ..wants(5) }).await.unwrap();
        assert_eq!(claimed.iter().map(|claimed| claimed.token.id).collect::<Vec<_>>(), [known]);
        cluster.end(worker, claimed[0].token, Outcome::Value(vec![])).await;
        assert!(cluster.record(known).await.unwrap().spreading, "left to somebody who can read it");
        // Its value is lost before: nobody may take it for there, whoever else comes to wait for it.
        let kept = cluster.submit_one(cluster.call()).await;
        let unread = cluster.submit_one(Submission { futures: vec![kept], ..cluster.call() }).await;
        rewrite(unread).await.unwrap();
        let token = cluster.take(worker).await.token;
        cluster.end(worker, token, Outcome::Kept(9)).await;
        assert!(cluster.record(kept).await.unwrap().spreading);
        cluster.lost(kept, worker).await.unwrap();
        let late = cluster.submit_one(Submission { futures: vec![kept], ..cluster.call() }).await;
        cluster.ticks(1).await;
        assert_eq!(cluster.stage(late).await, Stage::Waiting);
        cluster.release(vec![kept]).await.unwrap();
        assert_eq!(cluster.run(worker).await, kept);
        assert_eq!(cluster.stage(late).await, Stage::Unclaimed);
        cluster.ticks(61).await;
        assert_eq!(cluster.stage(kept).await, Stage::Realized, "one that has not been told needs it");
        cluster.cancel(late).await.unwrap();
        cluster.bury(dead).await;
        cluster.recover(dead).await.unwrap();
        cluster.ticks(3).await;
        assert_eq!(cluster.checked().await.newer, 4);
        let call = Submission { futures: vec![newer], ..cluster.call() };
        assert!(matches!(cluster.submit(vec![call]).await.unwrap()[0], Err(Refused::NewerArgument { .. })));
    })
    .await;
}

#[tokio::test]
async fn another_format_of_the_store_is_refused_by_name() {
    everywhere(|cluster| async move {
        #[derive(Serialize)]
        struct Format {
            format: u64,
            written_by: String,
        }
        let write = |format: u64| {
            cluster.store.transact_idempotent(move |tx| async move {
                let key = Key::new().str("fdbray").str("demo").str("durable").str("format");
                let record = rmp_serde::to_vec_named(&Format { format, written_by: "9.9.9".into() }).unwrap();
                tx.set(key, record)
            })
        };
        for (format, hint) in [(2, "upgrade"), (0, "older program")] {
            write(format).await.unwrap();
            let error = Durable::open(cluster.store.clone(), "demo").await.err().unwrap().to_string();
            assert!(error.contains("9.9.9") && error.contains(hint), "{error}");
        }
        write(FORMAT).await.unwrap();
        Durable::open(cluster.store.clone(), "demo").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn futures_are_listed_in_pages_by_state_function_and_age() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let old: Vec<_> = (0..1200).map(|_| cluster.call()).collect();
        cluster.submit(old).await.unwrap();
        cluster.ticks(10).await;
        for _ in 0..7 {
            cluster.submit_one(Submission { function: "g".into(), ..cluster.call() }).await;
        }
        for _ in 0..3 {
            cluster.run(worker).await;
        }
        let count = async |filter: Filter, limit| {
            let (mut futures, mut after) = (0, None);
            loop {
                let page = cluster.list(filter.clone(), after, limit).await.unwrap();
                assert!(page.futures.len() <= limit);
                futures += page.futures.len();
                after = page.next;
                if after.is_none() {
                    return futures;
                }
            }
        };
        assert_eq!(count(Filter::default(), 100).await, 1207);
        assert_eq!(count(Filter { state: Some(Stage::Realized), ..Filter::default() }, 2).await, 3);
        assert_eq!(count(Filter { function: Some("g".into()), ..Filter::default() }, 100).await, 7);
        assert_eq!(count(Filter { older_than: Some(10), ..Filter::default() }, 1000).await, 1200);
        assert_eq!(count(Filter { younger_than: Some(10), ..Filter::default() }, 1000).await, 7);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_can_run_is_listed_with_the_closest_worker() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let (_, watch) = cluster.shapes().await.unwrap();
        let shape = Capacity { gpus: 10_000, ..one_cpu() };
        let example = cluster.submit_one(Submission { shape: shape.clone(), ..cluster.call() }).await;
        watch.await.unwrap();
        cluster.submit_one(cluster.call()).await;
        let members: Vec<Member> = cluster.members.list().await.unwrap().0;
        let closest = Some((worker, "has 0 of 1 gpus".into()));
        let expected = Unschedulable { shape: shape.clone(), place: None, futures: 1, example, closest };
        assert_eq!(cluster.unschedulable(&members).await.unwrap(), [expected]);
        let signal = cluster.watch_shape(ShapeId::of(&shape)).await.unwrap();
        cluster.submit_one(Submission { shape, ..cluster.call() }).await;
        signal.await.unwrap();
        cluster.run(worker).await;
        cluster.forget_shapes().await.unwrap();
        assert_eq!(cluster.shapes().await.unwrap().0.len(), 1);
        cluster.submit_one(cluster.call()).await;
        assert_eq!(cluster.shapes().await.unwrap().0.len(), 2, "it is back");
    })
    .await;
}
