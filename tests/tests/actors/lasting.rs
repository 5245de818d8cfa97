//! Actors with checkpoints: each call once, whatever dies meanwhile.

use super::LIMIT;
use fdbray::{Error, RemoteFuture, prelude::*, settle};
use fdbray_tests::actors::*;
use rustix::process::Signal;
use std::{
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Kills the process that `pid` tells of, again and again, after pauses of up to so many milliseconds, until `calls` are
/// done; how often.
async fn while_it_dies<T>(
    calls: impl Future<Output = T>,
    longest: u64,
    pid: impl AsyncFn() -> fdbray::Result<u32>,
) -> (T, u32) {
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    println!("pauses of seed {seed}");
    let mut killed = 0;
    let kills = async {
        loop {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            tokio::time::sleep(Duration::from_millis((seed >> 33) % longest)).await;
            let pid = pid().await.expect("an actor that is made again as often as it dies");
            send(pid, Signal::KILL);
            killed += 1;
        }
    };
    let done = tokio::select! {
        done = calls => done,
        () = kills => unreachable!("they go on for ever"),
    };
    (done, killed)
}

/// Makes so many calls as one caller, of which 50 are under way at once, and looks at each answer.
async fn add_all(add: impl Fn(u64) -> RemoteFuture<Entry>, calls: u64) {
    let mut pending = std::collections::VecDeque::new();
    let mut total = 0;
    for n in 1..=calls {
        pending.push_back((n, add(n)));
        while pending.len() > 50 || (n == calls && !pending.is_empty()) {
            let (n, call) = pending.pop_front().expect("there is one");
            let entry = call.await.expect("a call that is made again as often as it takes");
            assert_eq!((entry.n, entry.wrong), (n, 0));
            assert!(entry.total > total, "{entry:?} after {total}");
            total = entry.total;
        }
    }
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn no_call_is_lost_or_done_twice_however_often_the_worker_is_killed() {
    const CALLS: u64 = 5_000;
    let tally = Tally::remote();
    let callers = futures::future::join_all((0..4).map(|caller| {
        let tally = tally.clone();
        async move {
            match caller {
                0 => add_all(|n| tally.add_slowly(caller, n), CALLS / 10).await,
                _ => add_all(|n| tally.add(caller, n), CALLS).await,
            }
        }
    }));
    let (_, killed) =
        within(4 * LIMIT, "all calls", while_it_dies(callers, 150, async || tally.pid().await)).await;
    println!("killed {killed} times");
    assert!(killed > 0);
    assert_eq!(within(LIMIT, "the total", tally.total()).await.unwrap(), (3 * CALLS + CALLS / 10, 0));
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn nor_where_many_calls_share_a_checkpoint() {
    const CALLS: u64 = 10_000;
    let tally = GroupedTally::remote();
    let callers = futures::future::join_all((0..4).map(|caller| {
        let tally = tally.clone();
        async move { add_all(|n| tally.add(caller, n), CALLS).await }
    }));
    let (_, killed) =
        within(4 * LIMIT, "all calls", while_it_dies(callers, 100, async || tally.pid().await)).await;
    println!("killed {killed} times");
    assert!(killed > 0);
    assert_eq!(within(LIMIT, "one more", tally.add(9, 1)).await.unwrap().total, 4 * CALLS + 1);
}

#[fdbray::test(workers = 3, cpus = 1)]
async fn nor_of_callers_in_several_processes() {
    const CALLS: u64 = 3_000;
    // One worker is left alone.
    let safe = within(LIMIT, "a member", member::remote()).await.unwrap().unwrap();
    let safe_pid = within(LIMIT, "its process", pid::options().on(safe).remote()).await.unwrap();
    // Which has no room for the actor.
    let hog = Journal::options().cpus(1).on(safe).remote();
    within(LIMIT, "it holds a CPU", hog.ready()).await.unwrap();
    let tally = Tally::options().cpus(1).remote();
    let there: Vec<_> =
        (0..2).map(|caller| calls_tally::options().on(safe).remote(tally.clone(), caller, CALLS)).collect();
    let callers = async {
        add_all(|n| tally.add(7, n), CALLS).await;
        settle(there).await
    };
    let pid = async || tally.pid().await.inspect(|pid| assert_ne!(*pid, safe_pid));
    let (wrong, killed) = within(4 * LIMIT, "all calls", while_it_dies(callers, 150, pid)).await;
    println!("killed {killed} times");
    assert!(killed > 0);
    assert!(wrong.into_iter().all(|wrong| wrong.is_ok_and(|wrong| wrong == 0)));
    assert_eq!(within(LIMIT, "the total", tally.total()).await.unwrap(), (3 * CALLS, 0));
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_panic_undoes_the_call_alone() {
    let tally = Tally::remote();
    let before: Vec<_> = (1..=100).map(|n| tally.add(0, n)).collect();
    let panics = tally.add_and_panic(1, 1);
    let after: Vec<_> = (101..=200).map(|n| tally.add(0, n)).collect();
    for (n, entry) in (1..).zip(within(LIMIT, "all others", settle(before.into_iter().chain(after))).await) {
        assert_eq!(entry.unwrap(), Entry { n, total: n, wrong: 0 });
    }
    let error = within(LIMIT, "the panic", panics).await.unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn answers_of_any_size_are_kept() {
    let tally = Tally::remote();
    for n in 1..=20 {
        let bytes = if n % 2 == 0 { 300_000 } else { 1_000 };
        let (entry, blob) = within(LIMIT, "many bytes", tally.add_much(0, n, bytes)).await.unwrap();
        assert_eq!((entry.total, blob.len()), (n, bytes));
        assert!(blob.iter().all(|byte| *byte == n as u8));
        if n % 5 == 0 {
            send(tally.pid().await.unwrap(), Signal::KILL);
        }
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_call_whose_effect_cannot_be_saved_has_none_and_says_why() {
    for (flaw, why) in [(Flaw::Save, "it will not be saved"), (Flaw::Panic, "broken while it is saved")] {
        let tally = Tally::remote();
        within(LIMIT, "a call", tally.add(0, 1)).await.unwrap();
        let spoilt = tally.spoil(flaw);
        let error = within(LIMIT, "what cannot be saved", spoilt).await.unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        // It has fallen back.
        assert_eq!(
            within(LIMIT, "a call", tally.add(0, 2)).await.unwrap(),
            Entry { n: 2, total: 2, wrong: 0 }
        );
    }
    let once = Tally::options().max_restarts(0).remote();
    let error = within(LIMIT, "what cannot be saved", once.spoil(Flaw::Save)).await.unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    let error = within(LIMIT, "a later call", once.add(0, 1)).await.unwrap_err();
    assert!(matches!(error, Error::ActorEnded { .. }), "{error:?}");
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn so_has_one_after_which_the_state_is_too_large_or_holds_what_cannot_be_kept() {
    let tally = Tally::remote();
    within(LIMIT, "much", tally.grow(11 << 20)).await.unwrap();
    let error = within(LIMIT, "too much", tally.grow(13 << 20)).await.unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    assert!(error.to_string().contains("12 MiB"), "{error}");
    within(LIMIT, "less", tally.grow(0)).await.unwrap();
    let held = tally.hold(vec![fdbray::put(&7).unwrap()]);
    let error = within(LIMIT, "a future", held).await.unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }) && error.to_string().contains("future"), "{error:?}");
    let error = within(LIMIT, "an actor", tally.child(0, 1)).await.unwrap_err();
    assert!(matches!(error, Error::Encode { .. }) && error.to_string().contains("checkpoint"), "{error:?}");
    assert_eq!(within(LIMIT, "a call", tally.add(0, 2)).await.unwrap().total, 2);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn an_actor_that_cannot_be_made_from_its_checkpoint_has_ended_and_says_why() {
    let tally = Tally::remote();
    within(LIMIT, "a call", tally.spoil(Flaw::Restore)).await.unwrap();
    send(within(LIMIT, "its process", tally.pid()).await.unwrap(), Signal::KILL);
    for _ in 0..2 {
        let error = within(LIMIT, "a call", tally.add(0, 1)).await.unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains("it will not be made again"), "{error}");
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn on_demand_it_goes_on_from_where_that_was() {
    let tally = LooseTally::remote();
    for n in 1..=10 {
        assert_eq!(within(LIMIT, "a call", tally.add(0, n)).await.unwrap().total, n);
    }
    within(LIMIT, "a checkpoint", tally.checkpoint()).await.unwrap();
    within(LIMIT, "what is lost", tally.add(0, 11)).await.unwrap();
    send(within(LIMIT, "its process", tally.pid()).await.unwrap(), Signal::KILL);
    assert_eq!(within(LIMIT, "the total", tally.total()).await.unwrap(), 10);
    // One that cannot be saved goes on nevertheless.
    within(LIMIT, "a flaw", tally.spoil(Flaw::Save)).await.unwrap();
    let error = within(LIMIT, "a checkpoint", tally.checkpoint()).await.unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    assert_eq!(within(LIMIT, "a call", tally.add(0, 11)).await.unwrap().total, 11);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn an_actor_without_checkpoints_says_so() {
    let journal = Journal::remote();
    let error = within(LIMIT, "a checkpoint", journal.checkpoint()).await.unwrap_err();
    assert!(matches!(error, Error::Control { .. }), "{error:?}");
    assert!(error.to_string().contains("#[actor(checkpoint)]"), "{error}");
    assert_eq!(within(LIMIT, "a line", journal.write(0, 1)).await.unwrap(), 1);
    let tally = Tally::remote();
    within(LIMIT, "one more than needed", tally.checkpoint()).await.unwrap();
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn before_it_stops_everything_is_answered() {
    let tally = Tally::remote();
    let calls: Vec<_> = (1..=200).map(|n| tally.add(0, n)).collect();
    within(LIMIT, "it stops", tally.stop()).await.unwrap();
    assert!(calls.iter().all(RemoteFuture::is_settled));
    assert!(settle(calls).await.into_iter().map(|entry| entry.unwrap().total).eq(1..=200));
    let error = within(LIMIT, "a call", tally.add(0, 201)).await.unwrap_err();
    assert!(matches!(error, Error::ActorEnded { .. }), "{error:?}");
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_method_may_wait_for_what_follows_from_an_earlier_answer() {
    let tally = Tally::remote();
    let first = tally.add(0, 1);
    let follows = total_of::remote(&first);
    let waits = tally.add_once_there(0, 2, vec![follows]);
    assert_eq!(within(LIMIT, "both", waits).await.unwrap(), 1);
}
