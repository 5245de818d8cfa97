//! Several bodies in one commit. The failure of one undoes only that one: then all run again, in nested transactions.

use super::drive::{self, Done, Stop, View};
use super::environment::Environment;
use super::thread::Job;
use super::watches::Watching;
use crate::control::store::engine::Attempt;
use crate::control::store::{Limits, StoreError, usage};
use heed::MdbError;

/// What the transactions of one commit may write together, about: LMDB keeps it in memory until then.
const BYTES: usize = 16 << 20;

/// What a commit did.
pub(super) struct Committed {
    /// How each job ended, in their order. The last jobs are missing if they were too many to share a commit.
    pub(super) attempts: Vec<Attempt>,
    pub(super) watches: Vec<Watching>,
    pub(super) buckets: u64,
}

/// Runs all bodies and commits, in a map that is as large as it needs to be. The caller holds the gate.
pub(super) fn commit(
    environment: &Environment,
    jobs: &[Job],
    limits: Limits,
) -> Result<Committed, StoreError> {
    // A nested transaction copies each page that it changes once more, which few need.
    let mut nested = false;
    loop {
        match try_commit(environment, jobs, limits, nested) {
            Ok(committed) => return Ok(committed),
            Err(Trouble::OneFailed) => nested = true,
            Err(Trouble::MapFull) => environment.grow()?,
            Err(Trouble::Failed(error)) => return Err(error),
        }
    }
}

enum Trouble {
    MapFull,
    /// One of several, which may have written before.
    OneFailed,
    Failed(StoreError),
}

fn try_commit(
    environment: &Environment,
    jobs: &[Job],
    limits: Limits,
    nested: bool,
) -> Result<Committed, Trouble> {
    let trouble = |error| match error {
        heed::Error::Mdb(MdbError::MapFull) => Trouble::MapFull,
        error => Trouble::Failed(environment.error(error)),
    };
    let mut top = environment.write_txn().map_err(Trouble::Failed)?;
    let version = top.id() as u64;
    let mut committed = Committed { attempts: Vec::new(), watches: Vec::new(), buckets: 0 };
    let (mut wrote, mut bytes) = (false, 0);
    for (position, job) in jobs.iter().enumerate() {
        let stamp = stamp(version, position);
        let ended = if !nested {
            let ended = drive::run(environment, View::Write(&mut top), &job.body, limits, stamp);
            if jobs.len() > 1 && !matches!(ended, Ok(_) | Err(Stop::MapFull)) {
                return Err(Trouble::OneFailed);
            }
            ended
        } else {
            let mut nested = environment.env.nested_write_txn(&mut top).map_err(trouble)?;
            let ended = drive::run(environment, View::Write(&mut nested), &job.body, limits, stamp);
            // Otherwise the drop undoes it.
            if matches!(&ended, Ok(Done { wrote: true, .. })) {
                nested.commit().map_err(trouble)?;
            }
            ended
        };
        committed.attempts.push(match ended {
            Ok(done) => {
                wrote |= done.wrote;
                bytes += done.bytes;
                committed.watches.extend(done.watches);
                committed.buckets |= done.buckets;
                Attempt::Committed(done.wrote.then_some(stamp))
            }
            Err(Stop::MapFull) => return Err(Trouble::MapFull),
            Err(Stop::Aborted) => Attempt::Aborted,
            Err(Stop::Failed(error)) => Attempt::Failed(error),
            Err(Stop::Panicked(payload)) => Attempt::Panicked(payload),
        });
        if bytes > BYTES {
            break;
        }
    }
    if wrote {
        crash_point("before commit");
        top.commit().map_err(trouble)?;
        usage::commit();
        crash_point("after commit");
    }
    Ok(committed)
}

/// The commit's number and the place within it.
fn stamp(version: u64, position: usize) -> [u8; 10] {
    let mut stamp = [0; 10];
    stamp[..8].copy_from_slice(&version.to_be_bytes());
    // `thread.rs` never puts more into one commit.
    stamp[8..].copy_from_slice(&(position as u16).to_be_bytes());
    stamp
}

/// Where tests kill the process: in the place that `FDBRAY_TEST_CRASH` names.
#[cfg(test)]
fn crash_point(place: &str) {
    if std::env::var("FDBRAY_TEST_CRASH").is_ok_and(|wanted| wanted == place) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
}

#[cfg(not(test))]
fn crash_point(_place: &str) {}
