//! For the tests of objects: remote functions that make, hold and look at large values, and where bytes lie.

mod pulling;
pub mod spilling;

use fdbray::{Blob, StoreStats, remote, store_stats};
use std::{collections::BTreeMap, fs, sync::Mutex, time::Duration};

pub use crate::crash::{App, Cluster, eventually, within};

/// So many bytes, written where they are read.
#[remote]
pub fn produced(len: usize, byte: u8) -> fdbray::Result<Blob> {
    let mut memory = fdbray::buffer(len)?;
    memory.fill(byte);
    Ok(memory.seal())
}

/// So many bytes that were somewhere else.
#[remote]
pub fn copied(len: usize, byte: u8) -> Blob {
    vec![byte; len].into()
}

/// The sum of the bytes, and the name of the memory that they are in.
#[remote]
pub fn looked_at(bytes: &[u8]) -> (u64, String) {
    (bytes.iter().map(|byte| u64::from(*byte)).sum(), memory_of(bytes))
}

/// What it was given.
#[remote]
pub fn passed_on(bytes: Blob) -> Blob {
    bytes
}

static HELD: Mutex<BTreeMap<u64, Blob>> = Mutex::new(BTreeMap::new());

/// Holds what it was given in this process, under a number.
#[remote(cpus = 0)]
pub fn hold(number: u64, bytes: Blob) {
    if let Ok(mut held) = HELD.lock() {
        held.insert(number, bytes);
    }
}

/// Lets go of it; the sum of its bytes, if it was held here.
#[remote(cpus = 0)]
pub fn let_go(number: u64) -> Option<u64> {
    let held = HELD.lock().ok()?.remove(&number)?;
    Some(held.iter().map(|byte| u64::from(*byte)).sum())
}

/// Blocks and live bytes in the shared memory of the process that runs it.
#[remote(cpus = 0)]
pub fn in_store() -> (u64, u64) {
    let StoreStats { blocks, live, .. } = store_stats();
    (blocks, live)
}

/// The process that runs it.
#[remote(cpus = 0)]
pub fn pid() -> u32 {
    std::process::id()
}

/// The name of the mapping that these bytes are in, as the kernel tells it.
///
/// # Panics
/// If the kernel tells nothing.
pub fn memory_of(bytes: &[u8]) -> String {
    let address = bytes.as_ptr() as usize;
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    let mapping = maps.lines().find(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        range
            .and_then(|(begin, end)| Some((number(begin)?..number(end)?).contains(&address)))
            .unwrap_or(false)
    });
    let fields = mapping.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>()).unwrap_or_default();
    format!(
        "{} {}",
        fields.first().copied().unwrap_or_default(),
        fields.get(4..).unwrap_or_default().join(" ")
    )
}

/// Waits until nothing is left in this process's shared memory.
///
/// # Panics
/// If something stays.
pub async fn empty_here() {
    for _ in 0..200 {
        if store_stats().blocks == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("something is left: {}", store_stats());
}

/// The same, of a worker.
///
/// # Panics
/// If something stays, or the worker does not answer.
pub async fn empty_there() {
    let mut last = (0, 0);
    for _ in 0..200 {
        last = in_store::remote().await.expect("a worker answers");
        if last == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{last:?} blocks and bytes are left");
}
