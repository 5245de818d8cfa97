//! A parameter server: workers that share no memory train one network, whose parameters are in several actors.
//!
//! `cargo run --release --example parameter_server` trains on digits that were written by hand
//! (`fdbray_examples::digits`), in two ways, and prints the loss and the share of the held-out digits that is read right, by
//! epoch.
//!
//! Synchronously all workers look at the same parameters, and each step is for the mean of what they found. It reads like
//! a program that does one step after the other, but waits for nothing: parameters that have not been computed are passed
//! on as futures, so that an epoch is a graph of calls that runs by itself, and no slope comes to the driver.
//!
//! Asynchronously each worker pulls, computes and pushes at its own pace. Nobody waits for anybody, and the slope that a
//! worker pushes is a little stale.
//!
//! In both, one epoch goes equally far: a push goes as far as its share of a step.

mod shard;
mod work;

use fdbray::prelude::*;
use fdbray_examples::{digits::Digits, network};
use shard::{Part, Shard, ShardHandle, Slopes};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use work::{deal, descend, find, joined};

const SHARDS: usize = 2;
/// Tasks that compute at once.
const WORKERS: usize = 4;
/// How far a step of all workers goes.
const RATE: f32 = 0.5;

#[fdbray::main]
async fn main() -> fdbray::Result<ExitCode> {
    let epochs = match std::env::args().nth(1).as_deref() {
        None => 12,
        Some("--quick") => 3,
        Some(_) => {
            eprintln!("usage: parameter_server [--quick]");
            return Ok(ExitCode::from(2));
        }
    };
    let data = Data::put()?;
    println!("{} digits, {} parameters in {SHARDS} shards", data.learned.len(), network::PARAMETERS);
    println!("{WORKERS} workers, loss and held-out digits read right, by epoch");
    println!("{:>6} {:>18} {:>18}", "", "synchronous", "asynchronous");

    let (synchronous, asynchronous) = (shards(RATE), shards(RATE / WORKERS as f32));
    let mut took = [Duration::ZERO; 2];
    for epoch in 0..epochs {
        let batches = deal(data.learned.len(), WORKERS, epoch);
        let started = Instant::now();
        together(&synchronous, &data, &batches).await?;
        took[0] += started.elapsed();
        let started = Instant::now();
        each_alone(&asynchronous, &data, batches).await?;
        took[1] += started.elapsed();
        let (first, second) = (judge(&synchronous, &data).await?, judge(&asynchronous, &data).await?);
        println!("{:>6} {first:>18} {second:>18}", epoch + 1);
    }

    let mut digits = took.map(|took| (epochs * data.learned.len()) as f64 / took.as_secs_f64());
    digits.iter_mut().for_each(|digits| *digits = digits.round());
    println!("{:>6} {:>11} digits/s {:>9} digits/s", "", digits[0], digits[1]);
    let stale = asynchronous[0].staleness().await?;
    println!("a slope that was pushed was {stale:.1} steps of others old");
    Ok(ExitCode::SUCCESS)
}

/// What the workers read in place, wherever they are.
struct Data {
    images: RemoteFuture<Slab<f32>>,
    labels: RemoteFuture<Blob>,
    learned: Digits,
    held_out: Digits,
}

impl Data {
    fn put() -> fdbray::Result<Self> {
        let (learned, held_out) = Digits::load();
        let images = fdbray::put(&Slab::from(&learned.images[..]))?;
        let labels = fdbray::put(&Blob::from(learned.labels.clone()))?;
        Ok(Data { images, labels, learned, held_out })
    }
}

/// Actors that have the parameters of an untrained network, which is the same each time.
fn shards(rate: f32) -> Vec<ShardHandle> {
    let parameters = network::initial(9);
    parameters.chunks(parameters.len().div_ceil(SHARDS)).map(|part| Shard::remote(part, rate)).collect()
}

/// An epoch in which all workers take each step together.
async fn together(shards: &[ShardHandle], data: &Data, batches: &[Vec<Vec<usize>>]) -> fdbray::Result<()> {
    // Those of later steps wait here rather than on a thread of a worker.
    let find = find::options().concurrency(WORKERS);
    let mut steps = Vec::new();
    for step in 0..batches.iter().map(Vec::len).max().unwrap_or(0) {
        let parts: Vec<RemoteFuture<Part>> = shards.iter().map(ShardHandle::pull).collect();
        let batches = batches.iter().filter_map(|batches| batches.get(step));
        let found: Vec<RemoteFuture<Slopes>> =
            batches.map(|batch| find.remote(&parts, &data.images, &data.labels, batch)).collect();
        steps.extend(shards.iter().enumerate().map(|(n, shard)| shard.step(n, &found)));
    }
    fdbray::settle(steps).await.into_iter().collect()
}

/// An epoch in which each worker goes on as it can.
async fn each_alone(
    shards: &[ShardHandle],
    data: &Data,
    batches: Vec<Vec<Vec<usize>>>,
) -> fdbray::Result<()> {
    let shards = shards.to_vec();
    let workers = batches.iter().map(|batches| descend::remote(&shards, &data.images, &data.labels, batches));
    fdbray::settle(workers).await.into_iter().collect()
}

/// What the network has learned.
async fn judge(shards: &[ShardHandle], data: &Data) -> fdbray::Result<String> {
    let parts = fdbray::settle(shards.iter().map(ShardHandle::pull)).await;
    let parameters = joined(&parts.into_iter().collect::<fdbray::Result<Vec<_>>>()?);
    let (loss, _) = network::judge(&parameters, &data.learned);
    let (_, right) = network::judge(&parameters, &data.held_out);
    Ok(format!("{loss:.3} {:>6.1} %", right * 100.0))
}
