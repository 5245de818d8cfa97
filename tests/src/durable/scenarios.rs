//! What the drivers of the tests of durable futures do, by their first argument. They say how far they are on their
//! standard output, and panic where something is wrong.

use super::{aborts, add, api, measure, notes, notes_large, places, waits};
use crate::crash::{pid, within};
use fdbray::{Error, prelude::*, settle};
use std::{path::Path, time::Duration};

/// Plays the scenario that the command line names.
///
/// # Errors
/// Those that the scenario does not expect.
///
/// # Panics
/// If there is no such scenario, and when something is wrong.
pub async fn scenario() -> fdbray::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(played) = crate::actors::shared::scenario(&words).await {
        return played.inspect(|()| println!("done"));
    }
    match words[..] {
        ["values"] => api::values().await?,
        ["arguments"] => api::arguments().await?,
        ["errors", file] => api::errors(file).await?,
        ["keys"] => api::keys().await?,
        ["ends", dir] => api::ends(dir).await?,
        ["limits"] => api::limits().await?,
        ["submit", count, file, millis] => drop(submit(number(count), file, number(millis)).await?),
        ["submit", count, file, millis, "wait"] => {
            for (n, value) in submit(number(count), file, number(millis)).await?.into_iter().enumerate() {
                assert_eq!(value.await?, n as u64);
            }
            println!("all");
        }
        ["attach", count] => attach(number(count)).await?,
        ["attach-id", id] => println!("value {}", RemoteFuture::<u64>::attach(id).await?.await?),
        ["submit-large", count, file, len] => submit_large(number(count), file, number(len) as usize).await?,
        ["attach-large", count, len] => attach_large(number(count), number(len) as usize).await?,
        ["waits", count, file, until] => hold(number(count), file, until).await?,
        ["once", file, until] => once(file, until).await?,
        ["once-each", count, file] => once_each(number(count), file).await?,
        ["killer", count, file] => killer(number(count) as i64, file).await?,
        ["priorities", file] => priorities(file).await?,
        ["resource", name, file] => resource(name, file).await?,
        ["many", count] => many(number(count)).await?,
        ["sum-many", count] => sum_many(number(count)).await?,
        ["chain", count, file] => chain(number(count), file).await?,
        ["mixed"] => mixed().await?,
        ["beside", file, until] => beside(file, until).await?,
        ["places", file] => places::alive(file).await?,
        ["places-gone", file] => places::gone(file).await?,
        ["list-newer", id] => {
            let page = fdbray::cluster::durable_futures(Default::default(), None, 100).await?;
            assert_eq!(page.newer.iter().map(ToString::to_string).collect::<Vec<_>>(), [id]);
            assert!(page.futures.iter().all(|future| future.id.to_string() != id));
        }
        ["released-elsewhere", count] => released_elsewhere(number(count)).await?,
        ["other-build", len] => other_build(number(len) as usize).await?,
        ["list"] => list().await?,
        ["away", file] => away(file).await?,
        ["release", count] => release(number(count)).await?,
        ["rate", count] => measure::rate(number(count) as i64).await?,
        ["latency", count] => measure::latency(number(count) as i64).await?,
        _ => panic!("no such scenario: {words:?}"),
    }
    println!("done");
    Ok(())
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

/// Notes with the keys `note-0` and so on; says when all have been submitted.
async fn submit(count: u64, file: &str, millis: u64) -> fdbray::Result<Vec<RemoteFuture<u64>>> {
    let note = |n| notes::options().durable_as(format!("note-{n}")).retries(10).remote(file, n, millis);
    let all: Vec<_> = (0..count).map(note).collect();
    for future in &all {
        future.submitted().await?;
    }
    println!("submitted {}", all.first().map_or_else(String::new, |first| first.id().to_string()));
    Ok(all)
}

/// Awaits those notes.
async fn attach(count: u64) -> fdbray::Result<()> {
    for n in 0..count {
        let note = RemoteFuture::<u64>::attach(format!("note-{n}")).await?;
        assert_eq!(within(90, "a note has its value", note).await?, n);
    }
    println!("all");
    Ok(())
}

