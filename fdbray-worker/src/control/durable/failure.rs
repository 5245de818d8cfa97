//! Why a durable future has no value, as its record says it.

use super::encoding::binary;
use crate::id::ProcessId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How much of an error is kept.
const LARGEST_ERROR: usize = 16 << 10;

/// Why a future has no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened.
    pub cause: Cause,
    /// The functions that failed in turn because this reached them as an argument, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
}

/// What made a future fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The function ended with an error, or panicked.
    Error {
        /// What it said, for a person.
        message: String,
        /// The error itself, as the worker encoded it; empty if that was too large.
        #[serde(with = "binary")]
        error: Vec<u8>,
    },
    /// Every process that attempted it died, and its retry budget is spent.
    WorkerDied {
        /// The function.
        function: String,
        /// The last process.
        worker: ProcessId,
        /// How many attempts were started.
        attempts: u32,
    },
    /// Its value was kept by a process that is gone, and it cannot be computed again.
    Lost {
        /// The function.
        function: String,
        /// The process.
        holder: ProcessId,
    },
    /// It had to run in a process that is gone, or that executes nothing. Since version 2.
    PlaceGone {
        /// The function.
        function: String,
        /// The process.
        process: ProcessId,
    },
    /// An actor was lost with its process, or broke, once more than it may be made again. Since version 3.
    ActorGone {
        /// Its constructor.
        function: String,
        /// The last process.
        worker: ProcessId,
        /// How often it was made again.
        restarts: u32,
    },
    /// It had not ended by its deadline.
    DeadlineExceeded {
        /// The function.
        function: String,
    },
    /// Somebody cancelled it. Only seen by those that needed its value.
    Cancelled {
        /// The function.
        function: String,
    },
}

impl Failure {
    /// The error that a function returned: `error` is what the worker made of it, `message` what it says.
    pub fn error(mut message: String, error: Vec<u8>) -> Self {
        let mut end = message.len().min(LARGEST_ERROR);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        Cause::Error { message, error: if error.len() > LARGEST_ERROR { Vec::new() } else { error } }.into()
    }

    /// The same, as the reason why a call of `function` that needed the value failed too.
    pub(super) fn passed_to(mut self, function: &str) -> Self {
        // Chains may be long, records may not.
        const LONGEST: usize = 64;
        if self.passed.len() < LONGEST {
            self.passed.push(function.to_owned());
        }
        self
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Failure { cause, passed: Vec::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Error { message, .. } => f.write_str(message)?,
            Cause::WorkerDied { function, worker, attempts } => write!(
                f,
                "`{function}` has no result: worker {worker} died while it ran there, and all {attempts} attempts are \
                 spent"
            )?,
            Cause::Lost { function, holder } => write!(
                f,
                "the value of `{function}` is lost: process {holder}, which kept it, is gone, and all attempts are spent"
            )?,
            Cause::PlaceGone { function, process } => write!(
                f,
                "`{function}` was to run in process {process} and nowhere else, which is gone, or executes nothing"
            )?,
            Cause::ActorGone { function, worker, restarts } => write!(
                f,
                "the actor made by `{function}` was lost in process {worker}, and was made again {restarts} times already"
            )?,
            Cause::DeadlineExceeded { function } => {
                write!(f, "the deadline of the call of `{function}` passed before it had a result")?;
            }
            Cause::Cancelled { function } => write!(f, "the call of `{function}` was cancelled")?,
        }
        if self.passed.is_empty() { Ok(()) } else { write!(f, " (needed by {})", self.passed.join(", by ")) }
    }
}
