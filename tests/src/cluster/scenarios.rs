//! What the program `app` does, by its first argument.

use super::{failing::*, functions::*};
use fdbray::{Error, RemoteFuture, remote, settle};
use futures_util::StreamExt;
use std::{collections::BTreeSet, process::ExitCode, time::Duration};

/// `other`'s is of other types.
#[remote(name = "tests::differs")]
pub fn differs(x: i64) -> i64 {
    x
}

/// `other`'s is the same.
#[remote(name = "tests::same")]
pub fn same(x: i64) -> i64 {
    x + 1
}

/// `other` has none.
#[remote(name = "tests::only_in_app")]
pub fn only_in_app() -> i64 {
    1
}

/// Plays the scenario that the command line names.
///
/// # Errors
/// Those that the scenario is about.
///
/// # Panics
/// If there is no such scenario, or if it is about a panic.
pub async fn scenario() -> fdbray::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |n: usize| args.get(n).map_or("", String::as_str);
    let number =
        |n: usize| arg(n).parse::<u64>().unwrap_or_else(|e| panic!("argument {n}, {:?}: {e}", arg(n)));
    // For a run that does not end: who waits for what.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(25));
        eprintln!("it takes long: {}", state_here());
    });
    match arg(0) {
        "add" => println!("{}", add::remote(1, 2).await?),
        "fails" => println!("{}", refuses::remote(7).await?),
        "panics" => {
            let _pending = doze::remote(1, 600_000);
            panic!("the driver's own panic");
        }
        "exits" => {
            let _pending = doze::remote(1, 600_000);
            std::process::exit(5);
        }
        "leaves work" => return Ok(leaves_work(arg(1)).await),
        "shuts down" => shuts_down().await?,
        "talks" => talk().await?,
        "errors" => {
            for (name, result) in [
                ("same", same::remote(1)),
                ("differs", differs::remote(1)),
                ("only_in_app", only_in_app::remote()),
            ] {
                report(name, result.await);
            }
        }
        "overload" => overload().await?,
        "bombs" => bombs().await,
        "shares" => shares().await?,
        "parks" => parks().await?,
        "needs" => needs(arg(1)).await,
        "where" => {
            let pids = settle((0..number(1)).map(|_| whereabouts_later::remote(20))).await;
            let pids = pids.into_iter().collect::<fdbray::Result<BTreeSet<u32>>>()?;
            println!("pids {}", pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        }
        "naps" => naps(number(1), number(2)).await?,
        "workers" => println!("pid {}", whereabouts::remote().await?),
        "contexts" => contexts().await?,
        "everything" => everything().await?,
        "panic in process" => report("panics", panics::remote(Load::Text).await.map(i64::from)),
        other => panic!("no scenario {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a result, or the kind of the error and its message.
fn report(name: &str, result: fdbray::Result<i64>) {
    match result {
        Ok(value) => println!("{name}: {value}"),
        Err(error) => println!("{name}: {} {error}", kind(&error)),
    }
}

/// The variant's name.
pub fn kind(error: &Error) -> &'static str {
    match error {
        Error::Application(_) => "Application",
        Error::Panicked { .. } => "Panicked",
        Error::WorkerDied { .. } => "WorkerDied",
        Error::OwnerDied { .. } => "OwnerDied",
        Error::Cancelled { .. } => "Cancelled",
        Error::DeadlineExceeded { .. } => "DeadlineExceeded",
        Error::Unschedulable { .. } => "Unschedulable",
        Error::Overloaded { .. } => "Overloaded",
        Error::NotRegistered { .. } => "NotRegistered",
        Error::Incompatible { .. } => "Incompatible",
        Error::Control { .. } => "Control",
        Error::Shutdown => "Shutdown",
        _ => "another error",
    }
}

async fn leaves_work(file: &str) -> ExitCode {
    within_seconds(30, add_async::remote(1, 1)).await.expect("a call before them");
    drop(waits_for_ever::remote(file));
    drop(blocks_for_ever::remote());
    let _pending: Vec<_> = (0..1_000).map(|n| nap::remote(n, 60_000)).collect();
    std::thread::spawn(|| {
        println!("a waiting thread: {:?}", doze::remote(1, 600_000).wait().map_err(|e| e.to_string()))
    });
    ExitCode::from(7)
}

async fn within_seconds<T: serde::de::DeserializeOwned>(
    seconds: u64,
    future: RemoteFuture<T>,
) -> fdbray::Result<T> {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(result) => result,
        Err(_) => panic!("a call did not end within {seconds} s"),
    }
}

async fn shuts_down() -> fdbray::Result<()> {
    let pending = doze::remote(1, 600_000);
    println!("before: {}", add::remote(1, 2).await?);
    fdbray::shutdown().await?;
    println!("pending: {}", kind(&pending.await.unwrap_err()));
    println!("call: {}", kind(&add::remote(1, 2).await.unwrap_err()));
    println!("batch: {}", kind(&add::map([(1, 2)]).remove(0).wait().unwrap_err()));
    println!("submit: {}", kind(&add::options().submit(1, 2).await.await.unwrap_err()));
    println!("put: {}", fdbray::put(&1).map_or_else(|e| kind(&e), |_| "a future"));
    fdbray::shutdown().await?;
    println!("again: nothing");
    Ok(())
}

/// Pauses, because what is printed within some milliseconds by several functions may be of any of them.
async fn talk() -> fdbray::Result<()> {
    let pause = || tokio::time::sleep(Duration::from_millis(300));
    talks::remote("a").await?;
    pause().await;
    talks_async::remote("b").await?;
    pause().await;
    talks::options().logs(false).remote("quiet").await?;
    talks_async::options().logs(false).remote("quiet, too").await?;
    pause().await;
    talks::remote("last").await
}

async fn overload() -> fdbray::Result<()> {
    let weight = vec![0; 10_000];
    let calls: Vec<_> = (0..1_000).map(|_| doze_with::remote(50, &weight)).collect();
    let (mut ran, mut refused) = (0, 0);
    for result in settle(calls).await {
        match result {
            Ok(()) => ran += 1,
            Err(Error::Overloaded { limit: 1_000_000, pending, .. }) if pending <= 1_000_000 => refused += 1,
            Err(other) => return Err(other),
        }
    }
    println!("some ran: {}, some were refused: {}", ran > 10, refused > 100);
    let mut waited = Vec::new();
    for _ in 0..300 {
        waited.push(doze_with::options().submit(1, &weight).await);
    }
    let ends = settle(waited).await;
    println!("submitted: {}", ends.iter().filter(|end| end.is_ok()).count());
    let mapped = settle(doze_with::map((0..1_000).map(|_| (1, weight.clone())))).await;
    let refused = mapped.iter().filter(|end| matches!(end, Err(Error::Overloaded { .. }))).count();
    println!("some of a batch were refused: {}", refused > 100 && refused < 1_000);
    Ok(())
}

/// Sleeps on a timer, with something to carry.
#[remote]
pub async fn doze_with(millis: u64, _weight: Vec<u8>) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

async fn bombs() {
    let weight = vec![0_u8; 1_000];
    let limit = Duration::from_secs(3);
    // Such a tree never ends by itself: what was refused makes room for more. Its deadline ends it for whoever waits.
    let calls = [
        ("async", bomb_async::options().deadline(limit).remote(0, weight)),
        ("sync", bomb::options().deadline(limit).remote(0)),
    ];
    for (name, call) in calls {
        match within_seconds(60, call).await {
            Err(Error::DeadlineExceeded { .. } | Error::Overloaded { .. }) => println!("{name}: bounded"),
            Err(Error::Control { message, .. }) if message.contains("max_parked") => {
                println!("{name}: bounded")
            }
            other => println!("{name}: {other:?}"),
        }
    }
    let beside = within_seconds(60, add::remote(1, 1)).await.expect("the worker serves on");
    println!("beside them: {beside}");
    let worker = within_seconds(60, resident::remote()).await.expect("the worker serves on");
    let bounded = worker < 1_000_000_000 && resident_here() < 300_000_000;
    println!(
        "memory is bounded: {}",
        if bounded { "yes".to_owned() } else { format!("{worker} {}", resident_here()) }
    );
}

async fn needs(what: &str) {
    let call = match what {
        "gpus" => crowd::options().gpus(1.0).remote(1),
        "much" => crowd::options().cpus(1_000.0).remote(1),
        "memory" => crowd::options().memory(1 << 50).remote(1),
        "licence" => crowd::options().resource("licence", 0.5).remote(1),
        _ => crowd::remote(1),
    };
    println!("submitted");
    report(what, call.await.map(|n| n as i64));
}

async fn shares() -> fdbray::Result<()> {
    let calls = [
        ("0.5 of licence=1", crowd::options().cpus(0).resource("licence", 0.5)),
        ("0.75 of gpus=1.5", crowd::options().cpus(0).gpus(0.75)),
        ("400MB of 1GiB", crowd::options().cpus(0).memory(400_000_000)),
    ];
    for (name, call) in calls {
        let most =
            settle((0..6).map(|_| call.remote(100))).await.into_iter().collect::<fdbray::Result<Vec<_>>>()?;
        println!("{name}: {} at once", most.into_iter().max().unwrap_or(0));
    }
    Ok(())
}

/// Many sync tasks wait for one that has yet to start.
async fn parks() -> fdbray::Result<()> {
    let source = doze::remote(7, 500);
    let handle = fdbray::put(&source)?;
    let ends = settle((0..100).map(|n| waits_for::remote(&handle, n))).await;
    let values = ends.iter().filter(|end| end.is_ok()).count();
    for (n, end) in ends.iter().enumerate() {
        match end {
            Ok(value) => assert_eq!(*value, 7 + n as u64),
            Err(Error::Control { message, .. }) => assert!(message.contains("max_parked"), "{message}"),
            Err(other) => panic!("{other:?}"),
        }
    }
    println!("all {} ended, some with values: {}", ends.len(), values > 0);
    println!("a tree: {:?}", fib_blocking::remote(10).await.map_err(|e| e.to_string()));
    Ok(())
}

async fn naps(count: u64, millis: u64) -> fdbray::Result<()> {
    let mut done = fdbray::as_completed(nap::map((0..count).map(|n| (n, millis))));
    let mut ended = 0;
    while let Some(result) = done.next().await {
        result?;
        ended += 1;
        println!("ended {ended}");
    }
    println!("all {ended}");
    Ok(())
}

async fn contexts() -> fdbray::Result<()> {
    for call in [context::remote(), context_async::remote()] {
        let id = call.id().to_string();
        let (told, attempt, function, worker) = call.await?.expect("it ran in a task");
        println!("{} {attempt} {} {}", told == id, function.rsplit("::").next().unwrap_or(""), worker != 0);
    }
    println!("{}", fdbray::task::current().is_none());
    Ok(())
}

/// Uses most of what there is, then waits until nothing is left of it in any table.
async fn everything() -> fdbray::Result<()> {
    {
        let x = add::remote(1, 2);
        let slow = doze::remote(1, 600_000);
        let dependent = nap::remote(&slow, 0);
        let big = fdbray::put(&vec![1_u8; 1_000_000])?;
        let baskets: Vec<_> = (1..20).map(fill::remote).collect();
        let totals: Vec<_> = baskets.iter().map(total::remote).collect();
        let echoes: Vec<_> = (0..20).map(|_| weigh::remote(echo::remote(&big))).collect();
        let inner = later::remote(1, 2).await?;
        let failing = settle((0..100).map(|_| refuses::remote(1))).await;
        println!("{} {} {}", x.await?, inner.await?, failing.len());
        println!("{} {}", settle(totals).await.len(), settle(echoes).await.len());
        println!("{} {}", fib::remote(10).await?, fib_blocking::remote(10).await?);
        slow.cancel();
        println!("{}", kind(&dependent.await.unwrap_err()));
        drop(nap::remote(1, 1));
        drop(deep_async::remote(5));
    }
    for name in ["driver", "worker"] {
        let mut state = String::new();
        for _ in 0..500 {
            state = if name == "driver" { state_here() } else { state_there::remote().await? };
            if is_empty(name, &state) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{name} is empty: {}", if is_empty(name, &state) { "yes" } else { &state });
    }
    Ok(())
}

fn state_here() -> String {
    fdbray_worker::runtime::describe().unwrap_or_default()
}

#[remote]
fn state_there() -> String {
    state_here()
}

fn is_empty(_of: &str, state: &str) -> bool {
    state.contains(": 0 records, 0 pending bytes")
}
