//! Records into outcomes and errors, and errors into what is recorded.

use crate::{
    control::durable::{Cause, Failure, Refused},
    error::{Error, Passed},
    id::ObjectId,
};

/// Why a submission was refused.
pub(super) fn refused(refused: Refused) -> Error {
    match &refused {
        Refused::NoSuchArgument { argument, .. } => Error::ObjectLost {
            object: super::object_id(*argument),
            why: refused.to_string(),
            passed: Passed::default(),
        },
        _ => super::names::name_refused(&refused).unwrap_or_else(|| Error::control(refused)),
    }
}

/// What is recorded of an error of an attempt.
pub(super) fn failure(error: &Error) -> Failure {
    // With field names: another binary may read it.
    Failure::error(error.to_string(), rmp_serde::to_vec_named(error).unwrap_or_default())
}

/// Whether trying again cannot help.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Decode { .. }
            | Error::Encode { .. }
            | Error::NotRegistered { .. }
            | Error::Incompatible { .. }
    )
}

/// The error that a record tells of.
pub(super) fn error(id: ObjectId, failure: Failure) -> Error {
    let passed = Passed::default();
    let error = match failure.cause {
        Cause::Error { message, error } => {
            rmp_serde::from_slice(&error).unwrap_or_else(|_| Error::application(message))
        }
        Cause::WorkerDied { function, worker, attempts } => {
            Error::WorkerDied { function, worker, attempts, passed }
        }
        Cause::Lost { function, holder } => {
            let why = format!(
                "the value of `{function}` was kept by process {holder}, which is gone, and its attempts are spent"
            );
            Error::ObjectLost { object: id, why, passed }
        }
        Cause::PlaceGone { function, process } => {
            let why = "it is gone, or executes nothing".to_owned();
            Error::Unschedulable { function, shape: format!("process {process}"), why, passed }
        }
        Cause::ActorGone { function, worker, restarts } => {
            let why = format!(
                "process {worker}, in which it lived, is gone or has ended it, and it may not be made again more often than \
                 {restarts} times (`max_restarts`)"
            );
            Error::ActorEnded { actor: function, why, passed }
        }
        Cause::DeadlineExceeded { function } => Error::DeadlineExceeded { function, passed },
        Cause::Cancelled { function } => Error::Cancelled { function, passed },
    };
    failure.passed.iter().fold(error, |error, function| error.passed_to(function))
}
