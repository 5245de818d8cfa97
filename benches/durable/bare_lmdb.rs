//! What LMDB does at best with the writes of durable futures: a loop in one thread, without another process.
#![allow(unsafe_code)]

use super::writes::{Plan, Transaction, Write};
use fdbray_worker::control::store::lmdb::Sync;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, WithoutTls, types::Bytes};
use std::{io, time::Instant};

/// Futures per second.
pub fn rate(sync: Sync, plan: Plan, futures: usize) -> io::Result<f64> {
    let bare = Bare::open(sync)?;
    let batches = plan.batches(futures);
    let started = Instant::now();
    for transaction in batches.iter().flatten() {
        bare.commit(transaction).map_err(io::Error::other)?;
    }
    Ok(futures as f64 / started.elapsed().as_secs_f64())
}

/// Median microseconds of the three transactions that a future needs in sequence.
pub fn latency(sync: Sync, plan: Plan, futures: usize) -> io::Result<f64> {
    let bare = Bare::open(sync)?;
    let mut took = Vec::with_capacity(futures);
    for [submit, claim, complete, mail] in &plan.batches(futures) {
        let started = Instant::now();
        for transaction in [submit, claim, complete] {
            bare.commit(transaction).map_err(io::Error::other)?;
        }
        took.push(started.elapsed().as_secs_f64() * 1e6);
        bare.commit(mail).map_err(io::Error::other)?;
    }
    super::report::median(took).ok_or_else(|| io::Error::other("no future was written"))
}

struct Bare {
    env: Env<WithoutTls>,
    records: Database<Bytes, Bytes>,
    _directory: tempfile::TempDir,
}

impl Bare {
    fn open(sync: Sync) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let flags = match sync {
            Sync::Full => EnvFlags::empty(),
            Sync::Meta => EnvFlags::NO_META_SYNC,
            Sync::None => EnvFlags::NO_SYNC,
        };
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        open.map_size(1 << 30);
        // SAFETY: the flags weaken durability and nothing else, and nobody else opens this directory.
        let env = unsafe { open.flags(flags).open(directory.path()) }.map_err(io::Error::other)?;
        let mut write = env.write_txn().map_err(io::Error::other)?;
        let records = env.create_database(&mut write, None).map_err(io::Error::other)?;
        write.commit().map_err(io::Error::other)?;
        Ok(Bare { env, records, _directory: directory })
    }

    fn commit(&self, transaction: &Transaction) -> heed::Result<()> {
        let mut write = self.env.write_txn()?;
        for change in &transaction.writes {
            match change {
                Write::Set(key, value) => self.records.put(&mut write, key, value)?,
                Write::Clear(key) => drop(self.records.delete(&mut write, key)?),
            }
        }
        write.commit()
    }
}
