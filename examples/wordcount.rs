//! Counts the words of a directory tree: batches of files in parallel, merged by a tree of remote calls.
//!
//! `cargo run --release --example wordcount -- DIR --top 20 --verify`; without DIR it counts the sources in cargo's own
//! registry. A word is a run of alphanumeric characters, in lower case. Files that are not UTF-8 are no text and are
//! left out; files that cannot be read are reported; both are counted, neither is fatal. All workers must see the
//! same files under the same paths.

use fdbray::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt::Display,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use walkdir::WalkDir;

const USAGE: &str = "\
Counts words over a directory tree with fdbray.

usage: wordcount [DIR] [--top N] [--verify]

  DIR       the tree to count; default: the sources in cargo's registry ($CARGO_HOME/registry/src)
  --top N   print the N most frequent words (default 10)
  --verify  count again in one plain thread and compare

With FDBRAY_CLUSTER set, it joins that cluster; `wordcount --worker --cluster URL` is one of its workers.";

/// A batch is closed when it has this many bytes ..
const BATCH_BYTES: u64 = 2 << 20;
/// .. or this many files.
const BATCH_FILES: usize = 1000;

/// What one batch of files, or several of them together, came to.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// Sorted by word, so that two can be merged in one pass.
    words: Vec<(String, u64)>,
    files: u64,
    bytes: u64,
    /// Files that are not UTF-8.
    binary: u64,
    /// Files that could not be read, each with the reason.
    unreadable: Vec<String>,
}

/// Counts the words of some files. Reads blocks, so it is a sync function: it runs on the worker's thread pool.
#[remote]
fn count(files: Vec<OsString>) -> Counts {
    let mut words = FxHashMap::default();
    let mut counts = Counts::default();
    for file in files {
        match fs::read(&file) {
            Err(e) => counts.unreadable.push(format!("{}: {e}", Path::new(&file).display())),
            Ok(bytes) => match str::from_utf8(&bytes) {
                Err(_) => counts.binary += 1,
                Ok(text) => {
                    counts.files += 1;
                    counts.bytes += bytes.len() as u64;
                    for word in words_of(text) {
                        add_word(&mut words, word);
                    }
                }
            },
        }
    }
    counts.words = words.into_iter().collect();
    counts.words.sort_unstable();
    counts
}

/// Adds two counts up. Its arguments are futures of other calls: no count passes through the driver.
#[remote]
fn merge(mut left: Counts, right: Counts) -> Counts {
    let mut words = Vec::with_capacity(left.words.len().max(right.words.len()));
    let (mut a, mut b) = (left.words.into_iter().peekable(), right.words.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.0.cmp(&y.0) {
            Ordering::Less => words.extend(a.next()),
            Ordering::Greater => words.extend(b.next()),
            Ordering::Equal => words.extend(a.next().zip(b.next()).map(|((word, n), (_, m))| (word, n + m))),
        }
    }
    words.extend(a.chain(b));
    left.unreadable.extend(right.unreadable);
    Counts {
        words,
        files: left.files + right.files,
        bytes: left.bytes + right.bytes,
        binary: left.binary + right.binary,
        unreadable: left.unreadable,
    }
}

#[fdbray::main]
async fn main() -> fdbray::Result<ExitCode> {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(Stop::Help) => {
            say(USAGE);
            return Ok(ExitCode::SUCCESS);
        }
        Err(Stop::Wrong(message)) => {
            eprintln!("wordcount: {message}; see --help");
            return Ok(ExitCode::from(2));
        }
    };
    let started = Instant::now();
    let files = Files::below(&options.dir);
    if files.batches.is_empty() {
        eprintln!("wordcount: no files below {}", options.dir.display());
        return Ok(ExitCode::FAILURE);
    }
    let counts = run(&files).await?;
    let took = started.elapsed();

    for unreadable in files.unreadable.iter().chain(&counts.unreadable) {
        eprintln!("left out: {unreadable}");
    }
    report(&options.dir, &counts, files.unreadable.len(), took, options.top);
    if options.verify && !verify(&files, &counts) {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Submits everything at once, a tree of `merge` calls over the `count` calls, and waits for its root.
async fn run(files: &Files) -> fdbray::Result<Counts> {
    let mut level: Vec<RemoteFuture<Counts>> = count::map(&files.batches);
    let mut all = level.clone();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => merge::remote(left, right),
                odd => odd[0].clone(),
            })
            .collect();
        all.extend(level.iter().cloned());
    }
    let root = level.remove(0);
    watch(all).await;
    root.await
}

