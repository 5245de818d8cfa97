//! Actors that several processes share, by name or because the cluster owns them; and what drivers of the tests do with them.

use super::{Refused, within};
use fdbray::{Checkpoint, Error, cluster, prelude::*, settle};
use std::{fs, io::Write, path::Path, time::Duration};

/// Seconds within which a scenario gets on.
const LIMIT: u64 = 60;

/// An actor that the whole cluster knows.
#[derive(Debug)]
pub struct Till {
    total: i64,
}

#[actor]
impl Till {
    /// With so much in it. Each time that it is made it writes a line into `file`, unless that has no name.
    ///
    /// # Errors
    /// If less than nothing is in it.
    pub fn new(total: i64, file: &str) -> Result<Self, Refused> {
        if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(file) {
            let _ = writeln!(file, "made in {}", std::process::id());
        }
        if total < 0 { Err(Refused { n: total.unsigned_abs() }) } else { Ok(Till { total }) }
    }

    /// With what is in another one's value.
    pub fn of(total: i64) -> Self {
        Till { total }
    }

    /// With nothing in it, once there is a file `gate`. Writes a line into `file` when it begins.
    pub async fn behind(file: &str, gate: &str) -> Self {
        let till = Till::new(0, file);
        super::file(Path::new(gate)).await;
        till.unwrap_or(Till { total: 0 })
    }

    /// Adds to it.
    pub fn add(&mut self, k: i64) -> i64 {
        self.total += k;
        self.total
    }

    /// The same, made again as often as it takes.
    #[actor(retries = 100)]
    pub fn surely(&mut self, k: i64) -> i64 {
        self.total += k;
        self.total
    }

    /// What is in it.
    #[actor(retries = 100)]
    pub fn total(&self) -> i64 {
        self.total
    }

    /// The process that it is in.
    #[actor(retries = 100)]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Breaks it.
    pub fn breaks(&mut self) {
        self.total = i64::MIN;
        panic!("it broke");
    }

    /// Awaits what cannot begin before it has ended.
    ///
    /// # Errors
    /// That it did.
    pub async fn awaits_itself(&mut self, own: TillHandle) -> fdbray::Result<i64> {
        own.total().await
    }

    /// Takes a while, and says in a file that it has begun.
    pub async fn lingers(&mut self, file: &str, millis: u64) -> i64 {
        let _ = fs::write(file, "");
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.total
    }
}

/// One that loses nothing.
#[derive(Debug)]
pub struct Vault {
    total: i64,
}

impl Checkpoint for Vault {
    type Saved = i64;

    fn save(&self) -> fdbray::Result<i64> {
        Ok(self.total)
    }

    fn restore(total: i64) -> fdbray::Result<Self> {
        Ok(Vault { total })
    }
}

#[actor(checkpoint)]
impl Vault {
    /// With so much in it.
    #[actor(max_restarts = 1000)]
    pub fn new(total: i64) -> Self {
        Vault { total }
    }

    /// Adds to it.
    pub fn add(&mut self, k: i64) -> i64 {
        self.total += k;
        self.total
    }

    /// What is in it, and the process that it is in.
    pub fn total(&self) -> (i64, u32) {
        (self.total, std::process::id())
    }
}

/// Another type.
#[derive(Debug)]
pub struct Desk;

#[actor]
impl Desk {
    /// One.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Desk
    }

    /// A number.
    pub fn number(&self) -> u64 {
        7
    }
}

