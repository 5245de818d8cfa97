//! What FoundationDB's errors mean: by its own classification where it has one, by their numbers where it has none.
//!
//! The numbers are those of FoundationDB's documentation, "Error Codes".

use crate::control::store::{Limits, StoreError};
use foundationdb::FdbError;
use std::path::PathBuf;
use std::sync::Arc;

const TRANSACTION_TOO_OLD: i32 = 1007;
const NOT_COMMITTED: i32 = 1020;
const TRANSACTION_CANCELLED: i32 = 1025;
const TRANSACTION_TIMED_OUT: i32 = 1031;
const OPERATION_CANCELLED: i32 = 1101;
const TRANSACTION_TOO_LARGE: i32 = 2101;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Another transaction was first: run it again.
    Conflict,
    /// The database cannot serve it now: run it again, for a while.
    Later,
    /// It was open for too long.
    TooOld,
    /// It took effect or will not.
    Unknown,
    /// There is no use in trying again.
    Final,
}

/// The meaning of an error that came with the commit, or before.
pub(super) fn meaning(error: FdbError, committing: bool) -> Meaning {
    match error.code() {
        // The commit may be on its way.
        TRANSACTION_TIMED_OUT | TRANSACTION_CANCELLED if committing => Meaning::Unknown,
        _ if committing && error.is_maybe_committed() => Meaning::Unknown,
        TRANSACTION_TOO_OLD => Meaning::TooOld,
        NOT_COMMITTED => Meaning::Conflict,
        _ if error.is_retryable() => Meaning::Later,
        _ => Meaning::Final,
    }
}

/// Whether the transaction or its watch was given up by this process.
pub(super) fn is_cancelled(error: FdbError) -> bool {
    matches!(error.code(), TRANSACTION_CANCELLED | OPERATION_CANCELLED)
}

/// The cluster file, for messages.
#[derive(Clone, Debug)]
pub(super) struct Place(pub(super) Arc<PathBuf>);

impl Place {
    /// An error as a body sees it, or whoever waits for the transaction.
    pub(super) fn error(&self, error: FdbError) -> StoreError {
        match (error.code(), meaning(error, false)) {
            (TRANSACTION_TOO_LARGE, _) => {
                StoreError::TransactionTooLarge { limit: Limits::default().transaction }
            }
            (TRANSACTION_TIMED_OUT, _) => self.unreachable(error),
            (_, Meaning::TooOld) => StoreError::TimeLimit(Limits::default().time),
            (_, Meaning::Conflict | Meaning::Later) => StoreError::Conflict,
            _ if is_cancelled(error) => StoreError::Ended,
            _ => StoreError::Refused { store: self.name(), why: describe(error) },
        }
    }

    pub(super) fn unreachable(&self, error: FdbError) -> StoreError {
        let why = match error.code() {
            TRANSACTION_TIMED_OUT => "no answer in time".to_owned(),
            _ => describe(error),
        };
        StoreError::Unreachable(format!("{}: {why}", self.name()))
    }

    fn name(&self) -> String {
        format!("FoundationDB of {}", self.0.display())
    }
}

/// As its documentation lists it.
pub(super) fn describe(error: FdbError) -> String {
    format!("{} (FoundationDB's error {})", error.message(), error.code())
}
