//! For the tests of crashes: remote functions that leave traces, signals, and waits that end.

mod app;
mod calls;
pub mod scenarios;
mod server;
mod store;

pub use app::{App, Cluster, all_gone};
pub use calls::{
    Start, aborts, big, big_once, bulk, content, copy_to_others, counted, exits_unless, length, never_ends,
    now_and_again, parent_of_slow, pid, pid_with, pids, sleepy, starts, tree, wait_for, who, work,
    work_async,
};

pub use server::FoundationDb;

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    future::IntoFuture,
    io::Write,
    thread,
    time::{Duration, Instant},
};

/// Says that a test was skipped, and why; also where what tests print is not shown.
pub fn skipped(test: &str, why: &str) {
    // If it cannot be said, the test is skipped nevertheless.
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}

/// Sends a signal to one process.
///
/// # Panics
/// If there is no such process.
pub fn send(pid: u32, signal: Signal) {
    let to = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    if let Err(e) = kill_process(to, signal) {
        panic!("signal {signal:?} to process {pid}: {e}");
    }
}

/// Waits for `future`, which must not take longer than `seconds`.
///
/// # Panics
/// If it does; the message says what was waited for.
pub async fn within<F: IntoFuture>(seconds: u64, what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(seconds), future.into_future()).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: did not happen within {seconds} s"),
    }
}

/// Waits on this thread until `f` gives something, for at most `seconds`.
///
/// # Panics
/// If it does not; the message says what was waited for.
pub fn eventually<T>(seconds: u64, what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = f() {
            return value;
        }
        assert!(Instant::now() < until, "{what}: did not happen within {seconds} s");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The children of a process that run or are stopped, in the order of their ids.
pub fn children(of: u32) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children: Vec<u32> =
        pids.filter(|pid| stat(*pid).is_some_and(|(state, parent)| parent == of && state != 'Z')).collect();
    children.sort_unstable();
    children
}

/// The children of a process once there are `count` of them.
///
/// # Panics
/// If there are not that many within 20 s.
pub fn children_of(of: u32, count: usize) -> Vec<u32> {
    eventually(20, "a driver has its worker processes", || Some(children(of)).filter(|c| c.len() == count))
}

/// Whether a process is there, be it stopped; one that waits to be reaped is gone.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Shows what fdbray logs on stderr, from the level that the variable `CRASH_LOG` names.
pub fn show_logs() {
    let level = std::env::var("CRASH_LOG")
        .ok()
        .and_then(|level| level.parse::<tracing_subscriber::filter::LevelFilter>().ok());
    if let Some(level) = level {
        // Somebody else may have set one.
        let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).try_init();
    }
}
