//! The figures themselves: programs that use large values as anyone would. Each prints one line, see [`take`](super::take).

use super::report::{FIGURE, told};
use fdbray::prelude::*;
use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    hint::black_box,
    io::{self, Read, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

/// `1` in this variable asks for a look instead of a measurement.
pub const QUICK: &str = "FDBRAY_BENCH_QUICK";

const MIB: usize = 1 << 20;
/// The shared memory of who spills.
pub const SPILL_FROM: usize = 512 * MIB;

/// So many bytes, written where they are read. `salt` makes them hard to compress, zero leaves them zero.
#[remote]
fn produce(len: usize, salt: u64) -> fdbray::Result<Blob> {
    let mut memory = fdbray::buffer(len)?;
    match salt {
        0 => memory.fill(0),
        _ => fill(&mut memory, salt),
    }
    Ok(memory.seal())
}

#[remote]
fn nothing() {}

#[remote]
fn text(len: usize) -> String {
    "x".repeat(len)
}

#[remote]
fn first_of(bytes: &[u8]) -> u8 {
    bytes[0]
}

/// What the process that runs it holds outside of shared memory, in bytes.
#[remote(cpus = 0)]
fn anonymous() -> u64 {
    own_memory()
}

/// Takes the figure that the environment names. A worker never gets past the first line of its body.
#[fdbray::main]
pub async fn main() -> ExitCode {
    let name = env::var(FIGURE).unwrap_or_default();
    let quick = env::var(QUICK).is_ok_and(|q| q == "1");
    let taken = match &name[..] {
        "put_256m" => put(quick).await,
        "get_256m" => get(quick).await,
        "buffer_256m" => buffer().await,
        "task_arg_1m" => task_arg(quick).await,
        "inline_kib" => by_size(quick).await,
        "fan_in_mixed" => fan_in(quick).await,
        "spill_2x" => spill(quick).await,
        "pull_1g" | "pull_1g_shaped" | "pull_1g_zeros" => pull(&name, quick).await,
        other => Err(Error::application(format!("there is no figure `{other}`"))),
    };
    told(&name, taken)
}

/// GB/s of putting 256 MiB, the first time and later, beside copying them into memory that was used before.
async fn put(quick: bool) -> fdbray::Result<String> {
    let len = 256 * MIB;
    let blob = Blob::from(noise(len));
    let mut warm = vec![1_u8; len];
    let (mut copies, mut puts) = (Vec::new(), Vec::new());
    for _ in 0..if quick { 3 } else { 8 } {
        copies.push(rate(len, || warm.copy_from_slice(&blob)));
        black_box(&mut warm);
        let mut object = None;
        puts.push(rate(len, || object = Some(fdbray::put(&blob))));
        object.transpose()?;
        until_empty().await?;
    }
    let cold = puts.remove(0);
    Ok(format!("{:.3} {:.3} cold={cold:.3}", middle(puts), middle(copies)))
}

/// Microseconds until a value of the worker can be read, and the second time, by size.
async fn get(quick: bool) -> fdbray::Result<String> {
    // The first one maps the worker's memory, once.
    produce::remote(MIB, 1).await?;
    let (mut line, mut value) = (String::new(), 0.0);
    for (name, len) in [("1m", MIB), ("16m", 16 * MIB), ("256m", 256 * MIB), ("1g", 1024 * MIB)] {
        if quick && len > 256 * MIB {
            continue;
        }
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let future = produce::remote(len, 1);
            // It is done, and nobody has asked for its bytes.
            nothing::remote().await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            for took in [&mut first, &mut again] {
                let started = Instant::now();
                let blob = (&future).await?;
                black_box((blob[0], blob[len - 1]));
                took.push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
        let (first, again) = (middle(first), middle(again));
        if name == "256m" {
            value = first;
        }
        // Writing into a string cannot fail.
        let _ = write!(line, " first_{name}={first:.1} again_{name}={again:.2}");
    }
    Ok(format!("{value:.1} -{line}"))
}

/// What both processes hold besides, over the size of the value.
async fn buffer() -> fdbray::Result<String> {
    let len = 256 * MIB;
    produce::remote(MIB, 1).await?;
    let before = own_memory() + anonymous::remote().await?;
    let blob = produce::remote(len, 1).await?;
    let sum: u64 = blob.iter().map(|byte| u64::from(*byte)).sum();
    black_box(sum);
    let after = own_memory() + anonymous::remote().await?;
    let here = fdbray::store_stats().live;
    let copies = (after.saturating_sub(before) + here) as f64 / len as f64;
    // What is less than a hundredth of it is no copy of it.
    let copies = (copies * 100.0).round() / 100.0;
    Ok(format!("{copies:.3} - extra_bytes={}", after.saturating_sub(before) + here))
}

/// Calls/s with an argument of 1 MiB by reference, and without.
async fn task_arg(quick: bool) -> fdbray::Result<String> {
    let calls = if quick { 20_000 } else { 300_000 };
    let bytes = fdbray::put(&Blob::from(noise(MIB)))?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        without.push(calls_per_second(calls, nothing::remote).await?);
        with.push(calls_per_second(calls, || first_of::remote(&bytes)).await?);
    }
    Ok(format!("{:.0} {:.0}", middle(with), middle(without)))
}

async fn calls_per_second<T: fdbray::RemoteValue>(
    calls: usize,
    call: impl Fn() -> RemoteFuture<T>,
) -> fdbray::Result<f64> {
    const WINDOW: usize = 10_000;
    let started = Instant::now();
    let mut pending = std::collections::VecDeque::with_capacity(WINDOW);
    for _ in 0..calls {
        if pending.len() == WINDOW {
            for future in pending.drain(..WINDOW / 2) {
                future.await?;
            }
        }
        pending.push_back(call());
    }
    for future in pending {
        future.await?;
    }
    Ok(calls as f64 / started.elapsed().as_secs_f64())
}

/// Microseconds a call with a result of so many KiB, of which 16 are under way at once.
async fn by_size(quick: bool) -> fdbray::Result<String> {
    let mut line = "0 -".to_owned();
    for kib in [4_usize, 8, 16, 32, 64, 128, 256] {
        let calls = if quick { 500 } else { 4_000 };
        let mut took = Vec::new();
        for _ in 0..3 {
            let started = Instant::now();
            let mut pending: std::collections::VecDeque<RemoteFuture<String>> = Default::default();
            for _ in 0..calls {
                if pending.len() == 16
                    && let Some(oldest) = pending.pop_front()
                {
                    black_box(oldest.await?);
                }
                pending.push_back(text::remote(kib * 1024));
            }
            for future in pending {
                black_box(future.await?);
            }
            took.push(started.elapsed().as_secs_f64() * 1e6 / calls as f64);
        }
        // Writing into a string cannot fail.
        let _ = write!(line, " {kib}k={:.2}", middle(took));
    }
    Ok(line)
}

/// The most memory reserved over the bytes alive, while objects of all sizes come and go at random times.
async fn fan_in(quick: bool) -> fdbray::Result<String> {
    let objects = if quick { 2_000 } else { 10_000 };
    let source = Blob::from(noise(MIB));
    let mut random = Random(7);
    let (mut alive, mut most_live) = (Vec::new(), 0);
    for _ in 0..objects {
        // As many small ones as large ones, by the logarithm of their size.
        let len = (1000.0 * 1048.576_f64.powf(random.unit())) as usize;
        alive.push(fdbray::put(&source.slice(..len.min(MIB)))?);
        // About 500 are alive at any time.
        while alive.len() > 300 + random.below(400) {
            let which = random.below(alive.len());
            alive.swap_remove(which);
        }
        if random.below(20) == 0 {
            // What was dropped is freed meanwhile.
            tokio::time::sleep(Duration::from_millis(6)).await;
        }
        most_live = most_live.max(fdbray::store_stats().live);
    }
    let stats = fdbray::store_stats();
    let times = stats.peak_reserved as f64 / stats.peak_live as f64;
    let used = stats.peak_used as f64 / stats.peak_live as f64;
    Ok(format!("{times:.3} - peak_live_mb={:.1} used={used:.3}", most_live as f64 / 1e6))
}

/// MB/s of keeping and reading again twice as much as shared memory may have, beside the same of a file.
async fn spill(quick: bool) -> fdbray::Result<String> {
    let piece = 16 * MIB;
    let pieces = if quick { SPILL_FROM * 5 / 4 } else { 2 * SPILL_FROM } / piece;
    let source = Blob::from(noise(piece));
    let file = file_rate(&source, pieces).map_err(Error::application)?;
    let started = Instant::now();
    let objects: Vec<_> = (0..pieces).map(|_| fdbray::put(&source)).collect::<Result<_, _>>()?;
    for object in &objects {
        let blob = object.await?;
        black_box(blob.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>());
    }
    let rate = (2 * pieces * piece) as f64 / 1e6 / started.elapsed().as_secs_f64();
    Ok(format!("{rate:.0} {file:.0} spilled_mb={:.0}", fdbray::store_stats().spilled_ever as f64 / 1e6))
}

/// MB/s of writing a file and reading it again, in the same pieces.
fn file_rate(piece: &[u8], pieces: usize) -> io::Result<f64> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("file");
    let started = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..pieces {
        file.write_all(piece)?;
    }
    drop(file);
    let (mut file, mut buffer) = (File::open(&path)?, vec![0; piece.len()]);
    while file.read(&mut buffer)? > 0 {
        black_box(&buffer);
    }
    Ok((2 * pieces * piece.len()) as f64 / 1e6 / started.elapsed().as_secs_f64())
}

