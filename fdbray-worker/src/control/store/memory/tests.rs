//! What only an optimistic engine can show: which transactions conflict, and the injected faults.

use super::{Faults, Memory};
use crate::control::store::{Range, Store, StoreError, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Notify, oneshot};

/// Runs `first` in a transaction that is open while `second` commits, and says how often the first one had to run.
async fn interleave<R>(first: fn(Transaction) -> R, second: fn(Transaction) -> Result<(), StoreError>) -> u32
where
    R: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let store = Memory::new(Faults::default()).store();
    let fill = store.transact(|tx| async move {
        for key in ["a", "b", "c"] {
            tx.set(key, b"0")?;
        }
        Ok::<_, StoreError>(())
    });
    fill.await.unwrap();
    let (runs, may_commit) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (is_open, opened) = oneshot::channel();
    let is_open = Arc::new(std::sync::Mutex::new(Some(is_open)));
    let open = {
        let (store, runs, may_commit) = (store.clone(), runs.clone(), may_commit.clone());
        tokio::spawn(async move {
            let run = store.transact(move |tx| {
                let (runs, may_commit, is_open) = (runs.clone(), may_commit.clone(), is_open.clone());
                async move {
                    first(tx).await?;
                    if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                        is_open.lock().unwrap().take().unwrap().send(()).unwrap();
                        may_commit.notified().await;
                    }
                    Ok::<_, StoreError>(())
                }
            });
            run.await
        })
    };
    opened.await.unwrap();
    store.transact(move |tx| async move { second(tx) }).await.unwrap();
    may_commit.notify_one();
    open.await.unwrap().unwrap();
    runs.load(Ordering::SeqCst)
}

#[tokio::test]
async fn who_read_what_another_wrote_runs_again() {
    let runs = interleave(
        |tx| async move {
            tx.get(b"a").await?;
            tx.set(b"x", b"")
        },
        |tx| tx.set(b"a", b"1"),
    );
    assert_eq!(runs.await, 2);
}

#[tokio::test]
async fn who_read_an_empty_place_conflicts_with_who_fills_it() {
    let runs = interleave(
        |tx| async move {
            tx.range(Range::new(b"bb", b"bz")).await?;
            tx.set(b"x", b"")
        },
        |tx| tx.set(b"bc", b"phantom"),
    );
    assert_eq!(runs.await, 2);
}

#[tokio::test]
async fn what_a_limited_read_did_not_reach_does_not_conflict() {
    let runs = interleave(
        |tx| async move {
            assert_eq!(tx.range(Range::new(b"a", b"z").limit(1)).await?.len(), 1);
            assert_eq!(tx.range(Range::new(b"a", b"d").limit(1).reverse()).await?.len(), 1);
            tx.set(b"x", b"")
        },
        |tx| tx.set(b"b", b"1"),
    );
    assert_eq!(runs.await, 1);
}

#[tokio::test]
async fn snapshot_reads_and_additions_do_not_conflict() {
    let runs = interleave(
        |tx| async move {
            tx.snapshot().get(b"a").await?;
            tx.snapshot().range(Range::prefix(b"")).await?;
            tx.add(b"n", 1)
        },
        |tx| {
            tx.set(b"a", b"1")?;
            tx.add(b"n", 1)
        },
    );
    assert_eq!(runs.await, 1);
}

#[tokio::test]
async fn conflict_ranges_count_as_reads_and_writes() {
    let declared = interleave(
        |tx| async move {
            tx.conflict_read(b"p", b"q")?;
            tx.set(b"x", b"")
        },
        |tx| tx.conflict_write(b"pp", b"pq"),
    );
    assert_eq!(declared.await, 2);
    let apart = interleave(
        |tx| async move {
            tx.conflict_read(b"p", b"q")?;
            tx.set(b"x", b"")
        },
        |tx| tx.conflict_write(b"q", b"r"),
    );
    assert_eq!(apart.await, 1);
}

#[tokio::test]
async fn who_only_reads_never_runs_again() {
    let runs = interleave(|tx| async move { tx.get(b"a").await.map(drop) }, |tx| tx.set(b"a", b"1"));
    assert_eq!(runs.await, 1);
}

async fn count(store: &Store) -> u64 {
    let n = store.read(|tx| async move { tx.get(b"n").await });
    let n: Result<_, StoreError> = n.await;
    n.unwrap().map_or(0, |n| u64::from_le_bytes(n.try_into().unwrap()))
}

#[tokio::test]
async fn an_unknown_result_is_told_and_half_of_them_took_effect() {
    let store = Memory::new(Faults { seed: 1, unknown: 1000, ..Faults::default() }).store();
    for _ in 0..100 {
        let added = store.transact(|tx| async move { tx.add(b"n", 1) }).await;
        assert!(matches!(added, Err(StoreError::CommitUnknown)));
    }
    let took_effect = count(&store).await;
    assert!((25..75).contains(&took_effect), "{took_effect}");
}

#[tokio::test]
async fn an_idempotent_transaction_is_run_until_it_is_certain() {
    let store = Memory::new(Faults { seed: 1, unknown: 500, conflicts: 300, ..Faults::default() }).store();
    for n in 1..=50_u64 {
        store.transact_idempotent(move |tx| async move { tx.set(b"n", n.to_le_bytes()) }).await.unwrap();
        assert_eq!(count(&store).await, n);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let run = |seed| async move {
        let store = Memory::new(Faults { seed, unknown: 300, conflicts: 300, delays: 300 }).store();
        let mut results = Vec::new();
        for _ in 0..50 {
            results.push(store.transact(|tx| async move { tx.add(b"n", 1) }).await.is_ok());
        }
        (results, count(&store).await)
    };
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await, run(8).await);
}

#[tokio::test]
async fn an_outage_fails_everything_and_ends() {
    let memory = Memory::new(Faults::default());
    let store = memory.store();
    store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    memory.set_unreachable(true);
    let error = store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)) && error.retryable());
    memory.set_unreachable(false);
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn old_versions_are_forgotten_when_nobody_reads_them() {
    let memory = Memory::new(Faults::default());
    let store = memory.store();
    for _ in 0..100 {
        store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    }
    store.transact(|tx| async move { tx.clear(b"n") }).await.unwrap();
    let kept = memory.shared.data().size();
    assert!(kept <= 3, "{kept} versions and commits are kept");
}