/// Plays a scenario, if the command line names one of these.
///
/// # Errors
/// Those that the scenario does not expect.
///
/// # Panics
/// When something is wrong.
pub async fn scenario(words: &[&str]) -> Option<fdbray::Result<()>> {
    let played = match *words {
        ["till-make", total, file] => make(total, file).await,
        ["till-behind", file, gate] => behind(file, gate).await,
        ["till-forgotten"] => within(LIMIT, "it asks", asks_and_forgets::remote()).await,
        ["till-race", file, gate] => race(file, Path::new(gate)).await,
        ["till-add", k] => add(k).await,
        ["till-owned", until] => owned(Path::new(until)).await,
        ["till-calls", count] => calls(count).await,
        ["vault-adds", count] => adds(count).await,
        ["vault-total"] => vault_total().await,
        ["journal-stays", end, hangs] => super::owning::owns(end, hangs, true).await,
        ["journal-leaves", end, hangs] => super::owning::owns(end, hangs, false).await,
        ["till-moves", moves] => moves_on(moves).await,
        _ => return super::away::scenario(words).await,
    };
    Some(played)
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

/// Makes a detached one and leaves.
async fn make(total: &str, file: &str) -> fdbray::Result<()> {
    let till = Till::options().name("till").detached().max_restarts(5).remote(number(total), file);
    within(LIMIT, "it is made", till.ready()).await
}

/// Makes a detached one that has one try, and whose constructor waits.
async fn behind(file: &str, gate: &str) -> fdbray::Result<()> {
    let till = Till::options().name("till").detached().retries(0).remote_behind(file, gate);
    within(LIMIT, "it is made", till.ready()).await?;
    println!("total {}", within(LIMIT, "an addition", till.add(1)).await?);
    Ok(())
}

/// A large value, which stays where it was made: so many times the process that this was.
#[remote(cpus = 0)]
pub fn stays() -> Vec<u32> {
    vec![std::process::id(); 50_000]
}

/// Asks for actors by name, and waits for none.
#[remote(cpus = 0)]
pub fn asks_and_forgets() {
    drop(Till::options().name("forgotten").get_or_create(1, ""));
    drop(Till::options().get_or_create(1, ""));
}

/// Makes it, or finds that another one has; says which process it is in.
async fn race(file: &str, gate: &Path) -> fdbray::Result<()> {
    println!("ready");
    super::file(gate).await;
    let till = Till::options().name("raced").get_or_create(0, file);
    let till = within(LIMIT, "it is got or created", till).await?;
    println!("total {}", within(LIMIT, "an addition", till.add(1)).await?);
    super::file(&gate.with_extension("end")).await;
    Ok(())
}

/// Finds the detached one and adds to it.
async fn add(k: &str) -> fdbray::Result<()> {
    let till = within(LIMIT, "it is found", TillHandle::named("till")).await?;
    println!("total {}", within(LIMIT, "an addition", till.surely(number(k))).await?);
    Ok(())
}

/// Owns one with a name, once that is free, until there is a file.
async fn owned(until: &Path) -> fdbray::Result<()> {
    free("owned").await;
    let till = Till::options().name("owned").remote(1, "");
    within(LIMIT, "it is made", till.ready()).await?;
    println!("made");
    super::file(until).await;
    Ok(())
}

/// Makes a detached vault, or finds it, and adds to it again and again, first one by one and then many at once. Each
/// addition counts exactly once, whatever becomes of its worker; says how many have.
async fn adds(count: &str) -> fdbray::Result<()> {
    let vault = Vault::options().name("vault").detached().get_or_create(0);
    let vault = within(LIMIT, "it is got or created", vault).await?;
    let count = number(count);
    let mut last = 0;
    for n in 0..count / 2 {
        let total = within(LIMIT, "an addition", vault.add(1)).await?;
        assert!(total > last, "{total} after {last}");
        last = total;
        println!("call {n}");
    }
    let rest: Vec<_> = (count / 2..count).map(|_| vault.add(1)).collect();
    for total in within(LIMIT, "additions", settle(rest)).await {
        let total = total?;
        assert!(total > last, "{total} after {last}");
        last = total;
    }
    println!("added");
    Ok(())
}

/// Says what is in the vault.
async fn vault_total() -> fdbray::Result<()> {
    let vault = within(LIMIT, "it is found", VaultHandle::named("vault")).await?;
    let (total, pid) = within(LIMIT, "its total", vault.total()).await?;
    println!("total {total} in {pid}");
    within(LIMIT, "it stops", vault.stop()).await
}

/// Owns one that may be made again once, and says each process that it is in, one after the other.
async fn moves_on(moves: &str) -> fdbray::Result<()> {
    let till = Till::options().max_restarts(1).remote(3, "");
    let mut last = 0;
    for _ in 0..=number(moves) {
        let moved = async {
            loop {
                match till.pid().await {
                    Ok(pid) if pid == last => tokio::time::sleep(Duration::from_millis(5)).await,
                    other => return other,
                }
            }
        };
        last = within(LIMIT, "it is in another process", moved).await?;
        assert_eq!(within(LIMIT, "its total", till.total()).await?, 3);
        println!("in {last}");
    }
    Ok(())
}

/// Calls the detached one again and again, whatever becomes of its worker.
async fn calls(count: &str) -> fdbray::Result<()> {
    let till = within(LIMIT, "it is found", TillHandle::named("till")).await?;
    for n in 0..number(count) {
        within(LIMIT, "a call", till.surely(1)).await?;
        println!("call {n}");
    }
    Ok(())
}

/// Waits until no actor has the name.
///
/// # Panics
/// If it does not become free.
pub async fn free(name: &str) {
    let freed = async {
        while cluster::actors().await.is_ok_and(|actors| actors.iter().any(|actor| actor.name == name)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(LIMIT, "the name is free", freed).await;
}

/// Whether an actor has ended, by the error of a call.
#[must_use]
pub fn has_ended(error: &Error) -> bool {
    matches!(error, Error::ActorEnded { .. })
}
