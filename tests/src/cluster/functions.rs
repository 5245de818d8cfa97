//! The remote functions that the tests of clusters call.

use fdbray::{Blob, RemoteFuture, remote};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io, process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// The sum.
#[remote]
pub fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// The sum, async.
#[remote]
pub async fn add_async(x: i64, y: i64) -> i64 {
    x + y
}

/// Sleeps on its thread and gives `n` back.
#[remote]
pub fn nap(n: u64, millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    n
}

/// Sleeps on a timer and gives `n` back.
#[remote]
pub async fn doze(n: u64, millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    n
}

/// Never ends.
#[remote]
pub fn blocks_for_ever() -> u64 {
    loop {
        thread::park();
    }
}

/// Never ends, but can be dropped where it awaits.
#[remote]
pub async fn waits_for_ever(dropped: String) -> u64 {
    struct Note(String);
    impl Drop for Note {
        fn drop(&mut self) {
            // The test waits for the file and says so if it never comes.
            let _ = std::fs::write(&self.0, "dropped");
        }
    }
    let _note = Note(dropped);
    std::future::pending::<()>().await;
    unreachable!("nothing ends this but dropping it")
}

/// Waits until a file is there.
#[remote]
pub async fn waits_for_file(path: String) -> u64 {
    while !std::path::Path::new(&path).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    7
}

/// How many bytes, and their sum.
#[remote]
pub fn weigh(bytes: &[u8]) -> (usize, u64) {
    (bytes.len(), bytes.iter().map(|b| u64::from(*b)).sum())
}

/// So many bytes.
#[remote]
pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// So many bytes, all of them `n`.
#[remote]
pub fn blob(n: u8, len: usize) -> Blob {
    vec![n; len].into()
}

/// The same bytes back.
#[remote]
pub fn echo_blob(bytes: Blob) -> Blob {
    bytes
}

/// The same bytes back.
#[remote]
pub fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// As many parameters as a remote function may have.
#[remote]
#[allow(clippy::too_many_arguments)]
pub fn twelve(
    a: u8,
    b: u16,
    c: u32,
    d: u64,
    e: i8,
    f: i16,
    g: i32,
    h: i64,
    i: String,
    j: Option<char>,
    k: (bool, f64),
    l: Vec<u8>,
) -> String {
    format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j:?} {k:?} {l:?}")
}

/// No parameters and no result.
#[remote]
pub fn nothing() {}

/// Borrowed parameters of all kinds.
#[remote]
pub fn borrows(text: &str, numbers: &[i64], order: &Order) -> String {
    format!("{text} {} {}", numbers.iter().sum::<i64>(), order.item)
}

/// A value with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub item: String,
    /// How many.
    pub count: u32,
}

/// Futures in a struct and in collections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Basket {
    /// One of them.
    pub first: RemoteFuture<i64>,
    /// Many.
    pub others: Vec<RemoteFuture<i64>>,
    /// By name.
    pub named: BTreeMap<String, RemoteFuture<i64>>,
}

/// The sum of all that is in it.
#[remote]
pub async fn total(basket: Basket) -> fdbray::Result<i64> {
    let mut sum = basket.first.await?;
    for other in basket.others.iter().chain(basket.named.values()) {
        sum += other.await?;
    }
    Ok(sum)
}

/// The same on a thread.
#[remote]
pub fn total_blocking(basket: &Basket) -> fdbray::Result<i64> {
    let mut sum = basket.first.wait()?;
    for other in basket.others.iter().chain(basket.named.values()) {
        sum += other.wait()?;
    }
    Ok(sum)
}

/// A basket of calls that this task makes.
#[remote]
pub fn fill(n: i64) -> Basket {
    Basket {
        first: add::remote(n, 0),
        others: add::map((1..n).map(|i| (i, 0))),
        named: [("double".to_owned(), add::remote(n, n))].into(),
    }
}

/// A future in the place of a value.
#[remote]
pub fn later(x: i64, y: i64) -> RemoteFuture<i64> {
    add::remote(x, y)
}

/// The future that it was given, unawaited.
#[remote]
pub fn passes_on(future: RemoteFuture<i64>) -> RemoteFuture<i64> {
    future
}

