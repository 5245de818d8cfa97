//! What runs beside what.

use super::LIMIT;
use fdbray::settle;
use fdbray_tests::actors::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

async fn all_succeed(what: &str, calls: Vec<fdbray::RemoteFuture<()>>) {
    for result in within(LIMIT, what, settle(calls)).await {
        result.unwrap();
    }
}

#[fdbray::test]
async fn methods_that_only_read_run_beside_each_other() {
    let together = Together::remote();
    all_succeed("64 meet", (0..64).map(|_| together.meets(64)).collect()).await;
    assert_eq!(together.seen().await.unwrap(), (64, 0));
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn so_they_do_on_threads() {
    let together = Together::remote();
    all_succeed("two meet", (0..2).map(|_| together.meets_on_a_thread(2)).collect()).await;
    assert_eq!(together.seen().await.unwrap(), (2, 0));
}

#[fdbray::test]
async fn as_many_as_their_method_says() {
    let together = Together::remote();
    all_succeed("30 in turn", (0..30).map(|_| together.meets_at_most_three(3)).collect()).await;
    assert_eq!(together.seen().await.unwrap(), (3, 0));
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_method_that_writes_runs_alone_also_while_it_waits() {
    let together = Together::remote();
    let calls = (0..200).map(|n| match n % 7 {
        0 => together.writes(1),
        1 => together.writes_on_a_thread(1),
        2 => together.reads_on_a_thread(1),
        _ => together.reads(1),
    });
    all_succeed("all", calls.collect()).await;
    assert_eq!(together.seen().await.unwrap().1, 0);
}

#[fdbray::test]
async fn who_writes_gets_a_turn_though_others_never_stop_reading() {
    let together = Together::remote();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (together, done) = (together.clone(), done.clone());
            tokio::spawn(async move {
                while !done.load(Relaxed) {
                    // Two under way at any time, so that somebody always reads.
                    let (one, other) = (together.reads(3), together.reads(5));
                    one.await.unwrap();
                    other.await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..10 {
        within(LIMIT, "a turn", together.writes(1)).await.unwrap();
    }
    done.store(true, Relaxed);
    for reader in readers {
        within(LIMIT, "the readers end", reader).await.unwrap();
    }
    assert_eq!(together.seen().await.unwrap().1, 0);
}

#[fdbray::test]
async fn who_reads_gets_a_turn_though_others_never_stop_writing() {
    let together = Together::remote();
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (together, done) = (together.clone(), done.clone());
        tokio::spawn(async move {
            let mut last = together.writes(1);
            while !done.load(Relaxed) {
                // The next one waits while this one runs.
                let next = together.writes(1);
                last.await.unwrap();
                last = next;
            }
            last.await.unwrap();
        })
    };
    for _ in 0..10 {
        within(LIMIT, "a turn", together.reads(1)).await.unwrap();
    }
    done.store(true, Relaxed);
    within(LIMIT, "the writer ends", writer).await.unwrap();
    assert_eq!(together.seen().await.unwrap().1, 0);
}
