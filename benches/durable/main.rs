//! The figures of durable futures: `cargo bench --bench durable [-- NAME.. --quick]`.
//!
//! Each is taken in fresh processes: a driver, the workers that it needs, and a cluster of their own. Prints a table, and
//! writes one JSON object per line to `target/bench/durable.jsonl`: `{"name","value","unit","limit","ratio"}`, and
//! besides `min`, `max`, `to_reach` (the value or the ratio that is the aim) and what the store layer counted meanwhile.
//!
//! | figure | what | limit |
//! |---|---|---|
//! | `durable_tasks_ENGINE` | futures/s: submit, claim, run, realize, await; a no-op; 10,000 pending at once | the same writes by a bare loop in as many transactions: see `writes.rs` |
//! | `durable_latency_ENGINE` | microseconds, median: the same, one at a time | the bare transactions that it needs in sequence |
//! | `attach_10k` | watches that a process has in use while it awaits 10,000 futures that another one submitted | |
//! | `idle_load` | transactions/s, reading ones too, of an idle cluster: four workers and a driver that all work for durable futures | |
//!
//! The figures on FoundationDB (`_fdb`) are taken when the feature `foundationdb` is on and `FDBRAY_TEST_FDB` names a
//! cluster file. Their limit commits transactions in eight tasks at once, for the rate, or one after the other.

#[cfg(feature = "foundationdb")]
mod bare_fdb;
mod bare_lmdb;
mod cluster;
mod figures;
#[path = "../report.rs"]
mod report;
mod writes;

use cluster::{Cluster, Engine};
use fdbray_worker::control::store::lmdb::Sync;
use report::{FIGURE, Report, Taken};
use std::{
    io::{self, BufRead, BufReader},
    process::{ExitCode, Stdio},
};
use writes::{Counted, Plan};

struct Figure {
    name: &'static str,
    unit: &'static str,
    engine: Engine,
    kind: Kind,
    /// Where there is a limit, the ratio to it.
    to_reach: Option<f64>,
    /// Clusters to take it in.
    times: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tasks,
    Latency,
    Attach,
    Idle,
}

const NONE: Engine = Engine::Lmdb(Sync::None);
const META: Engine = Engine::Lmdb(Sync::Meta);

#[rustfmt::skip]
const FIGURES: &[Figure] = &[
    Figure { name: "durable_tasks_lmdb_none", unit: "futures/s", engine: NONE, kind: Kind::Tasks, to_reach: Some(0.4), times: 3 },
    Figure { name: "durable_tasks_lmdb_meta", unit: "futures/s", engine: META, kind: Kind::Tasks, to_reach: Some(0.4), times: 3 },
    Figure { name: "durable_latency_lmdb_none", unit: "us", engine: NONE, kind: Kind::Latency, to_reach: None, times: 3 },
    Figure { name: "durable_latency_lmdb_meta", unit: "us", engine: META, kind: Kind::Latency, to_reach: None, times: 3 },
    Figure { name: "durable_tasks_fdb", unit: "futures/s", engine: Engine::Fdb, kind: Kind::Tasks, to_reach: Some(0.5), times: 3 },
    Figure { name: "durable_latency_fdb", unit: "us", engine: Engine::Fdb, kind: Kind::Latency, to_reach: Some(1.5), times: 3 },
    Figure { name: "attach_10k", unit: "watches", engine: META, kind: Kind::Attach, to_reach: Some(2.0), times: 1 },
    Figure { name: "attach_10k_fdb", unit: "watches", engine: Engine::Fdb, kind: Kind::Attach, to_reach: Some(2.0), times: 1 },
    Figure { name: "idle_load", unit: "tx/s", engine: META, kind: Kind::Idle, to_reach: Some(15.0), times: 1 },
    Figure { name: "idle_load_fdb", unit: "tx/s", engine: Engine::Fdb, kind: Kind::Idle, to_reach: Some(15.0), times: 1 },
];

fn main() -> ExitCode {
    report::main("durable", run, figures::main)
}

fn run() -> io::Result<()> {
    let names: Vec<&'static str> = FIGURES.iter().map(|f| f.name).collect();
    let (chosen, quick) = report::arguments(&names)?;
    let mut report = Report::begin("durable")?;
    #[cfg(feature = "foundationdb")]
    let _network = cluster::cluster_file().map(|_| bare_fdb::network());
    for figure in FIGURES.iter().filter(|f| chosen.contains(&f.name)) {
        if figure.engine == Engine::Fdb && cluster::cluster_file().is_none() {
            println!("{:<26} skipped: needs FDBRAY_TEST_FDB and the feature `foundationdb`", figure.name);
        } else {
            report.add(&measure(figure, quick)?)?;
        }
    }
    report.end();
    Ok(())
}

