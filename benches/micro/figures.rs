//! The figures themselves: programs that use fdbray as anyone would. Each prints one line with what it measured.

use super::{
    actors,
    report::{FIGURE, told},
};
use fdbray::prelude::*;
use std::{
    collections::VecDeque,
    env, fs, future, io,
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// `1` in this variable asks for a look instead of a measurement.
pub const QUICK: &str = "FDBRAY_BENCH_QUICK";

pub const WINDOW: usize = crate::limits::WINDOW as usize;
const FIB: u64 = 22;

#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// Never ends; what depends on it stays pending. It takes next to nothing, so that others can run beside it.
#[remote(cpus = 0.01)]
async fn never() -> i64 {
    future::pending().await
}

#[remote]
async fn fib(n: u64) -> fdbray::Result<u64> {
    if n < 2 {
        return Ok(n);
    }
    let (a, b) = (fib::remote(n - 1), fib::remote(n - 2));
    Ok(a.await? + b.await?)
}

#[remote]
fn fib_blocking(n: u64) -> fdbray::Result<u64> {
    if n < 2 {
        return Ok(n);
    }
    let (a, b) = (fib_blocking::remote(n - 1), fib_blocking::remote(n - 2));
    Ok(a.wait()? + b.wait()?)
}

/// Takes the figure that the environment names. A worker never gets past the first line of its body.
#[fdbray::main]
pub async fn main() -> ExitCode {
    let name = env::var(FIGURE).unwrap_or_default();
    let size = if env::var(QUICK).is_ok_and(|q| q == "1") { Size::QUICK } else { Size::FULL };
    let taken = match &name[..] {
        "tasks_async" => tasks_async(size).await,
        "tasks_sync" => tasks_sync(size).await,
        "tasks_map" => tasks_map(size).await,
        "wait_1k" => wait_1k(size).await,
        "nested_fib" => nested_fib(false).await,
        "nested_fib_blocking" => nested_fib(true).await,
        "pending_bytes" => pending_bytes(size).await,
        "start_ms" => start().await,
        "actor_sync" => actors::sync(size).await,
        "actor_async" => actors::one_to_one(size).await,
        "actor_n_n" => actors::several(size).await,
        "actors_create" => actors::create(size).await,
        "actor_bytes" => actors::bytes(size).await,
        "shared_calls" => actors::together(false).await,
        "shared_calls_blocking" => actors::together(true).await,
        other => Err(Error::application(format!("there is no figure `{other}`"))),
    };
    told(&name, taken)
}

#[derive(Clone, Copy)]
pub struct Size {
    /// Calls of the figures that make many at once.
    pub many: i64,
    /// Rounds of the figures that wait for each.
    pub rounds: usize,
}

impl Size {
    const FULL: Size = Size { many: 1_000_000, rounds: 20_000 };
    const QUICK: Size = Size { many: 50_000, rounds: 500 };
}

/// Calls per second: submitted as fast as they go, awaited in the order of submission, with a window between.
async fn tasks_async(size: Size) -> fdbray::Result<String> {
    stream_of_calls(size.many / 10).await?;
    let started = Instant::now();
    stream_of_calls(size.many).await?;
    Ok(per_second(size.many, started))
}

async fn stream_of_calls(calls: i64) -> fdbray::Result<()> {
    let mut pending: VecDeque<RemoteFuture<i64>> = VecDeque::with_capacity(WINDOW);
    let mut sum = 0;
    for i in 0..calls {
        if pending.len() >= WINDOW {
            for oldest in pending.drain(..WINDOW / 2) {
                sum += oldest.await?;
            }
        }
        pending.push_back(add::remote(i, 1));
    }
    for future in pending {
        sum += future.await?;
    }
    check(sum, calls * (calls + 1) / 2)
}

/// Median microseconds of a call that is awaited before the next.
async fn tasks_sync(size: Size) -> fdbray::Result<String> {
    let mut took = Vec::with_capacity(size.rounds);
    for i in 0..(size.rounds + size.rounds / 10) as i64 {
        let started = Instant::now();
        let sum = add::remote(i, 1).await?;
        took.push(started.elapsed());
        check(sum, i + 1)?;
    }
    Ok(median_us(took.split_off(size.rounds / 10)))
}

/// Calls per second: one batch, all awaited together.
async fn tasks_map(size: Size) -> fdbray::Result<String> {
    for many in [size.many / 10, size.many] {
        let started = Instant::now();
        let settled = fdbray::settle(add::map((0..many).map(|i| (i, 1)))).await;
        let line = per_second(many, started);
        let sum = settled.into_iter().sum::<fdbray::Result<i64>>()?;
        check(sum, many * (many + 1) / 2)?;
        if many == size.many {
            return Ok(line);
        }
    }
    unreachable!("the second round returns")
}

/// Median microseconds from a call's submission until `wait` gives it back from among 1,000 pending futures.
async fn wait_1k(size: Size) -> fdbray::Result<String> {
    let never = never::remote();
    let pending = add::map((0..999).map(|i| (&never, i)));
    let mut took = Vec::with_capacity(size.rounds / 10);
    for _ in 0..size.rounds / 10 + 100 {
        let started = Instant::now();
        let one = add::remote(1, 2);
        let (ready, rest) = fdbray::wait(pending.iter().chain([&one]), 1).await;
        took.push(started.elapsed());
        check((ready.len() as i64, rest.len() as i64), (1, 999))?;
    }
    never.cancel();
    Ok(median_us(took.split_off(100)))
}

/// Calls per second of a call tree, and the most threads that a worker had meanwhile.
async fn nested_fib(blocking: bool) -> fdbray::Result<String> {
    let call = |n| if blocking { fib_blocking::remote(n) } else { fib::remote(n) };
    call(FIB / 2).await?;
    let threads = Threads::watch();
    let started = Instant::now();
    let value = call(FIB).await?;
    // Each call but the leaves makes two more.
    let line = per_second(2 * fib_of(FIB + 1) as i64 - 1, started);
    check(value, fib_of(FIB))?;
    Ok(format!("{line} {}", threads.most()))
}

/// Resident bytes by which this process grows per pending call.
async fn pending_bytes(size: Size) -> fdbray::Result<String> {
    check(add::map((0..1000).map(|i| (i, 1))).remove(999).await?, 1000)?;
    let never = never::remote();
    let before = resident()?;
    let pending: Vec<_> = (0..size.many).map(|i| add::remote(&never, i)).collect();
    let after = resident()?;
    never.cancel();
    let ended = fdbray::settle(&pending).await;
    check(ended.iter().filter(|e| matches!(e, Err(Error::Cancelled { .. }))).count(), pending.len())?;
    Ok(format!("{:.1}", (after.saturating_sub(before)) as f64 / size.many as f64))
}

/// The first result of a program. Who started it takes the time.
async fn start() -> fdbray::Result<String> {
    Ok(add::remote(1, 2).await?.to_string())
}

pub fn per_second(calls: i64, since: Instant) -> String {
    format!("{:.0}", calls as f64 / since.elapsed().as_secs_f64())
}

pub fn median_us(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    format!("{:.2}", took[took.len() / 2].as_secs_f64() * 1e6)
}

pub fn check<T: PartialEq + std::fmt::Debug>(is: T, should_be: T) -> fdbray::Result<()> {
    if is == should_be {
        return Ok(());
    }
    Err(Error::application(format!("came to {is:?} where {should_be:?} was due")))
}

fn fib_of(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// This process's resident bytes.
fn resident() -> io::Result<u64> {
    let kilobytes =
        status(process::id(), "VmRSS:").ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS"))?;
    Ok(kilobytes << 10)
}

/// A number in a process's `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

/// Looks at the number of threads of this process's workers again and again.
struct Threads {
    done: Arc<AtomicBool>,
    most: JoinHandle<u64>,
}

impl Threads {
    fn watch() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let most = thread::spawn({
            let done = done.clone();
            move || {
                let workers = children();
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = workers.iter().filter_map(|pid| status(*pid, "Threads:")).fold(most, u64::max);
                    thread::sleep(Duration::from_millis(5));
                }
                most
            }
        });
        Threads { done, most }
    }

    fn most(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.most.join().expect("the watching thread has nothing that panics")
    }
}

pub fn children() -> Vec<u32> {
    let me = u64::from(process::id());
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid, "PPid:") == Some(me))
        .collect()
}
