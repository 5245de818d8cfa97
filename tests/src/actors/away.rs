//! Actors of the cluster while processes are away: their types, and what drivers do with them.

use super::{Tally, TallyHandle, within};
use fdbray::{Error, prelude::*, remote, settle};
use rustix::process::Signal;
use std::{collections::VecDeque, fmt::Debug, fs, io::Write, path::Path, process, thread, time::Duration};

/// Seconds within which a scenario gets on.
const LIMIT: u64 = 60;
/// Calls of one caller that are under way at once.
pub const AT_ONCE: usize = 20;

/// One that leaves a trace of whatever it does, and can be kept from being made.
#[derive(Debug)]
pub struct Scribe {
    dir: String,
    n: i64,
}

#[actor]
impl Scribe {
    /// Adds a line with its process to the file `made`, then waits as long as there is a file `shut`.
    pub fn new(dir: &str, n: i64) -> Self {
        note(&Path::new(dir).join("made"), process::id());
        while Path::new(dir).join("shut").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        Scribe { dir: dir.to_owned(), n }
    }

    /// Adds a line with this number to the file `written`.
    pub fn write(&mut self, n: u32) -> u32 {
        note(&Path::new(&self.dir).join("written"), n);
        n
    }

    /// The same, again if it may have been lost.
    #[actor(retries = 100)]
    pub fn write_surely(&mut self, n: u32) -> u32 {
        self.write(n)
    }

    /// Says in the file `lingers` that it has begun, and ends when there is a file `ends`.
    pub async fn lingers(&mut self) {
        note(&Path::new(&self.dir).join("lingers"), process::id());
        super::file(&Path::new(&self.dir).join("ends")).await;
    }

    /// What it was made with.
    #[actor(retries = 100)]
    pub fn number(&self) -> i64 {
        self.n
    }

    /// The process that it is in.
    #[actor(retries = 100)]
    pub fn pid(&self) -> u32 {
        process::id()
    }
}

/// Adds a line to a file.
fn note(file: &Path, what: u32) {
    // What is missing is seen by the test.
    if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(file) {
        let _ = file.write_all(format!("{what}\n").as_bytes());
    }
}

/// The numbers in a file, one a line; none if it is not there.
///
/// # Panics
/// If a line is none.
pub fn noted(file: &Path) -> Vec<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?} is no number"))).collect()
}

