//! What the tests of durable futures run: remote functions and scenarios.

use fdbray::{Error, prelude::*};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    io::Write,
    time::{Duration, Instant},
};

/// Adds.
#[remote(durable)]
pub fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// As long as that.
#[remote]
pub fn zeros(n: usize) -> Vec<u8> {
    vec![0; n]
}

/// What was given.
#[remote]
pub fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

/// Fails.
#[remote]
pub fn refuses(code: i32) -> Result<i32, Refusal> {
    Err(Refusal { code })
}

/// Why [`refuses`] does.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct Refusal {
    /// As asked.
    pub code: i32,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused with code {}", self.code)
    }
}

impl std::error::Error for Refusal {}

/// Appends a line to a file, then sleeps.
#[remote]
pub fn notes(file: String, n: u64, millis: u64) -> u64 {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).expect("a file for notes");
    writeln!(file, "{n} {}", std::process::id()).expect("room for a note");
    std::thread::sleep(Duration::from_millis(millis));
    n
}

/// Plays the scenario that the command line names.
///
/// # Errors
/// Those that the scenario is about.
///
/// # Panics
/// If there is no such scenario.
pub async fn scenario() -> fdbray::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let arg = |n: usize| args.get(n).map_or("", String::as_str);
    let number =
        |n: usize| arg(n).parse::<u64>().unwrap_or_else(|e| panic!("argument {n}, {:?}: {e}", arg(n)));
    match arg(0) {
        "all" => all().await?,
        "submit" => {
            let all: Vec<_> = (0..number(1))
                .map(|n| {
                    notes::options().durable_as(format!("note-{n}")).retries(10).remote(arg(2), n, number(3))
                })
                .collect();
            for future in &all {
                future.submitted().await?;
            }
            println!("submitted");
            if arg(4) == "wait" {
                fdbray::settle(all).await;
            }
        }
        "attach" => {
            let mut sum = 0;
            for n in 0..number(1) {
                sum += RemoteFuture::<u64>::attach(format!("note-{n}")).await?.await?;
            }
            println!("sum {sum}");
        }
        "rate" => rate(number(1)).await?,
        "latency" => latency(number(1)).await?,
        other => panic!("no scenario {other:?}"),
    }
    Ok(())
}

async fn all() -> fdbray::Result<()> {
    let sum = add::remote(1, 2);
    sum.submitted().await?;
    println!("id {}", sum.id());
    let more = add::remote(&sum, 10);
    println!("sum {} {}", sum.clone().await?, more.await?);
    let again = RemoteFuture::<i64>::attach(sum.id().to_string()).await?;
    println!("attached {}", again.await?);
    println!("other type: {}", RemoteFuture::<String>::attach(sum.id().to_string()).await.unwrap_err());
    let large = zeros::options().durable().remote(200_000_usize);
    println!("length {}", length::options().durable().remote(&large).await?);
    println!("length here {}", length::remote(&large).await?);
    println!("length {}", large.await?.len());
    let whole = zeros::options().durable_value().remote(300_000_usize);
    println!("length {}", whole.await?.len());
    match refuses::options().durable().remote(7).await {
        Err(Error::Application(e)) => println!("refused: {e}, {:?}", e.clone().downcast::<Refusal>().ok()),
        other => println!("{other:?}"),
    }
    let first = add::options().durable_as("k").remote(1, 2);
    let second = add::options().durable_as("k").remote(1, 2);
    println!("key {} {}", first.await?, second.clone().await?);
    let third = add::options().durable_as("k").remote(2, 2);
    println!("other arguments: {}", third.await.unwrap_err());
    second.release().await?;
    Ok(())
}

async fn rate(count: u64) -> fdbray::Result<()> {
    let count = count as i64;
    add::remote(0, 0).await?;
    let started = Instant::now();
    let all: Vec<_> = add::map((0..count).map(|n| (n, 1)));
    let ended = fdbray::settle(all).await;
    let took = started.elapsed().as_secs_f64();
    assert!(ended.iter().all(Result::is_ok));
    println!("{:.0} futures/s", count as f64 / took);
    Ok(())
}

async fn latency(count: u64) -> fdbray::Result<()> {
    let mut took = Vec::new();
    for n in 0..count as i64 {
        let started = Instant::now();
        add::remote(n, 1).await?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    println!("{:.0} us", took[took.len() / 2]);
    Ok(())
}
