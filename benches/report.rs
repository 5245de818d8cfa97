//! What the benchmarks have in common: their arguments, medians, a table, and JSON lines in `target/bench`.

use std::{
    env,
    fmt::Debug,
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// The variable that makes a copy of a benchmark take one figure.
pub const FIGURE: &str = "FDBRAY_BENCH_FIGURE";

/// Runs the benchmark `name`, or, in a process that takes a figure and in a worker of one, `figure`.
pub fn main(name: &str, run: fn() -> io::Result<()>, figure: fn() -> ExitCode) -> ExitCode {
    if env::var_os(FIGURE).is_some() || env::args().any(|arg| arg == "--worker") {
        return figure();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{name}: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was taken of the figure `name`, for the benchmark to read.
pub fn told(name: &str, taken: Result<String, impl Debug>) -> ExitCode {
    match taken {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{name}: {e:?}");
            ExitCode::FAILURE
        }
    }
}

/// The figures that the command line names, all if it names none, and whether it asks for a look instead of a
/// measurement.
pub fn arguments(figures: &[&'static str]) -> io::Result<(Vec<&'static str>, bool)> {
    let (mut chosen, mut quick) = (Vec::new(), false);
    for arg in env::args().skip(1) {
        match (&arg[..], figures.iter().find(|f| **f == arg)) {
            ("--quick", _) => quick = true,
            // Cargo says so to every benchmark.
            ("--bench", _) => {}
            (_, Some(figure)) => chosen.push(*figure),
            (other, None) => {
                let message = format!("`{other}` is neither --quick nor one of {}", figures.join(", "));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
    }
    if chosen.is_empty() {
        chosen = figures.to_vec();
    }
    Ok((chosen, quick))
}

/// Where the figures of one benchmark go.
pub struct Report {
    path: PathBuf,
    file: fs::File,
}

impl Report {
    /// Begins the table and `NAME.jsonl`.
    pub fn begin(name: &str) -> io::Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| [env!("CARGO_MANIFEST_DIR"), "..", "target"].iter().collect());
        let folder = target.join("bench");
        fs::create_dir_all(&folder)?;
        let path = folder.canonicalize()?.join(format!("{name}.jsonl"));
        println!(
            "{:<26} {:>12} {:<10} {:>12} {:>7}   {:>12} .. max",
            "figure", "value", "unit", "limit", "ratio", "min"
        );
        Ok(Report { file: fs::File::create(&path)?, path })
    }

    /// One figure.
    pub fn add(&mut self, figure: &Taken) -> io::Result<()> {
        println!("{}", figure.row());
        writeln!(self.file, "{}", figure.json())
    }

    /// Says where the figures are.
    pub fn end(self) {
        println!("written to {}", self.path.display());
    }
}

/// A figure as it was taken.
pub struct Taken {
    name: &'static str,
    unit: &'static str,
    value: f64,
    min: f64,
    max: f64,
    limit: Option<f64>,
    /// Further fields of the JSON object.
    pub more: Vec<(&'static str, f64)>,
    /// Said behind the row.
    pub remark: String,
}

impl Taken {
    /// From all values and limits that were measured, of which there is at least one value.
    pub fn of(name: &'static str, unit: &'static str, mut values: Vec<f64>, limits: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (min, max) = (values[0], values[values.len() - 1]);
        let value = values[values.len() / 2];
        Taken { name, unit, value, min, max, limit: median(limits), more: Vec::new(), remark: String::new() }
    }

    /// Of this limit.
    pub fn ratio_to(&self, limit: f64) -> f64 {
        self.value / limit
    }

    fn row(&self) -> String {
        let or_dash = |n: Option<String>| n.unwrap_or_else(|| "-".into());
        let ratio = self.limit.map(|limit| format!("{:.2}", self.ratio_to(limit)));
        let gap = if self.remark.is_empty() { "" } else { "   " };
        format!(
            "{:<26} {:>12} {:<10} {:>12} {:>7}   {:>12} .. {}{gap}{}",
            self.name,
            short(self.value),
            self.unit,
            or_dash(self.limit.map(short)),
            or_dash(ratio),
            short(self.min),
            short(self.max),
            self.remark,
        )
    }

    fn json(&self) -> String {
        let or_null = |n: Option<f64>| n.map_or("null".into(), |n| format!("{n:.3}"));
        let more: String = self.more.iter().map(|(name, n)| format!(r#","{name}":{n:.3}"#)).collect();
        format!(
            r#"{{"name":"{}","value":{:.3},"unit":"{}","limit":{},"ratio":{},"min":{:.3},"max":{:.3}{more}}}"#,
            self.name,
            self.value,
            self.unit,
            or_null(self.limit),
            or_null(self.limit.map(|limit| self.ratio_to(limit))),
            self.min,
            self.max,
        )
    }
}

/// The middle one, if there is one.
pub fn median(mut of: Vec<f64>) -> Option<f64> {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied()
}

/// With as many digits as say something.
pub fn short(n: f64) -> String {
    if n >= 1000.0 { format!("{n:.0}") } else { format!("{n:.1}") }
}