fn measure(figure: &Figure, quick: bool) -> io::Result<Taken> {
    let (mut values, mut limits, mut said) = (Vec::new(), Vec::new(), None);
    for _ in 0..if quick { 1 } else { figure.times } {
        let now = take(figure, quick)?;
        if matches!(figure.kind, Kind::Tasks | Kind::Latency) {
            limits.push(limit(figure, &now.counted, quick)?);
        }
        values.push(now.value);
        said = Some(now);
    }
    let said = said.ok_or_else(|| io::Error::other("a figure is taken at least once"))?;
    let mut taken = Taken::of(figure.name, figure.unit, values, limits);
    taken.more.extend(figure.to_reach.map(|n| ("to_reach", n)));
    match figure.kind {
        Kind::Tasks | Kind::Latency => {
            let each = |n: u64| n as f64 / said.counted.futures as f64;
            taken.more.extend([
                ("commits_each", each(said.counted.commits)),
                ("sets_each", each(said.counted.sets)),
                ("clears_each", each(said.counted.clears)),
                ("bytes_each", each(said.counted.bytes)),
            ]);
            let (writes, bytes) = (each(said.counted.sets + said.counted.clears), each(said.counted.bytes));
            let together = 1.0 / each(said.counted.commits);
            taken.remark =
                format!("{writes:.1} writes, {bytes:.0} bytes a future, {together:.1} futures a commit");
        }
        Kind::Attach => {
            taken.more.extend([("attach_s", said.more[0]), ("all_s", said.more[1])]);
            taken.remark =
                format!("attached in {:.2} s, all known after {:.2} s", said.more[0], said.more[1]);
        }
        Kind::Idle => {
            taken.more.push(("commits", said.more[0]));
            taken.remark = format!("{:.1} of them write", said.more[0]);
        }
    }
    Ok(taken)
}

/// What the engine reaches with the writes that the system made.
fn limit(figure: &Figure, counted: &Counted, quick: bool) -> io::Result<f64> {
    let tasks = figure.kind == Kind::Tasks;
    let futures = match (tasks, quick) {
        (true, true) => 5_000,
        (true, false) => 30_000,
        (false, true) => 50,
        (false, false) => 1_000,
    };
    let plan = if tasks { Plan::of(counted) } else { Plan::alone(counted) };
    match figure.engine {
        Engine::Lmdb(sync) if tasks => bare_lmdb::rate(sync, plan, futures),
        Engine::Lmdb(sync) => bare_lmdb::latency(sync, plan, futures),
        #[cfg(feature = "foundationdb")]
        Engine::Fdb => {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            match tasks {
                true => runtime.block_on(bare_fdb::rate(plan, futures)),
                false => runtime.block_on(bare_fdb::latency(plan, futures)),
            }
        }
        #[cfg(not(feature = "foundationdb"))]
        Engine::Fdb => Err(io::Error::other("this program was built without FoundationDB")),
    }
}

/// What a process that took a figure says.
struct Said {
    value: f64,
    counted: Counted,
    more: Vec<f64>,
}

fn take(figure: &Figure, quick: bool) -> io::Result<Said> {
    let (name, workers) = match figure.kind {
        Kind::Tasks => ("tasks", 1),
        Kind::Latency => ("latency", 1),
        // What it awaits is to be pending for a while: it starts its worker itself.
        Kind::Attach => ("attach", 0),
        Kind::Idle => ("idle", 4),
    };
    let cluster = Cluster::start(figure.engine, workers)?;
    let mut child = cluster
        .copy_of_this()?
        .env(FIGURE, name)
        .env(figures::QUICK, if quick { "1" } else { "0" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let status = child.wait()?;
    let numbers: Option<Vec<f64>> = line.split_whitespace().map(|n| n.parse().ok()).collect();
    let Some([value, futures, commits, sets, clears, bytes, more @ ..]) = numbers.as_deref() else {
        return Err(io::Error::other(format!("{name} gave `{}` and {status}", line.trim())));
    };
    let counted = Counted {
        futures: *futures as u64,
        commits: *commits as u64,
        sets: *sets as u64,
        clears: *clears as u64,
        bytes: *bytes as u64,
    };
    Ok(Said { value: *value, counted, more: more.to_vec() })
}
