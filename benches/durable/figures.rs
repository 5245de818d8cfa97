//! The figures themselves: programs that use durable futures as anyone would. Each prints one line of numbers: the
//! figure, how many futures it is about, what the store layer counted for them, and what else there is to say.

use super::{
    cluster,
    report::{FIGURE, told},
};
use fdbray::prelude::*;
use fdbray_worker::control::store::Usage;
use futures_util::future::try_join_all;
use std::{
    collections::VecDeque,
    env, io,
    ops::{AddAssign, Sub},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// `1` in this variable asks for a look instead of a measurement.
pub const QUICK: &str = "FDBRAY_BENCH_QUICK";

/// Futures that are pending at once where the rate is measured.
const WINDOW: usize = 10_000;
/// Workers of the idle cluster.
const IDLE: usize = 4;

#[remote(durable)]
fn nothing(n: u64) -> u64 {
    n
}

/// What the process that runs it has asked of its store.
#[remote(cpus = 0)]
fn usage() -> [u64; 5] {
    let Usage { transactions, commits, sets, clears, bytes, .. } = Usage::now();
    [transactions, commits, sets, clears, bytes]
}

/// Takes the figure that the environment names. A worker never gets past the first line of its body.
#[fdbray::main]
pub async fn main() -> ExitCode {
    let name = env::var(FIGURE).unwrap_or_default();
    let quick = env::var(QUICK).is_ok_and(|q| q == "1");
    let taken = match &name[..] {
        "tasks" => tasks(if quick { 2_000 } else { 30_000 }).await,
        "latency" => latency(if quick { 50 } else { 1_000 }).await,
        "attach" => attach(if quick { 1_000 } else { 10_000 }).await,
        "submit" => submit(env::var(COUNT).ok().and_then(|n| n.parse().ok()).unwrap_or(0)).await,
        "idle" => idle(Duration::from_secs(if quick { 3 } else { 20 })).await,
        other => Err(Error::application(format!("there is no figure `{other}`"))),
    };
    told(&name, taken)
}

/// What this process and the workers have asked of their stores.
#[derive(Clone, Copy, Default)]
struct Asked([u64; 5]);

impl Asked {
    async fn until_now(workers: usize) -> fdbray::Result<Self> {
        let mut all = Asked(usage());
        for n in 0..workers {
            all += Asked(usage::options().resource(format!("w{n}"), 1).remote().await?);
        }
        Ok(all)
    }

    fn line(self, value: f64, futures: usize) -> String {
        let [_, commits, sets, clears, bytes] = self.0;
        format!("{value:.3} {futures} {commits} {sets} {clears} {bytes}")
    }
}

impl AddAssign for Asked {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(n, more)| *n += more);
    }
}

impl Sub for Asked {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Asked(std::array::from_fn(|n| self.0[n] - before.0[n]))
    }
}

/// Futures per second: submitted as fast as they go, awaited in the order of submission, with a window between.
async fn tasks(futures: usize) -> fdbray::Result<String> {
    stream(futures / 10).await?;
    let (before, started) = (Asked::until_now(1).await?, Instant::now());
    stream(futures).await?;
    let rate = futures as f64 / started.elapsed().as_secs_f64();
    Ok((Asked::until_now(1).await? - before).line(rate, futures))
}

async fn stream(futures: usize) -> fdbray::Result<()> {
    let mut pending: VecDeque<RemoteFuture<u64>> = VecDeque::with_capacity(WINDOW);
    let mut sum = 0;
    for n in 0..futures as u64 {
        if pending.len() >= WINDOW {
            for oldest in pending.drain(..WINDOW / 2) {
                sum += oldest.await?;
            }
        }
        pending.push_back(nothing::remote(n));
    }
    for future in pending {
        sum += future.await?;
    }
    let futures = futures as u64;
    check(sum, futures * futures.saturating_sub(1) / 2)
}

/// Median microseconds of a call that is awaited before the next.
async fn latency(futures: usize) -> fdbray::Result<String> {
    for n in 0..futures as u64 / 10 {
        nothing::remote(n).await?;
    }
    let before = Asked::until_now(1).await?;
    let mut took = Vec::with_capacity(futures);
    for n in 0..futures as u64 {
        let started = Instant::now();
        check(nothing::remote(n).await?, n)?;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    let median = took[took.len() / 2].as_secs_f64() * 1e6;
    Ok((Asked::until_now(1).await? - before).line(median, futures))
}

/// The most watches that this process has in use while it awaits futures that another process submitted, which is gone;
/// the seconds until it has attached to all, and until it knows all their values.
async fn attach(futures: usize) -> fdbray::Result<String> {
    let url = env::var("FDBRAY_CLUSTER").unwrap_or_default();
    let submitted = Command::new(env::current_exe().map_err(Error::application)?)
        .env("FDBRAY_CLUSTER", &url)
        .env(FIGURE, "submit")
        .env(COUNT, futures.to_string())
        // This process's own line is the one that counts.
        .stdout(Stdio::null())
        .status();
    if !submitted.map_err(Error::application)?.success() {
        return Err(Error::application("the process that submits failed"));
    }
    let started = Instant::now();
    let attached = try_join_all((0..futures).map(|n| RemoteFuture::<u64>::attach(key(n)))).await?;
    let attaching = started.elapsed();
    let mut most = Usage::now().watches;
    let all = try_join_all(attached.iter().map(IntoFuture::into_future));
    tokio::pin!(all);
    // Until here there was nobody to run them.
    let mut worker = None;
    let values = loop {
        tokio::select! {
            values = &mut all => break values?,
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(Usage::now().watches),
        }
        if worker.is_none() && started.elapsed() > attaching + Duration::from_millis(500) {
            worker = Some(Worker::start(&url).map_err(Error::application)?);
        }
    };
    let known = started.elapsed();
    check(values.iter().sum(), (futures as u64) * (futures as u64 - 1) / 2)?;
    let line = Asked::default().line(most as f64, futures);
    Ok(format!("{line} {:.3} {:.3}", attaching.as_secs_f64(), known.as_secs_f64()))
}

/// How many futures `submit` submits.
const COUNT: &str = "FDBRAY_BENCH_COUNT";

/// Submits futures and ends.
async fn submit(futures: usize) -> fdbray::Result<String> {
    let calls: Vec<_> =
        (0..futures).map(|n| nothing::options().durable_as(key(n)).remote(n as u64)).collect();
    for call in &calls {
        call.submitted().await?;
    }
    // Nobody reads what this process says.
    Ok(String::new())
}

fn key(n: usize) -> String {
    format!("job-{n}")
}

/// Transactions per second while nothing happens, and how many of them write.
async fn idle(during: Duration) -> fdbray::Result<String> {
    // From then on this process works for durable futures too.
    check(nothing::remote(1).await?, 1)?;
    Asked::until_now(IDLE).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, started) = (Asked::until_now(IDLE).await?, Instant::now());
    tokio::time::sleep(during).await;
    let asked = Asked::until_now(IDLE).await? - before;
    let seconds = started.elapsed().as_secs_f64();
    let [transactions, commits, ..] = asked.0;
    Ok(format!("{} {:.3}", asked.line(transactions as f64 / seconds, 0), commits as f64 / seconds))
}

/// A worker that ends with this.
struct Worker(Child);

impl Worker {
    fn start(url: &str) -> io::Result<Self> {
        cluster::worker(url, 0).map(Worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check<T: PartialEq + std::fmt::Debug>(is: T, should_be: T) -> fdbray::Result<()> {
    if is == should_be {
        return Ok(());
    }
    Err(Error::application(format!("came to {is:?} where {should_be:?} was due")))
}