/// Ends their retention.
async fn release(count: u64) -> fdbray::Result<()> {
    for n in 0..count {
        RemoteFuture::<u64>::attach(format!("note-{n}")).await?.release().await?;
    }
    println!("all");
    Ok(())
}

async fn submit_large(count: u64, file: &str, len: usize) -> fdbray::Result<()> {
    let one = |n| notes_large::options().durable_as(format!("large-{n}")).retries(10).remote(file, n, len);
    let all: Vec<_> = (0..count).map(one).collect();
    for large in all {
        assert_eq!(large.await?.len(), len);
    }
    println!("all");
    Ok(())
}

async fn attach_large(count: u64, len: usize) -> fdbray::Result<()> {
    for n in 0..count {
        let large = RemoteFuture::<Vec<u8>>::attach(format!("large-{n}")).await?;
        let value = within(60, "a large value is there", large).await?;
        assert!(value.len() == len && value.iter().all(|byte| *byte == n as u8), "value {n}");
    }
    println!("all");
    Ok(())
}

/// Calls `note-0` and so on that run until there is the file `until`; says when they are submitted, and when all have
/// their values.
async fn hold(count: u64, file: &str, until: &str) -> fdbray::Result<()> {
    let all: Vec<_> = (0..count)
        .map(|n| waits::options().durable_as(format!("note-{n}")).retries(10).remote(file, n, until))
        .collect();
    for future in &all {
        future.submitted().await?;
    }
    println!("submitted");
    for (n, value) in settle(all).await.into_iter().enumerate() {
        assert_eq!(value?, n as u64);
    }
    println!("all");
    Ok(())
}

