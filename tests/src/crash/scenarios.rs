//! What the drivers of the tests of crashes do. A driver says how far it is on its standard output; one that finds
//! something wrong panics.

use super::{aborts, counted, now_and_again, parent_of_slow, sleepy, within, work, work_async};
use fdbray::{Error, RemoteFuture, settle};
use fdbray_worker::{
    config::ClusterUrl,
    control::store::{Store, StoreError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::{ExitCode, exit},
    thread,
    time::{Duration, Instant},
};

/// Plays what `words` say.
///
/// # Panics
/// If there is no such scenario, and when something is wrong.
pub async fn play(words: &[&str]) {
    match words {
        ["busy", file] => busy(file).await,
        ["one-call"] => one_call().await,
        ["batch", count, micros, file] => batch(number(count), number(micros), file).await,
        ["settles", count, micros] => settles(number(count), number(micros)).await,
        ["steady", seconds] => steady(number(seconds)).await,
        ["abandons", file] => abandons(file).await,
        ["drains", file] => drains(file).await,
        ["everywhere", workers] => everywhere(number(workers)).await,
        ["aborts", file] => drop(aborts::remote(*file).await),
        ["large", workers, len] => large(number(workers), number(len)).await,
        ["pull", len, bytes, file] => pull(number(len) as usize, bytes, file).await,
        ["two-sources", len, file] => two_sources(number(len) as usize, file).await,
        ["to-all", workers, len, file, maker] => {
            to_all(number(workers), number(len) as usize, file, number(maker) as u32).await;
        }
        ["near-values", len, file] => near_values(number(len) as usize, file).await,
        ["leaves-with-a-view", len] => leaves_with_a_view(number(len)).await,
        ["nested", depth, seconds] => nested(number(depth), number(seconds)).await,
        ["orphan", file] => orphan(file).await,
        _ => panic!("no such scenario: {words:?}"),
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

/// Keeps its workers busy for ever with sync and async calls.
async fn busy(file: &str) {
    let _sync: Vec<_> = (0..2).map(|_| super::never_ends::remote(file)).collect();
    let _async: Vec<_> = (0..100).map(|_| sleepy::remote(1_000_000, file.to_owned())).collect();
    within(20, "calls start", async {
        while super::starts(file.as_ref()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    say("busy");
    std::future::pending::<()>().await;
}

/// Makes a call and says how it ended.
async fn one_call() {
    say("calls");
    match within(60, "the call ends", work::remote(1, 1)).await {
        Ok(value) => say(format!("value {value}")),
        Err(error) => say(format!("error {error}")),
    }
}

/// Makes `count` calls, which all must have their values.
async fn batch(count: u64, micros: u64, file: &str) {
    let calls = counted::map((0..count).map(|n| (n, micros, file.to_owned())));
    say("submitted");
    for (n, value) in within(90, "the calls end", settle(calls)).await.into_iter().enumerate() {
        assert_eq!(value.unwrap_or_else(|e| panic!("call {n}: {e}")), n as u64);
    }
    say("all");
}

/// Makes `count` calls and says how many ended how.
async fn settles(count: u64, micros: u64) {
    let calls = work::map((0..count).map(|n| (n, micros)));
    say("submitted");
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for result in within(90, "the calls end", settle(calls)).await {
        let how = match result {
            Ok(_) => "value".to_owned(),
            Err(Error::Shutdown) => "shutdown".to_owned(),
            Err(Error::WorkerDied { .. }) => "died".to_owned(),
            Err(error) => panic!("{error}"),
        };
        *ends.entry(how).or_default() += 1;
    }
    say(format!("ends {ends:?}"));
}

/// Makes calls for so many seconds, all of which must have their values, on the same workers all the time.
async fn steady(seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let before = workers_seen().await;
    say("steady");
    let mut made = 0_u64;
    while Instant::now() < until {
        let mut calls = work::map((0..200_u64).map(|n| (n, 100_u64)));
        calls.extend(work_async::map((200..400_u64).map(|n| (n, 100_u64))));
        calls.push(now_and_again::options().logs(false).remote(400));
        for (n, value) in within(20, "a round of calls ends", settle(calls)).await.into_iter().enumerate() {
            assert_eq!(value.unwrap_or_else(|e| panic!("{e}")), n as u64);
        }
        made += 401;
        // Longer than an idle lease is kept, every time.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(workers_seen().await, before, "the workers stayed");
    say(format!("made {made}"));
}

/// Leaves while its calls run.
async fn abandons(file: &str) {
    let _calls: Vec<_> = (0..20).map(|_| sleepy::remote(1_000_000, file.to_owned())).collect();
    let _sync = counted::remote(1, 1_500_000, file);
    within(20, "calls start", async {
        while super::starts(file.as_ref()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    say("leaves");
}

/// Calls that take a second each, which all must have their values.
async fn drains(file: &str) {
    let calls: Vec<RemoteFuture<u32>> = (0..6).map(|_| sleepy::remote(1_000, file.to_owned())).collect();
    say("submitted");
    for value in within(60, "the calls end", settle(calls)).await {
        value.unwrap_or_else(|e| panic!("{e}"));
    }
    say("all");
}

/// Waits until calls run on so many workers, and names them.
async fn everywhere(workers: u64) {
    let all = within(30, "calls run on all workers", async {
        loop {
            let seen = workers_seen().await;
            if seen.len() as u64 == workers {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    say(format!("workers {:?}", all.await));
}

/// Values of `len` bytes that are made on any worker, used on any worker, and brought here.
async fn large(workers: u64, len: u64) {
    everywhere(workers).await;
    let len = len as usize;
    let file = std::env::temp_dir().join(format!("crash-large-{}", std::process::id()));
    let file = file.display().to_string();
    let values: Vec<_> = (0..4_u8).map(|n| super::big::remote(n, len, &file)).collect();
    let lengths: Vec<_> = (0..12).map(|n| super::length::remote(&values[n % 4])).collect();
    for length in within(60, "lengths arrive", settle(lengths)).await {
        assert_eq!(length.unwrap_or_else(|e| panic!("{e}")), len);
    }
    for (n, value) in values.into_iter().enumerate() {
        let value = within(60, "a large value arrives", value).await.unwrap_or_else(|e| panic!("{e}"));
        assert!(value.len() == len && value.iter().all(|byte| usize::from(*byte) == n), "value {n}");
    }
    let sent = fdbray::put(&vec![9_u8; len]).unwrap_or_else(|e| panic!("{e}"));
    let lengths: Vec<_> = (0..4).map(|_| super::length::remote(&sent)).collect();
    for length in within(60, "lengths arrive", settle(lengths)).await {
        assert_eq!(length.unwrap_or_else(|e| panic!("{e}")), len);
    }
    // It is there if anything was noted.
    let _ = std::fs::remove_file(file);
    say("all");
}

/// Pulls a value of `bytes` (`noise` or `text`) from the one worker, which never computes it again.
async fn pull(len: usize, bytes: &str, file: &str) {
    let value = super::bulk::remote(len, bytes == "text", file);
    within(60, "the value is there", super::wait_for(&value)).await;
    say("there");
    let began = Instant::now();
    match within(120, "the value arrives", value).await {
        Ok(value) => {
            assert!(value[..] == super::content(len, bytes == "text")[..], "the bytes that were made");
            say(format!("pulled in {} ms", began.elapsed().as_millis()));
        }
        Err(Error::ObjectLost { .. } | Error::WorkerDied { .. }) => say("lost"),
        Err(error) => panic!("{error}"),
    }
}

/// A value that one worker has computed and another has copied; this process pulls it from both, once there is a file.
async fn two_sources(len: usize, file: &str) {
    everywhere(2).await;
    let value = super::bulk::remote(len, false, file);
    within(60, "the value is there", super::wait_for(&value)).await;
    let (maker, copier) = {
        let maker = super::pid::options().with(&value).remote();
        let maker = within(20, "who has it tells", maker).await.unwrap_or_else(|e| panic!("{e}"));
        let copied = settle(super::copy_to_others(&value, maker));
        let copied = within(60, "the value is copied", copied).await.remove(0);
        (maker, copied.unwrap_or_else(|e| panic!("{e}")))
    };
    say(format!("sources {maker} {copier}"));
    // Until whoever looks on is ready.
    crate::actors::file(format!("{file}.go").as_ref()).await;
    let value = within(120, "the value arrives", value).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(value[..] == super::content(len, false)[..], "the bytes that were made");
    assert_eq!(super::starts(file.as_ref()).len(), 1, "it was not computed again");
    say("all");
}

/// A value that the worker with process id `maker` has computed, and all others need at once.
async fn to_all(workers: u64, len: usize, file: &str, maker: u32) {
    everywhere(workers).await;
    let members = fdbray::cluster::members().unwrap_or_else(|e| panic!("{e}"));
    let member = members.values().find(|member| member.host.pid == maker).expect("the maker is a member");
    let value = super::bulk::options().on(member.id).remote(len, false, file);
    within(60, "the value is there", super::wait_for(&value)).await;
    say("there");
    let copies = super::copy_to_others(&value, maker);
    assert_eq!(copies.len() as u64, workers - 1);
    for copied in within(90, "the value is everywhere", settle(copies)).await {
        assert_ne!(copied.unwrap_or_else(|e| panic!("{e}")), maker);
    }
    say("all");
}

/// Calls go to where their large arguments are, though another worker has nothing to do.
async fn near_values(len: usize, file: &str) {
    everywhere(2).await;
    let value = super::bulk::remote(len, false, file);
    within(60, "the value is there", super::wait_for(&value)).await;
    let with = within(20, "with", super::pid::options().with(&value).remote()).await;
    let maker = with.unwrap_or_else(|e| panic!("{e}"));
    let near = within(20, "near", super::pid::options().near(&value).remote()).await;
    assert_eq!(near.unwrap_or_else(|e| panic!("{e}")), maker);
    // One at a time and all at once: it is never moved.
    for count in [1, 20] {
        let calls: Vec<_> = (0..count).map(|_| super::pid_with::remote(&value)).collect();
        for pid in within(60, "calls end", settle(calls)).await {
            assert_eq!(pid.unwrap_or_else(|e| panic!("{e}")), maker);
        }
    }
    say("all");
}

/// Leaves the cluster while it views a value of its worker's, and goes on looking at that for a while.
async fn leaves_with_a_view(len: u64) {
    everywhere(1).await;
    let file = std::env::temp_dir().join(format!("crash-view-{}", std::process::id()));
    let value = super::big::remote(77, len as usize, file.display().to_string());
    let view = within(60, "a value arrives", value.view()).await.unwrap_or_else(|e| panic!("{e}"));
    // It is there if anything was noted.
    let _ = std::fs::remove_file(file);
    drop(value);
    fdbray::shutdown().await.unwrap_or_else(|e| panic!("{e}"));
    say("viewed");
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert!(view.iter().all(|byte| *byte == 77), "what is viewed has changed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say("the same");
}

/// Calls that make calls on whichever worker, for so many seconds.
async fn nested(depth: u64, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    say("nested");
    while Instant::now() < until {
        let sum = within(60, "a tree of calls ends", super::tree::remote(depth)).await;
        assert_eq!(sum.unwrap_or_else(|e| panic!("{e}")), 1 << depth);
    }
    say("all");
}

/// Gets a future that a worker owns, says which, and how it ended.
async fn orphan(file: &str) {
    let (owner, inner) = within(20, "the parent ends", parent_of_slow::remote(1_000_000, file.to_owned()))
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    say(format!("owner {owner}"));
    match within(30, "the future of a dead owner ends", inner).await {
        Err(Error::OwnerDied { .. }) => say("owner died"),
        other => panic!("{other:?}"),
    }
}

/// The incarnations of workers that run a good number of calls, as `pid:worker`.
async fn workers_seen() -> BTreeSet<String> {
    let calls: Vec<_> = (0..100).map(|_| super::who::remote(2)).collect();
    within(60, "a round of calls ends", settle(calls))
        .await
        .into_iter()
        .map(|who| who.unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

/// Holds the write lock of a store for some seconds: `URL SECONDS`.
///
/// # Panics
/// If the store cannot be opened.
pub fn hold_store(args: &[String]) -> ExitCode {
    let [url, seconds] = args else { panic!("hold-store URL SECONDS") };
    let url: ClusterUrl = url.parse().unwrap_or_else(|e| panic!("{e}"));
    let time = Duration::from_secs(number(seconds));
    let store = Store::open(&url).unwrap_or_else(|e| panic!("{e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let held = runtime.unwrap_or_else(|e| panic!("{e}")).block_on(store.transact(move |tx| async move {
        tx.set(b"held", b"1")?;
        say("holds");
        // On the store's own thread, within its write transaction: just what no transaction must do.
        thread::sleep(time);
        say("released");
        // In the middle of a commit, too.
        exit(0);
        #[expect(unreachable_code, reason = "says what the transaction's type is")]
        Ok::<_, StoreError>(())
    }));
    panic!("{held:?}");
}
