//! Remote functions that take and return large bytes and numbers, alone and inside structs.

use fdbray::{Blob, Error, RemoteFuture, Slab, remote};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Two blobs and a slab.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Scan {
    /// A few words.
    pub name: String,
    /// Bytes.
    pub raw: Blob,
    /// Bytes again.
    pub mask: Blob,
    /// Numbers.
    pub points: Slab<f64>,
}

/// The same, borrowed.
#[derive(Deserialize, Debug)]
pub struct ScanRef<'a> {
    /// A few words.
    pub name: &'a str,
    /// Bytes.
    pub raw: &'a [u8],
    /// Bytes again.
    pub mask: &'a [u8],
    /// Numbers.
    pub points: Slab<f64>,
}

/// Scans, and one that may not be there yet.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Album {
    /// Here.
    pub here: Vec<Scan>,
    /// Perhaps not.
    pub later: RemoteFuture<Scan>,
}

/// A scan whose parts tell which they are.
#[remote]
pub fn scan(len: usize) -> Scan {
    let bytes = |salt: usize| Blob::from((0..len).map(|i| (i * 31 + salt) as u8).collect::<Vec<_>>());
    Scan {
        name: format!("{len}"),
        raw: bytes(1),
        mask: bytes(2),
        points: (0..len).map(|i| i as f64).collect(),
    }
}

/// What it was given.
#[remote]
pub fn same_scan(scan: Scan) -> Scan {
    scan
}

/// All scans of an album, the later one last.
#[remote]
pub async fn scans(album: Album) -> fdbray::Result<Vec<Scan>> {
    let mut all = album.here;
    all.push(album.later.await?);
    Ok(all)
}

/// An album of a scan and a future one.
#[remote]
pub fn album(len: usize) -> Album {
    Album { here: vec![scan(len)], later: scan::remote(len + 1) }
}

/// How many bytes and characters, and the sums of the numbers.
#[remote]
pub fn measures(text: &str, bytes: &[u8], numbers: &[f32], scan: &Scan) -> (usize, u64, f64, usize) {
    sums(text, bytes, numbers, scan)
}

/// The same, after a pause.
#[remote]
pub async fn measures_later(
    text: &str,
    bytes: &[u8],
    numbers: &[f32],
    scan: &Scan,
) -> (usize, u64, f64, usize) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    sums(text, bytes, numbers, scan)
}

/// What both give.
pub fn sums(text: &str, bytes: &[u8], numbers: &[f32], scan: &Scan) -> (usize, u64, f64, usize) {
    let bytes = bytes.iter().map(|b| u64::from(*b)).sum();
    (text.chars().count(), bytes, numbers.iter().copied().map(f64::from).sum(), scan.raw.len())
}

/// Bytes that were written where they lie.
#[remote]
pub fn filled(len: usize, with: u8) -> fdbray::Result<Blob> {
    let mut memory = fdbray::buffer(len)?;
    memory.fill(with);
    Ok(memory.seal())
}

/// A slab of so many numbers.
#[remote]
pub fn slab(len: usize) -> Slab<f32> {
    (0..len).map(|i| (i % 100) as f32).collect()
}

/// The numbers of two slabs that were given in a list, one after the other.
#[remote]
pub fn joined(slabs: Vec<Slab<f32>>) -> Result<Slab<f32>, Error> {
    Ok(slabs.iter().flat_map(|s| s.iter().copied()).collect())
}