/// A call that never starts twice, and ends with its worker.
async fn once(file: &str, until: &str) -> fdbray::Result<()> {
    let once = waits::options().durable_as("once").retries(0).remote(file, 1, until);
    once.submitted().await?;
    println!("submitted");
    match within(60, "it ends with its worker", once).await {
        Err(Error::WorkerDied { attempts: 1, .. }) => println!("died"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Quick calls that never start twice, whose worker dies. Says which of them end with it.
async fn once_each(count: u64, file: &str) -> fdbray::Result<()> {
    // The worker knows by then how quick that is.
    for warm in
        settle((0..100).map(|n| notes::options().durable().remote(format!("{file}.warm"), n, 1))).await
    {
        warm?;
    }
    let all: Vec<_> = (0..count).map(|n| notes::options().durable().retries(0).remote(file, n, 1)).collect();
    for future in &all {
        future.submitted().await?;
    }
    println!("submitted");
    let mut died = Vec::new();
    for (n, value) in settle(all).await.into_iter().enumerate() {
        match value {
            Ok(value) => assert_eq!(value, n as u64),
            Err(Error::WorkerDied { attempts: 1, .. }) => died.push(n.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    println!("died {}", died.join(" "));
    Ok(())
}

/// A call that takes its worker with it, among others.
async fn killer(count: i64, file: &str) -> fdbray::Result<()> {
    // Workers know by then how quick that is.
    for warm in settle(add::map((0..500).map(|n| (n, 1)))).await {
        warm?;
    }
    let before = add::map((0..count).map(|n| (n, 1)));
    let killer = aborts::options().durable().remote(file);
    let after = add::map((count..2 * count).map(|n| (n, 1)));
    killer.submitted().await?;
    for future in &after {
        future.submitted().await?;
    }
    println!("submitted");
    match within(90, "the killer ends", killer).await {
        Err(Error::WorkerDied { attempts: 4, .. }) => {}
        other => panic!("{other:?}"),
    }
    for (n, value) in settle(before.into_iter().chain(after)).await.into_iter().enumerate() {
        assert_eq!(value?, n as i64 + 1);
    }
    println!("all");
    Ok(())
}

/// Notes of ten priorities, in another order than theirs.
async fn priorities(file: &str) -> fdbray::Result<()> {
    let note = |n: u64| notes::options().priority((n * 7 % 10) as i32).remote(file, n * 7 % 10, 1);
    let all: Vec<_> = (0..10).map(note).collect();
    for future in &all {
        future.submitted().await?;
    }
    println!("submitted");
    for value in settle(all).await {
        value?;
    }
    Ok(())
}

/// A note that needs one of a resource.
async fn resource(name: &str, file: &str) -> fdbray::Result<()> {
    let call = notes::options().durable_as("needs").resource(name, 1).remote(file, 1, 0);
    call.submitted().await?;
    println!("submitted");
    assert_eq!(within(60, "a worker with the resource takes it", call).await?, 1);
    Ok(())
}

/// So many calls at once.
async fn many(count: u64) -> fdbray::Result<()> {
    let all = add::map((0..count as i64).map(|n| (n, 1)));
    for future in &all {
        future.submitted().await?;
    }
    println!("submitted");
    for (n, value) in settle(all).await.into_iter().enumerate() {
        assert_eq!(value?, n as i64 + 1);
    }
    println!("all");
    Ok(())
}

/// So many calls into one.
async fn sum_many(count: u64) -> fdbray::Result<()> {
    let zero = add::remote(0, 0);
    zero.submitted().await?;
    let all: Vec<_> = (0..count as i64).map(|n| add::remote(&zero, n)).collect();
    for (n, value) in settle(all).await.into_iter().enumerate() {
        assert_eq!(value?, n as i64);
    }
    println!("all");
    Ok(())
}

/// Notes each of which waits for the one before.
async fn chain(count: u64, file: &str) -> fdbray::Result<()> {
    let mut link = notes::options().durable_as("note-0").retries(10).remote(file, 0, 20);
    for n in 1..count {
        let next = notes::options().durable_as(format!("note-{n}")).retries(10);
        link = next.remote(file, super::plus_one::options().durable().remote(&link), 20);
    }
    link.submitted().await?;
    println!("submitted");
    assert_eq!(link.await?, count - 1);
    println!("all");
    Ok(())
}

/// Calls that nobody runs and that somebody else cancels and removes.
async fn released_elsewhere(count: u64) -> fdbray::Result<()> {
    let all: Vec<_> = (0..count).map(|n| add::options().resource("tpu", 1).remote(n as i64, 1)).collect();
    for future in &all {
        future.submitted().await?;
    }
    println!("submitted");
    for ended in within(60, "each of them ends", settle(all)).await {
        match ended {
            Err(Error::Cancelled { .. }) => {}
            Err(Error::ObjectLost { why, .. }) => assert!(why.contains("released"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// A value that a worker of another build computes and keeps.
async fn other_build(len: usize) -> fdbray::Result<()> {
    let kept = super::same_zeros::options().durable().remote(len);
    match within(60, "a value that cannot be had is an error", kept).await {
        Err(error @ Error::Incompatible { .. }) => println!("refused {error}"),
        other => panic!("{:?}", other.map(|value| value.len())),
    }
    let stored = super::same_zeros::options().durable_value().remote(len);
    assert_eq!(within(60, "a stored value is for every build", stored).await?.len(), len);
    Ok(())
}

/// Functions that another build has too, has of other types, and lacks.
async fn mixed() -> fdbray::Result<()> {
    let same: Vec<_> = (0..20).map(|n| super::same::options().durable().remote(n)).collect();
    let differs = super::differs::options().durable().remote(1);
    let lacked = add::remote(1, 1);
    lacked.submitted().await?;
    differs.submitted().await?;
    println!("submitted");
    for (n, value) in settle(same).await.into_iter().enumerate() {
        println!("same {}", value?.replacen(&n.to_string(), "N", 1));
    }
    println!("same done");
    assert_eq!(within(60, "a fitting worker takes it", differs).await?, 2);
    assert_eq!(within(60, "a fitting worker takes it", lacked).await?, 2);
    Ok(())
}

/// Calls that run until there is the file `until`, among many quick ones of the same shape.
async fn beside(file: &str, until: &str) -> fdbray::Result<()> {
    for warm in settle(add::map((0..300).map(|n| (n, 1)))).await {
        warm?;
    }
    let slow: Vec<_> = (0..10).map(|n| waits::options().durable().remote(file, n, until)).collect();
    for slow in &slow {
        slow.submitted().await?;
    }
    println!("submitted");
    for (n, value) in settle(slow).await.into_iter().enumerate() {
        assert_eq!(value?, n as u64);
    }
    Ok(())
}

/// Looks at the cluster.
async fn list() -> fdbray::Result<()> {
    use fdbray::cluster::{Filter, Role, Stage, durable_futures, members, unschedulable};
    let done = add::map((0..25).map(|n| (n, 1)));
    settle(&done).await;
    let failed = super::refuses::options().durable_as("fails").remote(1);
    assert!((&failed).await.is_err());
    let tpu: Vec<_> = (0..3).map(|n| add::options().resource("tpu", 1).remote(n, 1)).collect();
    for future in &tpu {
        future.submitted().await?;
    }
    within(20, "this knows of two workers and of itself", async {
        while members().map_or(0, |members| members.len()) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let me = members()?.remove(&failed.id().owner);
    assert!(me.is_some_and(|me| me.role == Role::Driver && me.host.pid == std::process::id()));
    let of = |state| Filter { state: Some(state), ..Filter::default() };
    let (mut realized, mut after) = (Vec::new(), None);
    loop {
        let page = durable_futures(of(Stage::Realized), after, 10).await?;
        assert!(page.futures.len() <= 10);
        realized.extend(page.futures.into_iter().map(|future| future.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(realized, done.iter().map(RemoteFuture::id).collect::<Vec<_>>());
    let found = durable_futures(of(Stage::Failed), None, 10).await?.futures;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, found[0].key.as_deref(), found[0].attempts), (failed.id(), Some("fails"), 1));
    assert!(found[0].error.as_deref().is_some_and(|e| e.contains("refused with code 1")), "{found:?}");
    let named = Filter { function: Some(found[0].function.clone()), ..Filter::default() };
    assert_eq!(durable_futures(named, None, 10).await?.futures.len(), 1);
    let waiting = unschedulable().await?;
    assert_eq!((waiting.len(), waiting[0].futures), (1, 3), "{waiting:?}");
    let (_, lacks) = waiting[0].closest.as_ref().unwrap_or_else(|| panic!("a closest worker: {waiting:?}"));
    assert!(lacks.contains("tpu"), "{lacks}");
    let looks = super::looks::options().durable().cpus(2).remote().await?;
    assert_eq!(looks, (true, 0), "a worker knows of itself, and of what it can run alone");
    tpu.iter().for_each(RemoteFuture::cancel);
    settle(tpu).await;
    assert!(unschedulable().await?.is_empty());
    Ok(())
}

/// Durable calls before, during and after an outage of the store, and ordinary ones all the time.
async fn away(file: &str) -> fdbray::Result<()> {
    assert_eq!(add::remote(1, 2).await?, 3);
    let running = notes::options().durable().remote(file, 1, 3_000);
    running.submitted().await?;
    println!("ready");
    within(30, "the store goes away", async {
        while !Path::new(&format!("{file}.away")).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let durable = add::remote(1, 2);
    let submitted = tokio::spawn({
        let durable = durable.clone();
        async move { durable.submitted().await }
    });
    let mut ordinary = 0;
    while !submitted.is_finished() {
        within(10, "an ordinary call goes on", pid::remote()).await?;
        ordinary += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match submitted.await.unwrap_or_else(|e| panic!("{e}")) {
        Err(Error::Control { message, .. }) => println!("refused {message}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(durable.await, Err(Error::Control { .. })));
    assert!(ordinary > 10, "{ordinary} ordinary calls");
    println!("waits for the store");
    within(90, "what ran meanwhile has its value", running).await?;
    let again = async {
        loop {
            match add::remote(3, 4).await {
                Ok(value) => return value,
                Err(Error::Control { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert_eq!(within(60, "durable calls work again", again).await, 7);
    Ok(())
}
