//! What FoundationDB does at best with the transactions of durable futures: without fdbray, in one process.
#![allow(unsafe_code)]

use super::{
    cluster,
    writes::{Batch, Plan, Transaction, Write},
};
use fdbray_worker::control::store::Key;
use foundationdb::{Database, FdbError, FdbResult, api::NetworkAutoStop};
use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use std::{io, time::Instant};

/// Batches that are under way at once where the rate is measured.
const AT_ONCE: usize = 8;

/// Futures per second, pipelined: the transactions of one batch come one after the other, those of others meanwhile.
pub async fn rate(plan: Plan, futures: usize) -> io::Result<f64> {
    let bare = Bare::open()?;
    let batches = plan.batches(futures);
    let started = Instant::now();
    let all = stream::iter(&batches).map(|batch| bare.run(batch)).buffer_unordered(AT_ONCE);
    all.try_collect::<Vec<()>>().await.map_err(io::Error::other)?;
    let rate = futures as f64 / started.elapsed().as_secs_f64();
    bare.clear().await.map_err(io::Error::other)?;
    Ok(rate)
}

/// Median microseconds of what a future needs in sequence: three transactions that read and commit, and two that read,
/// the inbox and the record.
pub async fn latency(plan: Plan, futures: usize) -> io::Result<f64> {
    let bare = Bare::open()?;
    let mut took = Vec::with_capacity(futures);
    for [submit, claim, complete, mail] in &plan.batches(futures) {
        let started = Instant::now();
        for transaction in [submit, claim, complete] {
            bare.commit(transaction).await.map_err(io::Error::other)?;
        }
        for reads in [&mail.reads, &submit.reads] {
            bare.read(reads).await.map_err(io::Error::other)?;
        }
        took.push(started.elapsed().as_secs_f64() * 1e6);
        bare.commit(mail).await.map_err(io::Error::other)?;
    }
    bare.clear().await.map_err(io::Error::other)?;
    super::report::median(took).ok_or_else(|| io::Error::other("no future was written"))
}

/// Starts FoundationDB's network thread, which stops with the value. Once in a process.
pub fn network() -> NetworkAutoStop {
    // SAFETY: the value lives as long as anything of FoundationDB in this process: see `run` in `main.rs`.
    unsafe { foundationdb::boot() }
}

struct Bare(Database);

impl Bare {
    fn open() -> io::Result<Self> {
        let file = cluster::cluster_file().and_then(|file| file.into_string().ok());
        let file = file.ok_or_else(|| io::Error::other("there is no FoundationDB"))?;
        Database::from_path(&file).map(Bare).map_err(io::Error::other)
    }

    async fn run(&self, batch: &Batch) -> FdbResult<()> {
        for transaction in batch {
            self.commit(transaction).await?;
        }
        Ok(())
    }

    async fn commit(&self, transaction: &Transaction) -> FdbResult<()> {
        let commit = self.0.create_trx()?;
        try_join_all(transaction.reads.iter().map(|key| commit.get(key, false))).await?;
        for write in &transaction.writes {
            match write {
                Write::Set(key, value) => commit.set(key, value),
                Write::Clear(key) => commit.clear(key),
            }
        }
        // Nothing conflicts: batches have no key in common but the bell, which nobody reads.
        commit.commit().await.map(drop).map_err(FdbError::from)
    }

    async fn read(&self, keys: &[Vec<u8>]) -> FdbResult<()> {
        let read = self.0.create_trx()?;
        try_join_all(keys.iter().map(|key| read.get(key, true))).await.map(drop)
    }

    async fn clear(&self) -> FdbResult<()> {
        let clear = self.0.create_trx()?;
        let (begin, end) = Key::new().str("fdbray").str("bench").children();
        clear.clear_range(&begin, &end);
        clear.commit().await.map(drop).map_err(FdbError::from)
    }
}