/// Moves a progress bar as the calls end. `wait` asks which ended, not for their values.
async fn watch(mut calls: Vec<RemoteFuture<Counts>>) {
    let bar = ProgressBar::new(calls.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} calls, {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    while !calls.is_empty() {
        let (ended, rest) = fdbray::wait(calls, 1).await;
        bar.inc(ended.len() as u64);
        calls = rest;
    }
    bar.finish_and_clear();
}

fn report(dir: &Path, counts: &Counts, not_listed: usize, took: Duration, top: usize) {
    let total: u64 = counts.words.iter().map(|(_, n)| n).sum();
    let (megabytes, seconds) = (counts.bytes as f64 / 1e6, took.as_secs_f64());
    let different = counts.words.len();
    say(format!(
        "{total} words, {different} different, in {} text files below {}",
        counts.files,
        dir.display()
    ));
    let unreadable = counts.unreadable.len() + not_listed;
    say(format!("left out: {} files that are not UTF-8, {unreadable} that could not be read", counts.binary));
    let files_per_second = counts.files as f64 / seconds;
    let speed = megabytes / seconds;
    say(format!("{megabytes:.1} MB in {seconds:.2} s: {files_per_second:.0} files/s, {speed:.1} MB/s"));
    let mut by_count: Vec<_> = counts.words.iter().collect();
    by_count.sort_by_key(|(word, n)| (Reverse(*n), word));
    for (word, n) in by_count.into_iter().take(top) {
        say(format!("{n:>12}  {word}"));
    }
}

/// Prints a line. That nobody reads on, as in `wordcount | head`, is no error.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Counts again without fdbray, batches or merging, and says whether it came to the same.
fn verify(files: &Files, counts: &Counts) -> bool {
    let started = Instant::now();
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for text in files.batches.iter().flatten().filter_map(|file| fs::read_to_string(file).ok()) {
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let took = started.elapsed().as_secs_f64();
    let differ = |word: &str, n: u64| say(format!("verify: `{word}` occurs {n} times in the plain count"));
    let mut same = true;
    for (word, n) in &counts.words {
        let plain = words.remove(word).unwrap_or(0);
        if plain != *n {
            differ(word, plain);
            same = false;
        }
    }
    for (word, n) in &words {
        differ(word, *n);
        same = false;
    }
    let verdict = if same { "the same" } else { "NOT the same" };
    say(format!("verify: {verdict} as one plain thread, which took {took:.2} s"));
    same
}

/// The files of a tree, in batches of about equal bytes.
#[derive(Default)]
struct Files {
    batches: Vec<Vec<OsString>>,
    /// Entries that could not be listed, each with the reason.
    unreadable: Vec<String>,
}

impl Files {
    fn below(dir: &Path) -> Self {
        let mut files = Files::default();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in WalkDir::new(dir).sort_by_file_name() {
            let (entry, size) = match entry.and_then(|e| e.metadata().map(|m| (e, m.len()))) {
                Ok((entry, _)) if !entry.file_type().is_file() => continue,
                Ok(file) => file,
                Err(e) => {
                    files.unreadable.push(e.to_string());
                    continue;
                }
            };
            batch.push(entry.into_path().into_os_string());
            bytes += size;
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_FILES {
                files.batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
        }
        files.batches.extend((!batch.is_empty()).then_some(batch));
        files
    }
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Counts `word` in lower case, with an allocation only where there is something new.
fn add_word(words: &mut FxHashMap<String, u64>, word: &str) {
    let lower;
    let word = if word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        word
    } else {
        lower = word.to_lowercase();
        &lower
    };
    match words.get_mut(word) {
        Some(n) => *n += 1,
        None => _ = words.insert(word.to_owned(), 1),
    }
}

struct Options {
    dir: PathBuf,
    top: usize,
    verify: bool,
}

enum Stop {
    Help,
    Wrong(String),
}

impl Options {
    fn parse() -> Result<Self, Stop> {
        let mut args = pico_args::Arguments::from_env();
        if args.contains(["-h", "--help"]) {
            return Err(Stop::Help);
        }
        let wrong = |e: pico_args::Error| Stop::Wrong(e.to_string());
        let verify = args.contains("--verify");
        let top = args.opt_value_from_str("--top").map_err(wrong)?.unwrap_or(10);
        let free = args.finish();
        if let Some(option) = free.iter().find(|arg| arg.as_encoded_bytes().starts_with(b"-")) {
            return Err(Stop::Wrong(format!("there is no option `{}`", option.display())));
        }
        let mut free = free.into_iter();
        let dir = free.next().map(PathBuf::from).or_else(registry);
        if let Some(extra) = free.next() {
            return Err(Stop::Wrong(format!("`{}` is one argument too many", extra.display())));
        }
        let dir = dir.ok_or_else(|| Stop::Wrong("neither DIR nor CARGO_HOME nor HOME is given".into()))?;
        // Workers may have been started in other directories.
        let dir = dir.canonicalize().map_err(|e| Stop::Wrong(format!("{}: {e}", dir.display())))?;
        Ok(Options { dir, top, verify })
    }
}

/// Where cargo keeps the sources of what it downloaded.
fn registry() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("registry/src"))
}
