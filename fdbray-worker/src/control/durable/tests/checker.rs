//! The checker finds what is wrong: each key that is removed, and each that nobody asked for.

use super::help::*;
use crate::control::durable::*;
use crate::control::store::memory::Faults;
use crate::control::store::{Key, Range, StoreError};

/// A cluster with futures in every state, an inbox, chunks and marks.
async fn full() -> Cluster {
    let cluster = Cluster::with(Faults::default()).await;
    let (me, other, worker) = (cluster.join(1).await, cluster.join(2).await, cluster.join(9).await);
    let large = || vec![0; 100_000];
    let durable =
        cluster.submit_one(Submission { durable_value: true, arguments: large(), ..cluster.call() }).await;
    let token = cluster.take(worker).await.token;
    cluster.write_value(worker, token, &large()).await.unwrap();
    cluster.end(worker, token, Outcome::Chunks(100_000)).await;
    let kept = cluster.submit_one(cluster.call()).await;
    let token = cluster.take(worker).await.token;
    cluster.end(worker, token, Outcome::Kept(5)).await;
    let retried = Submission { retry_errors: 2, deadline: Some(9), futures: vec![durable], ..cluster.call() };
    cluster.submit_one(retried).await;
    for _ in 0..2 {
        let token = cluster.take(worker).await.token;
        cluster.end(worker, token, Outcome::Error(Failure::error("x".into(), vec![]))).await;
    }
    let claimed = cluster.submit_one(Submission { waiter: Some(me), ..cluster.call() }).await;
    cluster.attach_one(Target::Id(claimed), other, None).await.unwrap();
    cluster.take(worker).await;
    cluster
        .submit_one(Submission { futures: vec![claimed, kept], arguments: large(), ..cluster.call() })
        .await;
    let place = Some(Place { process: other, hard: false });
    cluster.submit_one(Submission { key: Some("k".into()), place, ..cluster.call() }).await;
    let ahead = cluster.call();
    cluster.write_chunks(ahead.id, 0, None, &large()).await.unwrap();
    let cancelled = cluster.submit_one(Submission { waiter: Some(me), ..cluster.call() }).await;
    cluster.cancel(cancelled).await.unwrap();
    cluster.checked().await;
    cluster
}

async fn dump(cluster: &Cluster) -> Vec<(Vec<u8>, Vec<u8>)> {
    let root = Key::new().str("fdbray").str("demo").str("durable");
    let read = cluster.store.read(move |tx| {
        let range = Range::children(&root);
        async move { tx.range(range).await }
    });
    read.await.unwrap()
}

async fn write(cluster: &Cluster, key: Vec<u8>, value: Option<Vec<u8>>) {
    let write = cluster.store.transact(move |tx| {
        let (key, value) = (key.clone(), value.clone());
        async move {
            match value {
                Some(value) => tx.set(key, value),
                None => tx.clear(key),
            }
        }
    });
    let written: Result<(), StoreError> = write.await;
    written.unwrap();
}

#[tokio::test]
async fn whatever_key_is_missing_is_missed() {
    let cluster = full().await;
    // What is no part of an agreement: counters, and what the next reader takes as it is.
    let free = ["format", "clock", "bell", "inbox", "shapes", "signal", "waiter"];
    let mut tried = std::collections::BTreeSet::new();
    for (key, value) in dump(&cluster).await {
        let elements = format!("{:?}", Key::elements(&key).unwrap());
        let kind = elements.split('"').nth(7).unwrap().to_owned();
        // Written ahead, perhaps not to the end.
        let ahead = kind == "chunk" && elements.contains("Int(1), Int(6)");
        if free.contains(&&kind[..]) || ahead {
            continue;
        }
        write(&cluster, key.clone(), None).await;
        let report = cluster.check().await.unwrap();
        assert!(!report.clean(), "{elements} is not missed");
        write(&cluster, key, Some(value)).await;
        tried.insert(kind);
    }
    cluster.checked().await;
    let kinds = ["chunk", "claim", "future", "hold", "key", "ready", "shape", "staged", "timer", "waiting"];
    assert_eq!(tried.into_iter().collect::<Vec<_>>(), kinds);
}

#[tokio::test]
async fn whatever_nobody_asked_for_is_found() {
    let cluster = full().await;
    let root = || Key::new().str("fdbray").str("demo").str("durable");
    let (me, gone) = (process(1), FutureId::new(process(77), 7));
    let id = |seq| FutureId::new(process(1), seq);
    let extra = [
        gone.append(root().str("claim").u64(9)),
        id(0).append(root().str("claim").u64(9)),
        id(0).append(root().str("timer").u64(5).str("expiry")),
        gone.append(root().str("timer").u64(5).str("deadline")),
        id(4).append(id(0).append(root().str("waiting"))),
        id(0).append(id(4).append(root().str("hold"))),
        id(3).append(root().str("spread")),
        gone.append(root().str("chunk")).u64(1).u64(0),
        id(0).append(root().str("chunk")).u64(2).u64(0),
        id(0).append(root().str("waiter")).u64(me.get()),
        root().str("key").str("other"),
        id(0).append(root().str("ready").u64(1).u64(0).u64(0).u64(1).u64(1).u64(1)),
        root().str("claim").str("nonsense"),
    ];
    for key in extra {
        let value = if format!("{key:?}").contains("other") { id(0).to_string() } else { String::new() };
        write(&cluster, key.clone().into(), Some(value.into())).await;
        let report = cluster.check().await.unwrap();
        assert!(!report.clean(), "{key:?} is not found");
        write(&cluster, key.into(), None).await;
    }
    cluster.checked().await;
}

#[tokio::test]
async fn what_belongs_to_the_dead_is_named_and_is_no_disagreement() {
    let cluster = full().await;
    cluster.bury(process(9)).await;
    let report = cluster.checked().await;
    assert_eq!(report.dead.into_iter().collect::<Vec<_>>(), [process(9)]);
    cluster.recover(process(9)).await.unwrap();
    assert!(cluster.checked().await.dead.is_empty());
}
