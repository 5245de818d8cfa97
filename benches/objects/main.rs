//! The figures of objects, each beside what the machine could do at best: `cargo bench --bench objects [-- NAME.. --quick]`.
//!
//! Each is taken in fresh processes, several times; the medians are reported. Prints a table, and writes one JSON object
//! per line to `target/bench/objects.jsonl`: `{"name","value","unit","limit","ratio"}`, and besides `min`, `max`,
//! `to_reach`, and what else was measured on the way.
//!
//! | figure | what | limit |
//! |---|---|---|
//! | `put_256m` | GB/s of `put` of a `Blob`, after the first | memcpy into memory that was used before |
//! | `get_256m` | microseconds until a `Blob` that a worker has made can be read here | |
//! | `buffer_256m` | copies of a value that a task writes in a `buffer` and the driver reads: what both processes took beside the value itself, over its size | |
//! | `task_arg_1m` | calls/s with the same argument of 1 MiB | the same calls without it |
//! | `inline_kib` | the size from which on a result is quicker by way of shared memory than inside a message; `FDBRAY_INLINE_BYTES` should be about that | |
//! | `fan_in_mixed` | 10,000 objects of 1 kB to 1 MiB at random times: the most memory reserved, over the most bytes alive at that time | |
//! | `spill_2x` | MB/s of writing and reading back twice what shared memory may have | writing and reading a file |
//! | `pull_1g` | MB/s between two network namespaces | a plain TCP copy over the same link |
//! | `pull_1g_shaped`, `_zeros` | the same over a link of 1 Gbit/s; of data that can be compressed | the same |
//!
//! The last three need root, `ip` and `tc`; where they cannot be had they are skipped, by name.

mod figures;
mod link;
mod network;
#[path = "../report.rs"]
mod report;

use network::Network;
use report::{FIGURE, Report, Taken};
use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

struct Figure {
    name: &'static str,
    unit: &'static str,
    /// The value to reach, or the ratio where there is a limit.
    to_reach: f64,
    /// Whether it is between hosts.
    between: bool,
    /// Fresh processes to take it in.
    times: usize,
}

#[rustfmt::skip]
const FIGURES: &[Figure] = &[
    Figure { name: "put_256m", unit: "GB/s", to_reach: 0.8, between: false, times: 5 },
    Figure { name: "get_256m", unit: "us", to_reach: 200.0, between: false, times: 5 },
    Figure { name: "buffer_256m", unit: "copies", to_reach: 0.0, between: false, times: 3 },
    Figure { name: "task_arg_1m", unit: "calls/s", to_reach: 0.5, between: false, times: 3 },
    Figure { name: "inline_kib", unit: "KiB", to_reach: 64.0, between: false, times: 3 },
    Figure { name: "fan_in_mixed", unit: "times", to_reach: 1.5, between: false, times: 3 },
    Figure { name: "spill_2x", unit: "MB/s", to_reach: 0.5, between: false, times: 3 },
    Figure { name: "pull_1g", unit: "MB/s", to_reach: 0.7, between: true, times: 3 },
    Figure { name: "pull_1g_shaped", unit: "MB/s", to_reach: 0.9, between: true, times: 1 },
    Figure { name: "pull_1g_zeros", unit: "MB/s", to_reach: 1.5, between: true, times: 1 },
];

fn main() -> ExitCode {
    link::serve();
    report::main("objects", run, figures::main)
}

fn run() -> io::Result<()> {
    let names: Vec<&'static str> = FIGURES.iter().map(|f| f.name).collect();
    let (chosen, quick) = report::arguments(&names)?;
    let mut report = Report::begin("objects")?;
    for figure in FIGURES.iter().filter(|f| chosen.contains(&f.name)) {
        let network = match figure.between.then(|| Network::new(figure.name != "pull_1g")).transpose() {
            Ok(network) => network,
            Err(why) => {
                println!("{:<26} skipped: {why}", figure.name);
                continue;
            }
        };
        report.add(&measure(figure, network.as_ref(), quick)?)?;
    }
    report.end();
    Ok(())
}

fn measure(figure: &Figure, network: Option<&Network>, quick: bool) -> io::Result<Taken> {
    let (mut values, mut limits, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if quick { 1 } else { figure.times } {
        let now = match network {
            Some(network) => network.pull(figure.name, quick)?,
            None if figure.name == "inline_kib" => crossing(quick)?,
            None => {
                let mut command = Command::new(env::current_exe()?);
                if figure.name == "spill_2x" {
                    command.env("FDBRAY_STORE_BYTES", figures::SPILL_FROM.to_string());
                }
                take(command, figure.name, quick)?
            }
        };
        values.push(now.value);
        limits.extend(now.limit);
        more = now.more;
    }
    let mut taken = Taken::of(figure.name, figure.unit, values, limits);
    let said: Vec<String> =
        more.iter().map(|(name, value)| format!("{name} {}", report::short(*value))).collect();
    taken.remark = said.join(", ");
    taken.more = more.into_iter().map(|(name, value)| (&*name.leak(), value)).collect();
    taken.more.push(("to_reach", figure.to_reach));
    Ok(taken)
}

/// What a process says of a figure: `VALUE [LIMIT|-] [NAME=VALUE]..`.
struct Said {
    value: f64,
    limit: Option<f64>,
    more: Vec<(String, f64)>,
}

/// From which size on results are quicker by way of shared memory.
fn crossing(quick: bool) -> io::Result<Said> {
    let by = |inline: &str| {
        let mut command = Command::new(env::current_exe()?);
        command.env("FDBRAY_INLINE_BYTES", inline);
        take(command, "inline_kib", quick)
    };
    let (messages, memory) = (by("8MiB")?, by("1")?);
    let pairs = messages.more.iter().zip(&memory.more);
    let quicker = pairs.clone().filter(|((_, message), (_, memory))| memory < message);
    let first = quicker.filter_map(|((size, _), _)| size.strip_suffix("k")?.parse().ok()).next();
    let more = pairs.flat_map(|((size, message), (_, memory))| {
        [(format!("message_{size}"), *message), (format!("memory_{size}"), *memory)]
    });
    Ok(Said { value: first.unwrap_or(f64::INFINITY), limit: None, more: more.collect() })
}

/// Takes a figure once in a process of its own.
fn take(mut command: Command, name: &str, quick: bool) -> io::Result<Said> {
    let mut child = command
        .env(FIGURE, name)
        .env(figures::QUICK, if quick { "1" } else { "0" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut said)?;
    }
    let status = child.wait()?;
    let wrong =
        || io::Error::other(format!("the process that takes {name} gave `{}` and {status}", said.trim()));
    let mut words = said.split_whitespace();
    let value = words.next().and_then(|n| n.parse().ok()).filter(|_| status.success()).ok_or_else(wrong)?;
    let limit = words.next().and_then(|n| n.parse().ok());
    let more = words.filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Ok(Said { value, limit, more: more.collect() })
}
