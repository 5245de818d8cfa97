//! The store of a cluster: FoundationDB, through its client library `libfdb_c`.
//!
//! An attempt is one FoundationDB transaction. FoundationDB itself says which failures may be tried again, and waits
//! before that (its `on_error`); who conflicts is run again in here, on the same transaction, so that the pauses grow as
//! FoundationDB means them to. No attempt waits for an answer longer than [`PATIENCE`].
//!
//! Keys are stored as they are. All keys of one cluster begin with the tuple `("fdbray", NAME)`, so that a database
//! can be shared with other clusters and programs, and `clearrange` of that tuple's children and its own key is the
//! end of one. The key that is just this tuple says which fdbray wrote the cluster: MessagePack
//! `{format: u64, written_by: str}`.
//!
//! A commit whose result is unknown is reported once it is settled. FoundationDB sees to that when a connection breaks.
//! If instead no answer comes, the attempt ends [`PATIENCE`] after its start. Then what it read is older than the five
//! seconds for which FoundationDB accepts a commit, so that it does not take effect later than that either.
//!
//! | file | what |
//! |---|---|
//! | `network.rs` | the client's network thread: one per process, stopped at its end |
//! | `open.rs` | from a cluster file to a database that answers |
//! | `transaction.rs` | the operations of one attempt |
//! | `failure.rs` | what FoundationDB's errors mean here |

mod failure;
mod network;
mod open;
#[cfg(test)]
mod tests;
mod transaction;

use super::engine::{Attempt, Body, BoxFuture, Engine, Mode, start};
use super::{Limits, StoreError, Transaction, usage};
use failure::{Meaning, Place};
use foundationdb::options::TransactionOption;
use foundationdb::{Database, FdbError, FdbResult};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transaction::{Buffer, Ended};

#[cfg(test)]
pub(in crate::control) use open::block_on;

/// How long an attempt waits for FoundationDB before it fails with [`StoreError::Unreachable`]: the longest transaction,
/// and then the time after which FoundationDB refuses its commit.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How to use a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is put before every key. Nothing, but in tests.
    pub subspace: Vec<u8>,
    /// How long an attempt waits for an answer.
    pub patience: Duration,
    /// Limits of transactions. To change them is for tests.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options { subspace: Vec::new(), patience: PATIENCE, limits: Limits::default() }
    }
}

/// An open database.
pub(super) struct Fdb {
    database: Arc<Database>,
    place: Place,
    options: Options,
}

/// A run that FoundationDB ended, after the wait that it finds right before the next one.
struct Again {
    error: FdbError,
    committing: bool,
    /// For the next run, if FoundationDB finds that there is any use in one.
    transaction: FdbResult<foundationdb::Transaction>,
}

impl Fdb {
    /// One run of the body, and its commit.
    async fn run(
        &self,
        mode: Mode,
        body: &Body,
        transaction: foundationdb::Transaction,
    ) -> Result<Attempt, Again> {
        let buffer =
            Arc::new(Buffer::new(transaction, mode, self.options.subspace.clone(), self.place.clone()));
        let handle = Transaction::new(buffer.clone(), self.options.limits);
        // A panic may come when the body is called or when its future runs.
        let run = AssertUnwindSafe(async { start(body, handle.clone()).await }).catch_unwind().await;
        let Some(Ended { transaction, failed, read, wrote, watched }) = buffer.end() else {
            return Ok(Attempt::Failed(StoreError::Ended));
        };
        match (run, handle.verdict(), failed) {
            (Err(panic), _, _) => return Ok(Attempt::Panicked(panic)),
            (_, Err(_), Some(error)) => {
                let transaction = transaction.on_error(error).await;
                return Err(Again { error, committing: false, transaction });
            }
            (_, Err(error), None) => return Ok(Attempt::Failed(error)),
            (Ok(false), Ok(()), _) => return Ok(Attempt::Aborted),
            (Ok(true), Ok(()), _) => {}
        }
        if mode == Mode::Read && !watched {
            return Ok(Attempt::Committed(None));
        }
        // A commit needs a read version. Who read has one; to ask for it before the commit tells a database that is away from
        // a commit that got no answer.
        if wrote
            && !read
            && let Err(error) = transaction.get_read_version().await
        {
            let transaction = transaction.on_error(error).await;
            return Err(Again { error, committing: false, transaction });
        }
        let stamp = wrote.then(|| transaction.get_versionstamp());
        match transaction.commit().await {
            Ok(_committed) => Ok(Attempt::Committed(match stamp {
                // It has none if its writes came to nothing, as the removal of an empty range.
                Some(stamp) => {
                    usage::commit();
                    stamp.await.ok().and_then(|stamp| stamp.as_ref().try_into().ok())
                }
                None => None,
            })),
            Err(failed) => {
                let error = *failed;
                Err(Again { error, committing: true, transaction: failed.on_error().await })
            }
        }
    }
}

impl Engine for Fdb {
    fn attempt(&self, mode: Mode, body: Body) -> BoxFuture<'_, Attempt> {
        Box::pin(async move {
            let begun = Instant::now();
            let mut transaction = match self.database.create_trx() {
                Ok(transaction) => transaction,
                Err(error) => return Attempt::Failed(self.place.error(error)),
            };
            loop {
                // Counts from the transaction's creation, however often it is tried.
                let limit = begun.elapsed() + self.options.patience;
                let limit = TransactionOption::Timeout(limit.as_millis().try_into().unwrap_or(i32::MAX));
                if let Err(error) = transaction.set_option(limit) {
                    return Attempt::Failed(self.place.error(error));
                }
                // Saves a question to the logs whether they are still those of the database. Should they not be, what was
                // read may be old; but then nothing that was written comes through. Only what writes nothing may be told old
                // news, as may whoever has asked a moment before.
                if mode == Mode::Write
                    && let Err(error) = transaction.set_option(TransactionOption::CausalReadRisky)
                {
                    return Attempt::Failed(self.place.error(error));
                }
                let run = Instant::now();
                let again = match self.run(mode, &body, transaction).await {
                    Ok(attempt) => return attempt,
                    Err(again) => again,
                };
                let meaning = match failure::meaning(again.error, again.committing) {
                    // Its read version is from before a recovery of the database.
                    Meaning::TooOld if run.elapsed() < self.options.limits.time => Meaning::Later,
                    meaning => meaning,
                };
                let failed = match (meaning, again.transaction) {
                    (Meaning::Unknown, _) => StoreError::CommitUnknown,
                    (Meaning::TooOld, _) => StoreError::TimeLimit(self.options.limits.time),
                    // A database that is behind or overloaded may be so for long.
                    (Meaning::Later, Ok(_)) if begun.elapsed() > self.options.patience => {
                        self.place.unreachable(again.error)
                    }
                    (Meaning::Conflict | Meaning::Later, Ok(next)) => {
                        transaction = next;
                        continue;
                    }
                    (_, Err(error)) => self.place.error(error),
                    (Meaning::Final, Ok(_)) => self.place.error(again.error),
                };
                return Attempt::Failed(failed);
            }
        })
    }

    fn pause(&self, _attempt: u32) -> BoxFuture<'_, ()> {
        // The attempt itself has waited.
        Box::pin(std::future::ready(()))
    }

    fn name(&self) -> &'static str {
        "fdb"
    }
}