/// Fibonacci by nested calls, async.
#[remote]
pub async fn fib(n: u32) -> fdbray::Result<u64> {
    if n < 2 {
        return Ok(u64::from(n));
    }
    let (a, b) = (fib::remote(n - 1), fib::remote(n - 2));
    Ok(a.await? + b.await?)
}

/// Fibonacci by nested calls, each of which blocks its thread.
#[remote]
pub fn fib_blocking(n: u32) -> fdbray::Result<u64> {
    if n < 2 {
        return Ok(u64::from(n));
    }
    let (a, b) = (fib_blocking::remote(n - 1), fib_blocking::remote(n - 2));
    Ok(a.wait()? + b.wait()?)
}

/// One call within another, `n` deep.
#[remote]
pub fn deep(n: u32) -> fdbray::Result<u32> {
    if n == 0 { Ok(0) } else { Ok(deep::remote(n - 1).wait()? + 1) }
}

/// How often it looked until a call that takes so long had ended, and what that gave.
#[remote]
pub fn looks_again(millis: u64) -> fdbray::Result<(u32, u64)> {
    let slow = nap::remote(millis, millis);
    let mut looks = 1;
    loop {
        match slow.wait_timeout(Duration::from_millis(20))? {
            Some(value) => return Ok((looks, value)),
            None => looks += 1,
        }
    }
}

/// The same as `deep`, async.
#[remote]
pub async fn deep_async(n: u32) -> fdbray::Result<u32> {
    if n == 0 { Ok(0) } else { Ok(deep_async::remote(n - 1).await? + 1) }
}

/// Blocks its thread until a future that it is given ends.
#[remote]
pub fn waits_for(future: RemoteFuture<u64>, n: u64) -> fdbray::Result<u64> {
    Ok(future.wait()? + n)
}

/// The same, async.
#[remote]
pub async fn awaits(future: RemoteFuture<u64>, n: u64) -> fdbray::Result<u64> {
    Ok(future.await? + n)
}

/// Calls itself twice and waits for neither, without end.
#[remote]
pub fn bomb(depth: u64) -> fdbray::Result<u64> {
    let (a, b) = (bomb::remote(depth + 1), bomb::remote(depth + 1));
    Ok(a.wait()? + b.wait()?)
}

/// The same, async, with some weight in every call.
#[remote]
pub async fn bomb_async(depth: u64, weight: Vec<u8>) -> fdbray::Result<u64> {
    let (a, b) = (bomb_async::remote(depth + 1, &weight), bomb_async::remote(depth + 1, &weight));
    Ok(a.await? + b.await?)
}

/// What `fdbray::task::current()` says: id, attempt, function, worker.
#[remote]
pub fn context() -> Option<(String, u32, String, u64)> {
    fdbray::task::current().map(|t| (t.id.to_string(), t.attempt, t.function.to_owned(), t.worker.get()))
}

/// The same, async and after a while.
#[remote]
pub async fn context_async() -> Option<(String, u32, String, u64)> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    fdbray::task::current().map(|t| (t.id.to_string(), t.attempt, t.function.to_owned(), t.worker.get()))
}

/// How many of these run at once at most, in this process.
#[remote]
pub fn crowd(millis: u64) -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let before = NOW.fetch_add(1, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(millis));
    NOW.fetch_sub(1, Ordering::SeqCst);
    before + 1
}

/// The process that runs it.
#[remote]
pub fn whereabouts() -> u32 {
    process::id()
}

/// The process that runs it, after a while.
#[remote]
pub async fn whereabouts_later(millis: u64) -> u32 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    process::id()
}

/// The resident bytes of the process that runs it.
#[remote]
pub fn resident() -> u64 {
    resident_here()
}

/// The resident bytes of this process.
pub fn resident_here() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Prints and logs in all ways there are.
#[remote]
pub fn talks(name: &str) {
    println!("stdout of {name}");
    eprintln!("stderr of {name}");
    tracing::info!("tracing of {name}");
}

/// The same, async.
#[remote]
pub async fn talks_async(name: String) {
    println!("stdout of {name}");
    tokio::task::yield_now().await;
    eprintln!("stderr of {name}");
}

/// Creates a file.
#[remote]
pub fn touch(path: &str) -> io::Result<()> {
    std::fs::write(path, "touched")
}