/// Plays a scenario, if the command line names one of these.
pub(super) async fn scenario(words: &[&str]) -> Option<fdbray::Result<()>> {
    let played = match *words {
        ["tally-adds", caller, totals, end] => adds(number(caller), totals, end).await,
        ["tally-adds-there", caller, totals, end] => adds_from_there(number(caller), totals, end).await,
        ["tally-total"] => total().await,
        ["scribe-in-flight", dir] => in_flight(dir).await,
        ["scribe-make", dir, retries] => make(dir, number(retries)).await,
        ["scribe-hasty", dir, micros] => hasty(dir, number(micros)).await,
        ["scribe-found", dir] => found(dir).await,
        _ => return None,
    };
    Some(played)
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

/// Calls the tally without pause until there is the file `end`, and notes in `totals` what each call was answered; says how
/// many there were.
async fn adds(caller: u64, totals: &str, end: &str) -> fdbray::Result<()> {
    let tally = Tally::options().name("tally").detached().get_or_create();
    let tally = within(LIMIT, "it is got or created", tally).await?;
    println!("added {}", keeps_adding(&tally, caller, totals, end).await?);
    Ok(())
}

async fn keeps_adding(tally: &TallyHandle, caller: u64, totals: &str, end: &str) -> fdbray::Result<u64> {
    let (mut pending, mut last, mut total) = (VecDeque::new(), 0, 0);
    loop {
        while pending.len() < AT_ONCE && !Path::new(end).exists() {
            last += 1;
            pending.push_back((last, tally.add(caller, last)));
        }
        let Some((n, call)) = pending.pop_front() else { return Ok(last) };
        let entry = within(LIMIT, "an addition", call).await?;
        assert_eq!((entry.n, entry.wrong), (n, 0), "caller {caller}");
        assert!(entry.total > total, "caller {caller}: {entry:?} after {total}");
        total = entry.total;
        note(Path::new(totals), total as u32);
    }
}

/// The same as a task.
///
/// # Errors
/// What a call ended with.
#[remote(cpus = 0, retries = 0)]
pub async fn adds_here(tally: TallyHandle, caller: u64, totals: String, end: String) -> fdbray::Result<u64> {
    keeps_adding(&tally, caller, &totals, &end).await
}

/// Has a worker call the tally, and says what that ends with.
async fn adds_from_there(caller: u64, totals: &str, end: &str) -> fdbray::Result<()> {
    let tally = within(LIMIT, "it is found", TallyHandle::named("tally")).await?;
    let calls = adds_here::remote(&tally, caller, totals, end);
    match within(2 * LIMIT, "the caller's end", calls).await {
        Ok(count) => println!("added {count}"),
        Err(error) => println!("ended {error}"),
    }
    Ok(())
}

/// Says what is in the tally, and stops it.
async fn total() -> fdbray::Result<()> {
    let tally = within(LIMIT, "it is found", TallyHandle::named("tally")).await?;
    let (total, wrong) = within(LIMIT, "its total", tally.total()).await?;
    println!("total {total} of which {wrong} wrong");
    within(LIMIT, "it stops", tally.stop()).await
}

/// Makes a scribe and has calls under way, the first of which lasts until its worker is away; then calls on until there is the
/// file `end`. Says how many lines it should have written.
async fn in_flight(dir: &str) -> fdbray::Result<()> {
    let scribe = Scribe::options().name("scribe").detached().max_restarts(1).remote(dir, 0);
    within(LIMIT, "it is made", scribe.ready()).await?;
    let lingers = scribe.lingers();
    let again: Vec<_> = (0..50).map(|n| scribe.write_surely(n)).collect();
    let once: Vec<_> = (0..50).map(|_| scribe.write(u32::MAX)).collect();
    println!("called");
    // For all that is known here, the second ones may have begun.
    lost(within(LIMIT, "what ran", lingers).await);
    within(LIMIT, "what may have begun", settle(once)).await.into_iter().for_each(lost);
    for (n, written) in (0..).zip(again) {
        assert_eq!(within(LIMIT, "what may begin again", written).await?, n);
    }
    let mut n = 50;
    while !Path::new(dir).join("end").exists() {
        assert_eq!(within(LIMIT, "a line", scribe.write(n)).await?, n);
        n += 1;
    }
    println!("written {n}");
    Ok(())
}

/// Whether a call ended because its worker was away.
fn lost<T: Debug>(call: fdbray::Result<T>) {
    let error = call.expect_err("its worker was away");
    assert!(matches!(error, Error::WorkerDied { .. }), "{error:?}");
}

/// Makes a scribe and says what became of it.
async fn make(dir: &str, retries: u64) -> fdbray::Result<()> {
    let scribe = Scribe::options().name("scribe").detached().retries(retries as u32).remote(dir, 1);
    let call = scribe.write(7);
    match within(LIMIT, "it is made or not", scribe.ready()).await {
        Ok(()) => println!("made, and wrote {}", within(LIMIT, "a call", call).await?),
        Err(error) => {
            let ended = within(LIMIT, "a call", call).await.expect_err("of one that was not made");
            assert_eq!(ended.to_string(), error.to_string());
            super::free("scribe").await;
            println!("not made: {error}");
        }
    }
    Ok(())
}

/// Begins to make a scribe, and is killed so many microseconds later, or before by the test.
async fn hasty(dir: &str, micros: u64) -> fdbray::Result<()> {
    // So that nothing else is waited for.
    within(LIMIT, "it has joined", fdbray::cluster::actors()).await?;
    let _scribe = Scribe::options().name("scribe").detached().remote(dir, 2);
    thread::sleep(Duration::from_micros(micros));
    super::send(process::id(), Signal::KILL);
    std::future::pending().await
}

/// Finds the scribe whose maker was killed, or that there is none; says which. Either way the name then belongs to one that
/// can be called and stopped.
async fn found(dir: &str) -> fdbray::Result<()> {
    let what = match within(LIMIT, "it is found or not", ScribeHandle::named("scribe")).await {
        Ok(scribe) => {
            assert_eq!(within(LIMIT, "its number", scribe.number()).await?, 2);
            "there"
        }
        Err(Error::NoSuchActor { .. }) => "not there",
        Err(error) => return Err(error),
    };
    let scribe = Scribe::options().name("scribe").detached().get_or_create(dir, 2);
    let scribe = within(LIMIT, "it is got or created", scribe).await?;
    assert_eq!(within(LIMIT, "a line", scribe.write(3)).await?, 3);
    within(LIMIT, "it stops", scribe.stop()).await?;
    super::free("scribe").await;
    println!("it was {what}");
    Ok(())
}
