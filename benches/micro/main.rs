//! The figures of fdbray, each beside what the machine could do at best: `cargo bench --bench micro [-- NAME.. --quick]`.
//!
//! Every figure is taken several times, each time in a fresh process with a private cluster of its own, with its raw
//! limit (see `limits.rs`) measured right before it; the medians are reported. Machines are shared and bimodal, so
//! that only the ratio says something. Prints a table, and writes one JSON object per line to
//! `target/bench/micro.jsonl`: `{"name","value","unit","limit","ratio"}`, and besides `min`, `max`;
//! `threads`, the most that a worker had, where they were watched; and `limit_of_128` with `ratio_of_128`, the echo in
//! smaller batches, where the limit is the echo.

mod actors;
mod figures;
mod limits;
#[path = "../report.rs"]
mod report;

use limits::Batch;
use report::{FIGURE, Report, Taken};
use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

/// What a figure is compared with.
#[derive(Clone, Copy)]
enum Limit {
    /// Batched echo, frames/s.
    Echo,
    /// A ping-pong, microseconds.
    PingPong,
    /// Nothing: the figure stands for itself.
    None,
}

struct Figure {
    name: &'static str,
    unit: &'static str,
    limit: Limit,
    /// Fresh processes to take it in.
    times: usize,
}

const FIGURES: &[Figure] = &[
    Figure { name: "tasks_async", unit: "calls/s", limit: Limit::Echo, times: 3 },
    Figure { name: "tasks_sync", unit: "us", limit: Limit::PingPong, times: 3 },
    Figure { name: "tasks_map", unit: "calls/s", limit: Limit::Echo, times: 3 },
    Figure { name: "wait_1k", unit: "us", limit: Limit::PingPong, times: 3 },
    Figure { name: "nested_fib", unit: "calls/s", limit: Limit::None, times: 3 },
    Figure { name: "nested_fib_blocking", unit: "calls/s", limit: Limit::None, times: 3 },
    Figure { name: "pending_bytes", unit: "bytes/call", limit: Limit::None, times: 3 },
    Figure { name: "actor_sync", unit: "us", limit: Limit::PingPong, times: 3 },
    Figure { name: "actor_async", unit: "calls/s", limit: Limit::Echo, times: 3 },
    Figure { name: "actor_n_n", unit: "calls/s", limit: Limit::Echo, times: 3 },
    Figure { name: "actors_create", unit: "actors/s", limit: Limit::Echo, times: 3 },
    Figure { name: "actor_bytes", unit: "bytes/actor", limit: Limit::None, times: 3 },
    Figure { name: "shared_calls", unit: "times", limit: Limit::None, times: 3 },
    Figure { name: "shared_calls_blocking", unit: "times", limit: Limit::None, times: 3 },
    Figure { name: "start_ms", unit: "ms", limit: Limit::None, times: 10 },
];

fn main() -> ExitCode {
    limits::serve();
    report::main("micro", run, figures::main)
}

fn run() -> io::Result<()> {
    let names: Vec<&'static str> = FIGURES.iter().map(|f| f.name).collect();
    let (chosen, quick) = report::arguments(&names)?;
    let mut report = Report::begin("micro")?;
    for figure in FIGURES.iter().filter(|f| chosen.contains(&f.name)) {
        report.add(&measure(figure, quick)?)?;
    }
    report.end();
    Ok(())
}

/// Takes a figure several times, each time right after its limit.
fn measure(figure: &Figure, quick: bool) -> io::Result<Taken> {
    let (mut values, mut limits, mut limits_of_128, mut threads) = (Vec::new(), Vec::new(), Vec::new(), None);
    for _ in 0..if quick { 1 } else { figure.times } {
        match figure.limit {
            Limit::Echo => {
                let frames = if quick { 200_000 } else { 2_000_000 };
                limits.push(limits::echo(frames, Batch::Free)?);
                limits_of_128.push(limits::echo(frames, Batch::Of128)?);
            }
            Limit::PingPong => limits.push(limits::ping_pong(if quick { 2_000 } else { 20_000 })?),
            Limit::None => {}
        }
        let (value, most) = take(figure.name, quick)?;
        values.push(value);
        threads = threads.max(most);
    }
    let mut taken = Taken::of(figure.name, figure.unit, values, limits);
    if let Some(limit) = report::median(limits_of_128) {
        let ratio = taken.ratio_to(limit);
        taken.more = vec![("limit_of_128", limit), ("ratio_of_128", ratio)];
        taken.remark = format!("{ratio:.2} of the {} that go in batches of 128", report::short(limit));
    }
    if let Some(threads) = threads {
        taken.more.push(("threads", threads as f64));
        taken.remark = format!("at most {threads} threads in a worker");
    }
    Ok(taken)
}

/// Takes a figure once in a process of its own, which prints the value and perhaps a number of threads.
fn take(name: &str, quick: bool) -> io::Result<(f64, Option<u64>)> {
    let started = Instant::now();
    let mut child = Command::new(env::current_exe()?)
        .env(FIGURE, name)
        .env(figures::QUICK, if quick { "1" } else { "0" })
        // A figure is that of a private cluster, also where the environment names another.
        .env_remove("FDBRAY_CLUSTER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut said)?;
    }
    let to_first_line = started.elapsed().as_secs_f64() * 1e3;
    let status = child.wait()?;
    let mut numbers = said.split_whitespace();
    match (status.success(), numbers.next().and_then(|n| n.parse().ok())) {
        (true, Some(_)) if name == "start_ms" => Ok((to_first_line, None)),
        (true, Some(value)) => Ok((value, numbers.next().and_then(|n| n.parse().ok()))),
        _ => Err(io::Error::other(format!(
            "the process that takes {name} gave `{}` and {status}",
            said.trim()
        ))),
    }
}
