//! The figures of fdbray, each beside what the machine could do at best: `cargo bench --bench micro [-- NAME.. --quick]`.
//!
//! Every figure is taken several times, each time in a fresh process with a private cluster of its own, with its raw
//! limit (see `limits.rs`) measured right before it; the medians are reported. Machines are shared and bimodal, so
//! that only the ratio says something. Prints a table, and writes one JSON object per line to
//! `target/bench/micro.jsonl`: `{"name","value","unit","limit","ratio"}`, and besides `min`, `max`;
//! `threads`, the most that a worker had, where they were watched; and `limit_of_128` with `ratio_of_128`, the echo in
//! smaller batches, where the limit is the echo.

mod figures;
mod limits;

use limits::Batch;
use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

/// The variable that makes a copy of this program take one figure.
const FIGURE: &str = "FDBRAY_BENCH_FIGURE";

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
    Figure { name: "start_ms", unit: "ms", limit: Limit::None, times: 10 },
];

fn main() -> ExitCode {
    limits::serve();
    // A process that takes a figure, or a worker of one.
    if env::var_os(FIGURE).is_some() || env::args().any(|arg| arg == "--worker") {
        return figures::main();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("micro: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let (mut names, mut quick) = (Vec::new(), false);
    for arg in env::args().skip(1) {
        match &arg[..] {
            "--quick" => quick = true,
            // Cargo says so to every benchmark.
            "--bench" => {}
            name if FIGURES.iter().any(|f| f.name == name) => names.push(arg),
            other => {
                let names: Vec<_> = FIGURES.iter().map(|f| f.name).collect();
                let message = format!("`{other}` is neither --quick nor one of {}", names.join(", "));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
    }
    let path = output()?;
    let mut file = fs::File::create(&path)?;
    println!(
        "{:<20} {:>12} {:<10} {:>12} {:>7}   {:>12} .. max",
        "figure", "value", "unit", "limit", "ratio", "min"
    );
    for figure in FIGURES.iter().filter(|f| names.is_empty() || names.iter().any(|n| n == f.name)) {
        let taken = Taken::of(figure, quick)?;
        println!("{}", taken.row());
        writeln!(file, "{}", taken.json())?;
    }
    println!("written to {}", path.display());
    Ok(())
}

/// A figure's medians.
struct Taken<'a> {
    figure: &'a Figure,
    value: f64,
    min: f64,
    max: f64,
    limit: Option<f64>,
    /// The same limit in batches of 128 frames.
    limit_of_128: Option<f64>,
    threads: Option<u64>,
}

impl<'a> Taken<'a> {
    fn of(figure: &'a Figure, quick: bool) -> io::Result<Self> {
        let (mut values, mut limits, mut limits_of_128, mut threads) =
            (Vec::new(), Vec::new(), Vec::new(), None);
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
        values.sort_by(f64::total_cmp);
        Ok(Taken {
            figure,
            value: values[values.len() / 2],
            min: values[0],
            max: values[values.len() - 1],
            limit: median(limits),
            limit_of_128: median(limits_of_128),
            threads,
        })
    }

    fn ratio(&self) -> Option<f64> {
        self.limit.map(|limit| self.value / limit)
    }

    fn row(&self) -> String {
        let or_dash = |n: Option<String>| n.unwrap_or_else(|| "-".into());
        format!(
            "{:<20} {:>12} {:<10} {:>12} {:>7}   {:>12} .. {}{}",
            self.figure.name,
            short(self.value),
            self.figure.unit,
            or_dash(self.limit.map(short)),
            or_dash(self.ratio().map(|ratio| format!("{ratio:.2}"))),
            short(self.min),
            short(self.max),
            self.remark(),
        )
    }

    fn remark(&self) -> String {
        let threads = self.threads.map(|n| format!("   at most {n} threads in a worker"));
        let of_128 = self.limit_of_128.map(|limit| {
            format!("   {:.2} of the {} that go in batches of 128", self.value / limit, short(limit))
        });
        threads.or(of_128).unwrap_or_default()
    }

    fn json(&self) -> String {
        let or_null = |n: Option<f64>| n.map_or("null".into(), |n| format!("{n:.3}"));
        let of_128 = self
            .limit_of_128
            .map(|limit| format!(r#","limit_of_128":{limit:.3},"ratio_of_128":{:.3}"#, self.value / limit));
        format!(
            r#"{{"name":"{}","value":{:.3},"unit":"{}","limit":{},"ratio":{},"min":{:.3},"max":{:.3}{}{}}}"#,
            self.figure.name,
            self.value,
            self.figure.unit,
            or_null(self.limit),
            or_null(self.ratio()),
            self.min,
            self.max,
            self.threads.map(|n| format!(r#","threads":{n}"#)).unwrap_or_default(),
            of_128.unwrap_or_default(),
        )
    }
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

fn output() -> io::Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| [env!("CARGO_MANIFEST_DIR"), "..", "target"].iter().collect());
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?.join("micro.jsonl"))
}

fn median(mut of: Vec<f64>) -> Option<f64> {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied()
}

fn short(n: f64) -> String {
    if n >= 1000.0 { format!("{n:.0}") } else { format!("{n:.1}") }
}
