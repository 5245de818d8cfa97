//! For the tests of actors: actors that tell what ran in which order, what ran beside what, and how they ended.

pub mod away;
mod holders;
mod journal;
mod owning;
pub mod shared;
mod tally;
mod together;

pub use away::{Scribe, ScribeHandle, noted};
pub use holders::{
    Bundle, Keeper, KeeperHandle, Member, MemberHandle, Roll, bundle, ended_members, read_by, write_by,
    write_on,
};
pub use journal::{Journal, JournalHandle, JournalOptions, Refused};
pub use shared::{Desk, DeskHandle, Till, TillHandle, free, has_ended, stays};
pub use tally::{
    Book, Entry, Flaw, GroupedTally, GroupedTallyHandle, LooseTally, LooseTallyHandle, Tally, TallyHandle,
    calls_tally, total_of,
};
pub use together::{Together, TogetherHandle};

pub use crate::crash::{eventually, send, within};

use fdbray::{
    ProcessId,
    cluster::{self, Role},
    remote, task,
};
use std::{path::Path, time::Duration};

/// Gives `n` back after a while.
#[remote(cpus = 0)]
pub async fn late(n: u64, millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    n
}

/// Has no value.
#[remote(cpus = 0)]
pub fn refuses(n: u64) -> Result<u64, Refused> {
    Err(Refused { n })
}

/// The same of a total.
#[remote(cpus = 0)]
pub async fn late_total(n: i64) -> i64 {
    tokio::time::sleep(Duration::from_millis(50)).await;
    n
}

/// Has no value before the program ends.
#[remote(cpus = 0)]
pub async fn never() -> i64 {
    std::future::pending().await
}

/// Adds to it, from where this runs.
///
/// # Errors
/// If that could not be.
#[remote(cpus = 0)]
pub async fn add_to(till: TillHandle, k: i64) -> fdbray::Result<i64> {
    till.add(k).await
}

/// The process that runs it.
#[remote(cpus = 0)]
pub fn pid() -> u32 {
    std::process::id()
}

/// The same, and it holds a CPU.
#[remote(cpus = 1)]
pub fn pid_with_cpu() -> u32 {
    std::process::id()
}

/// The member of the cluster that runs it.
#[remote(cpus = 0)]
pub fn member() -> Option<ProcessId> {
    task::current().map(|task| task.worker)
}

/// The workers of the cluster, once there are as many as asked for.
///
/// # Panics
/// If there are not within a minute.
pub async fn workers<const N: usize>() -> [ProcessId; N] {
    let there = async {
        loop {
            let members = cluster::members().unwrap_or_default();
            let workers = members.values().filter(|member| member.role == Role::Worker);
            if let Ok(workers) = workers.map(|member| member.id).collect::<Vec<_>>().try_into() {
                return workers;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(60, "there are workers", there).await
}

/// Waits until there is this file.
///
/// # Panics
/// If it does not come within a minute.
pub async fn file(path: &Path) {
    let there = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(60, &format!("{} is written", path.display()), there).await;
}
