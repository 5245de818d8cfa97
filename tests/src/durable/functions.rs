//! Remote functions for the tests of durable futures.

use fdbray::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// Adds.
#[remote(durable)]
pub fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// Of the same types.
#[remote(durable)]
pub fn subtract(x: i64, y: i64) -> i64 {
    x - y
}

/// What it is given.
#[remote]
pub fn after(x: i32) -> i32 {
    x
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

/// Why [`refuses()`] does.
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

/// Panics.
#[remote]
pub fn panics(message: String) -> i64 {
    panic!("{message}")
}

/// Leaves a note and fails, unless there are so many notes of `n` by then.
#[remote]
pub fn fails_until(file: String, n: u64, times: u64) -> Result<u64, Refusal> {
    note(&file, n);
    let noted = notes_in(Path::new(&file)).iter().filter(|noted| noted.n == n).count() as u64;
    if noted > times { Ok(noted) } else { Err(Refusal { code: noted as i32 }) }
}

/// Leaves a note, then sleeps.
#[remote]
pub fn notes(file: String, n: u64, millis: u64) -> u64 {
    note(&file, n);
    std::thread::sleep(Duration::from_millis(millis));
    n
}

/// Leaves a note, then takes its process with it.
#[remote]
pub fn aborts(file: String) -> i64 {
    note(&file, 0);
    std::process::abort();
}

/// The same as [`notes()`], of a result that its worker keeps.
#[remote]
pub fn notes_large(file: String, n: u64, len: usize) -> Vec<u8> {
    note(&file, n);
    vec![n as u8; len]
}

/// Leaves a note, then waits until there is the file `until`.
#[remote]
pub fn waits(file: String, n: u64, until: String) -> u64 {
    note(&file, n);
    // A test that went wrong does not have it go on for ever.
    let begun = Instant::now();
    while !Path::new(&until).exists() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(10));
    }
    n
}

/// The same, async.
#[remote]
pub async fn waits_async(file: String, n: u64, until: String) -> u64 {
    note(&file, n);
    let begun = Instant::now();
    while !Path::new(&until).exists() && begun.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    n
}

/// The next number.
#[remote]
pub fn plus_one(n: u64) -> u64 {
    n + 1
}

/// Futures in a struct.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// One.
    pub left: RemoteFuture<i64>,
    /// The other.
    pub right: RemoteFuture<i64>,
}

/// Awaits both.
#[remote]
pub async fn sum(pair: Pair) -> fdbray::Result<i64> {
    Ok(pair.left.await? + pair.right.await?)
}

/// A durable future, made in a task, in its result.
#[remote]
pub async fn makes(x: i64) -> fdbray::Result<Pair> {
    let left = add::remote(x, 0);
    let right = add::remote(&left, 1);
    left.submitted().await?;
    right.submitted().await?;
    Ok(Pair { left, right })
}

/// Futures in its result that the process owns.
#[remote]
pub fn makes_owned() -> Pair {
    let zero = add_here::remote(0, 0);
    Pair { left: zero.clone(), right: zero }
}

/// Adds, for a process.
#[remote]
pub fn add_here(x: i64, y: i64) -> i64 {
    x + y
}

/// The process that runs this, in a value that it keeps.
#[remote]
pub fn keeps() -> Vec<u32> {
    vec![std::process::id(); 50_000]
}

/// The process that runs this, and the length of what it was given.
#[remote]
pub fn runs_in(bytes: Vec<u32>) -> (u32, usize) {
    (std::process::id(), bytes.len())
}

/// Whether this process is a member to itself, and how many calls of two CPUs nobody can run, as it sees that.
#[remote]
pub async fn looks() -> fdbray::Result<(bool, usize)> {
    let two = add::options().cpus(2).remote(1, 1);
    two.submitted().await?;
    let me = fdbray::task::current().map(|task| task.worker);
    let found = fdbray::cluster::unschedulable().await?;
    two.cancel();
    let own = me.is_some_and(|me| fdbray::cluster::members().is_ok_and(|members| members.contains_key(&me)));
    Ok((own, found.into_iter().filter(|found| found.shape.cpus == 20_000).map(|found| found.futures).sum()))
}

/// What this task is: the id of its future, and the attempt.
#[remote]
pub fn who_am_i() -> (String, u32) {
    fdbray::task::current().map(|task| (task.id.to_string(), task.attempt)).unwrap_or_default()
}

/// `durable_other` has it too.
#[remote(name = "durable::same")]
pub fn same(x: i64) -> String {
    format!("{x} from the app")
}

/// `durable_other` has it too.
#[remote(name = "durable::same_zeros")]
pub fn same_zeros(n: usize) -> Vec<u8> {
    vec![0; n]
}

/// `durable_other`'s is of other types.
#[remote(name = "durable::differs")]
pub fn differs(x: i64) -> i64 {
    x + 1
}

/// What one attempt left in a file when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The call.
    pub n: u64,
    /// The process.
    pub pid: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// All that was noted in a file, in order.
///
/// # Panics
/// If a line is not one of `note`'s.
pub fn notes_in(file: &Path) -> Vec<Note> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let n = words.next()?.parse().ok()?;
        Some(Note { n, pid: words.next()?.parse().ok()?, attempt: words.next()?.parse().ok()? })
    };
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("a torn line: {line:?}"))).collect()
}

/// One write, so that nothing of it is lost with the process.
fn note(file: &str, n: u64) {
    let attempt = fdbray::task::current().map_or(0, |task| task.attempt);
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).expect("a file for notes");
    let line = format!("{n} {} {attempt}\n", std::process::id());
    file.write_all(line.as_bytes()).expect("room for a note");
}
