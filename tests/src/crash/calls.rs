//! Remote functions for the tests of crashes.

use fdbray::{Blob, RemoteFuture, remote};
use std::{collections::BTreeSet, fs::OpenOptions, io::Write, path::Path, thread, time::Duration};

/// The process that runs it.
#[remote]
pub fn pid() -> u32 {
    std::process::id()
}

/// The process and the worker that run it, after so many milliseconds.
#[remote]
pub fn who(millis: u64) -> String {
    thread::sleep(Duration::from_millis(millis));
    let worker = fdbray::task::current().map(|task| task.worker.to_string());
    format!("{}:{}", std::process::id(), worker.unwrap_or_default())
}

/// Takes `micros` and gives `n` back.
#[remote]
pub fn work(n: u64, micros: u64) -> u64 {
    thread::sleep(Duration::from_micros(micros));
    n
}

/// The same, async.
#[remote]
pub async fn work_async(n: u64, micros: u64) -> u64 {
    tokio::time::sleep(Duration::from_micros(micros)).await;
    n
}

/// As `work`, and leaves a line about its start in `file`.
#[remote]
pub fn counted(n: u64, micros: u64, file: &str) -> u64 {
    note(n, file);
    thread::sleep(Duration::from_micros(micros));
    n
}

/// Leaves a line about its start, then takes its process with it.
#[remote]
pub fn aborts(file: &str) {
    note(0, file);
    std::process::abort();
}

/// Leaves a line about its start, and runs until its process ends.
#[remote]
pub fn never_ends(file: &str) {
    note(0, file);
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Leaves a line about its start, sleeps so many milliseconds on a tokio timer, and tells its process.
#[remote]
pub async fn sleepy(millis: u64, file: String) -> u32 {
    note(0, &file);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    std::process::id()
}

/// So many bytes of `n`, and a line about the start.
#[remote]
pub fn big(n: u8, len: usize, file: &str) -> Vec<u8> {
    note(u64::from(n), file);
    vec![n; len]
}

/// As `big`, but is not attempted again.
#[remote(retries = 0)]
pub fn big_once(n: u8, len: usize, file: &str) -> Vec<u8> {
    note(u64::from(n), file);
    vec![n; len]
}

/// So many bytes, which [`content`] tells, and a line about the start. Never attempted again.
#[remote(retries = 0)]
pub fn bulk(len: usize, text: bool, file: &str) -> Blob {
    note(0, file);
    Blob::from(content(len, text))
}

/// Bytes that tell where they are: text, which shrinks, or noise, which does not.
pub fn content(len: usize, text: bool) -> Vec<u8> {
    let line = |n: usize| {
        (0..8).map(move |i| if text { b'a' + ((n >> (2 * i)) & 3) as u8 } else { (n >> (8 * i)) as u8 })
    };
    let noise =
        |n: usize| (n as u64 ^ 0x9e37_79b9).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) as usize;
    let words = (0..len.div_ceil(8)).flat_map(|n| line(if text { n } else { noise(noise(n)) }));
    words.take(len).collect()
}

/// The process that was given these bytes.
#[remote]
pub fn pid_with(bytes: &[u8]) -> u32 {
    assert!(!bytes.is_empty());
    std::process::id()
}

/// The same, where another process has them already.
#[remote]
pub async fn pid_with_all(bytes: Blob) -> u32 {
    assert!(!bytes.is_empty());
    std::process::id()
}

/// Has the value copied to all workers but the one with this process id; they tell theirs.
///
/// # Panics
/// When this process is in no cluster.
pub fn copy_to_others(value: &RemoteFuture<Blob>, maker: u32) -> Vec<RemoteFuture<u32>> {
    let members = fdbray::cluster::members().unwrap_or_else(|e| panic!("{e}"));
    let others = members.values().filter(|m| m.role == fdbray::cluster::Role::Worker && m.host.pid != maker);
    others.map(|other| pid_with_all::options().on(other.id).remote(value)).collect()
}

/// Waits until the future has ended, without its value.
pub async fn wait_for<T>(future: &RemoteFuture<T>) {
    fdbray::wait([future], 1).await;
}

/// How many bytes it was given.
#[remote]
pub fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

/// A future of a task that this task makes, and the process that owns it.
#[remote]
pub fn parent_of_slow(millis: u64, file: String) -> (u32, RemoteFuture<u32>) {
    (std::process::id(), sleepy::remote(millis, file))
}

/// Ends its process with code 3 unless `file` exists.
#[remote]
pub fn exits_unless(file: &str) -> u32 {
    if !Path::new(file).exists() {
        std::process::exit(3);
    }
    std::process::id()
}

/// How many leaves a binary tree of calls has.
#[remote]
pub async fn tree(depth: u64) -> fdbray::Result<u64> {
    if depth == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        return Ok(1);
    }
    let (left, right) = (tree::remote(depth - 1), tree::remote(depth - 1));
    Ok(left.await? + right.await?)
}

/// Prints a line and gives `n` back.
#[remote]
pub fn now_and_again(n: u64) -> u64 {
    println!("now and again: {n}");
    n
}

/// The processes that run a good number of calls.
pub async fn pids() -> BTreeSet<u32> {
    let calls = fdbray::settle((0..200).map(|_| pid::remote())).await;
    calls.into_iter().map(|pid| pid.expect("a call of `pid`")).collect()
}

/// What one attempt left in a file when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The call.
    pub n: u64,
    /// The process.
    pub pid: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// All starts that calls left in `file`, in order.
///
/// # Panics
/// If a line is not one of `note`'s.
pub fn starts(file: &Path) -> Vec<Start> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let start = |line: &str| {
        let mut words = line.split(' ');
        Some(Start {
            n: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
            attempt: words.next()?.parse().ok()?,
        })
    };
    text.lines().map(|line| start(line).unwrap_or_else(|| panic!("a torn line: {line:?}"))).collect()
}

/// One write to a file that is appended to, so that nothing of it is lost with the process.
fn note(n: u64, file: &str) {
    let attempt = fdbray::task::current().map_or(0, |task| task.attempt);
    let line = format!("{n} {} {attempt}\n", std::process::id());
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut f| f.write_all(line.as_bytes()));
    written.unwrap_or_else(|e| panic!("{file}: {e}"));
}