/// MB/s of bringing a value from the other host, the first time and later, when there is memory that was used before.
async fn pull(name: &str, quick: bool) -> fdbray::Result<String> {
    let len = if quick { 64 * MIB } else { 1024 * MIB };
    let zeros = name == "pull_1g_zeros";
    let mut rates = Vec::new();
    for salt in 1..=if name == "pull_1g" { 5 } else { 2 } {
        let future = produce::remote(len, if zeros { 0 } else { salt });
        fdbray::wait([&future], 1).await;
        let started = Instant::now();
        let value = future.await?;
        black_box((value[0], value[len - 1]));
        rates.push(len as f64 / 1e6 / started.elapsed().as_secs_f64());
        drop(value);
        until_empty().await?;
    }
    let cold = rates.remove(0);
    Ok(format!("{:.1} - cold={cold:.1}", middle(rates)))
}

/// Waits until nothing is in this process's shared memory.
async fn until_empty() -> fdbray::Result<()> {
    for _ in 0..2000 {
        if fdbray::store_stats().blocks == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(Error::application(format!("something is left: {}", fdbray::store_stats())))
}

fn rate(len: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    len as f64 / 1e9 / started.elapsed().as_secs_f64()
}

/// This process's memory that is its own.
fn own_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn middle(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(&mut bytes, 1);
    bytes
}

fn fill(bytes: &mut [u8], salt: u64) {
    let mut random = Random(salt);
    for word in bytes.chunks_mut(8) {
        let next = random.next().to_le_bytes();
        word.copy_from_slice(&next[..word.len()]);
    }
}

/// Numbers that look random: Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
