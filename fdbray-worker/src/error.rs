//! Why a future has no value: the one error of the public API.

mod application;
mod display;

pub use application::ApplicationError;

use crate::{
    config::{ConfigError, UrlError},
    id::{ObjectId, ProcessId},
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Like `std::result::Result`, with fdbray's error by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a future has no value.
///
/// Every variant says what happened, to which function, where, and what can be done. `Display` is a sentence;
/// `Debug` prints the same and the chain of causes, because `main` and `unwrap` print that. An error that reaches a
/// dependent call keeps its variant and its cause and adds the functions that it passed through.
#[derive(Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The function returned this error. Downcast it to the function's own error type.
    Application(ApplicationError),
    /// The function panicked. The worker goes on; the panic is not retried unless `retry_errors` says so.
    #[non_exhaustive]
    Panicked {
        /// The function.
        function: String,
        /// What the panic said.
        message: String,
        /// Where in the source, as `file:line:column`.
        location: String,
        /// The backtrace, when `RUST_BACKTRACE` is set in the worker.
        backtrace: String,
        /// The worker in which it happened.
        worker: ProcessId,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// Every worker that attempted the call died, and its retry budget is spent.
    #[non_exhaustive]
    WorkerDied {
        /// The function.
        function: String,
        /// The worker that died last.
        worker: ProcessId,
        /// How often it was attempted.
        attempts: u32,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// The process that owned the future is gone, and with it the future.
    #[non_exhaustive]
    OwnerDied {
        /// The future's object.
        object: ObjectId,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// The value was computed, but every copy of it is gone and it cannot be computed again.
    #[non_exhaustive]
    ObjectLost {
        /// The object.
        object: ObjectId,
        /// What was tried.
        why: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// The actor that was called has ended, or never came to be: later calls end the same way.
    #[non_exhaustive]
    ActorEnded {
        /// The actor's constructor.
        actor: String,
        /// How it ended.
        why: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// No actor of the cluster has this name.
    #[non_exhaustive]
    NoSuchActor {
        /// The name.
        name: String,
    },
    /// The actor that has this name is of another type than the one asked for.
    #[non_exhaustive]
    OtherActor {
        /// The name.
        name: String,
        /// The type that was asked for.
        expected: String,
        /// The type of the actor that has the name.
        found: String,
    },
    /// The name that an actor was to have belongs to another one: the new one is not made.
    #[non_exhaustive]
    NameTaken {
        /// The name.
        name: String,
        /// The type of the actor that has it.
        by: String,
    },
    /// The future was cancelled.
    #[non_exhaustive]
    Cancelled {
        /// The function.
        function: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// The deadline passed before the call had a result.
    #[non_exhaustive]
    DeadlineExceeded {
        /// The function.
        function: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// No live worker can ever run the call: it asks for more than any of them has.
    #[non_exhaustive]
    Unschedulable {
        /// The function.
        function: String,
        /// What the call asks for.
        shape: String,
        /// Why nothing fits, naming the closest worker.
        why: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// This process has too much pending. Await some futures first, or use `submit`, which waits for room.
    #[non_exhaustive]
    Overloaded {
        /// The function.
        function: String,
        /// Bytes that pending calls hold.
        pending: u64,
        /// `max_pending_bytes`.
        limit: u64,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// A value could not be turned into bytes.
    #[non_exhaustive]
    Encode {
        /// Which value: `argument 2 of add`.
        what: String,
        /// The encoder's message.
        message: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// Bytes could not be turned into a value: caller and worker differ in what the type looks like.
    #[non_exhaustive]
    Decode {
        /// Which value: `argument x of add`.
        what: String,
        /// The decoder's message.
        message: String,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// The worker's binary lacks the function. A library's functions are linked in only when the binary names it.
    #[non_exhaustive]
    NotRegistered {
        /// The function.
        function: String,
        /// The process that lacks it.
        worker: ProcessId,
        /// The calls that it passed through.
        passed: Passed,
    },
    /// Two processes run different binaries or protocols; the message says what differs.
    #[non_exhaustive]
    Incompatible {
        /// What differs.
        message: String,
    },
    /// Memory and disk for objects are full.
    #[non_exhaustive]
    StoreFull {
        /// What stands against it, what to do, and the accounting.
        message: String,
    },
    /// The control plane or the configuration: what failed and what to do.
    #[non_exhaustive]
    Control {
        /// What failed.
        message: String,
    },
    /// The runtime of this process has ended.
    Shutdown,
    /// What a lasting actor has become could not be kept, or the actor not be made again from what was kept. A call that
    /// ends so has had no effect.
    #[non_exhaustive]
    Checkpoint {
        /// The actor's type, or the method that was called.
        actor: String,
        /// What went wrong and what to do.
        why: String,
        /// The calls that it passed through.
        passed: Passed,
    },
}

impl Error {
    /// An application error made of any error, for `map_err(Error::application)?` in functions that return
    /// [`Result`]. It keeps the text of the whole chain of causes, not the value.
    pub fn application(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = error.into();
        Error::Application(ApplicationError::new(std::any::type_name_of_val(&*error), &*error, None))
    }

    /// A control-plane or configuration error.
    pub fn control(message: impl fmt::Display) -> Self {
        Error::Control { message: message.to_string() }
    }

    /// A panic that nobody had, for the simulator.
    #[doc(hidden)]
    pub fn simulated_panic(worker: ProcessId) -> Self {
        Error::Panicked {
            function: "simulated".to_owned(),
            message: "simulated".to_owned(),
            location: String::new(),
            backtrace: String::new(),
            worker,
            passed: Passed::default(),
        }
    }

    /// `what` could not be encoded.
    pub fn encode(what: impl Into<String>, message: impl fmt::Display) -> Self {
        Error::Encode { what: what.into(), message: message.to_string(), passed: Passed::default() }
    }

    /// `what` could not be decoded.
    pub fn decode(what: impl Into<String>, message: impl fmt::Display) -> Self {
        Error::Decode { what: what.into(), message: message.to_string(), passed: Passed::default() }
    }

    /// The checkpoint of `actor` is of no use.
    pub fn checkpoint(actor: impl Into<String>, why: impl fmt::Display) -> Self {
        Error::Checkpoint { actor: actor.into(), why: why.to_string(), passed: Passed::default() }
    }

    /// The same error, as the reason why a call of `function` that needed the value failed too.
    #[must_use]
    pub fn passed_to(mut self, function: &str) -> Self {
        if let Some(passed) = self.passed_mut() {
            let mut names = std::mem::take(&mut passed.0).into_vec();
            names.push(function.to_owned());
            passed.0 = names.into();
        }
        self
    }

    /// The functions that failed in turn because this error reached them as an argument, innermost first.
    pub fn passed(&self) -> &[String] {
        match self {
            Error::Application(e) => &e.passed.0,
            Error::Panicked { passed, .. }
            | Error::WorkerDied { passed, .. }
            | Error::OwnerDied { passed, .. }
            | Error::ObjectLost { passed, .. }
            | Error::ActorEnded { passed, .. }
            | Error::Checkpoint { passed, .. }
            | Error::Cancelled { passed, .. }
            | Error::DeadlineExceeded { passed, .. }
            | Error::Unschedulable { passed, .. }
            | Error::Overloaded { passed, .. }
            | Error::Encode { passed, .. }
            | Error::Decode { passed, .. }
            | Error::NotRegistered { passed, .. } => &passed.0,
            Error::NoSuchActor { .. }
            | Error::OtherActor { .. }
            | Error::NameTaken { .. }
            | Error::Incompatible { .. }
            | Error::StoreFull { .. }
            | Error::Control { .. }
            | Error::Shutdown => &[],
        }
    }

    /// Whether the call that ended so has itself panicked, rather than returned the panic of one that it awaited.
    pub fn is_own_panic(&self) -> bool {
        matches!(self, Error::Panicked { passed, .. } if passed.0.is_empty())
    }

    /// Whether the same call may well succeed when it is made again.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Error::WorkerDied { .. }
                | Error::OwnerDied { .. }
                | Error::ObjectLost { .. }
                | Error::Overloaded { .. }
                | Error::StoreFull { .. }
                | Error::Control { .. }
        )
    }

    fn passed_mut(&mut self) -> Option<&mut Passed> {
        match self {
            Error::Application(e) => Some(&mut e.passed),
            Error::Panicked { passed, .. }
            | Error::WorkerDied { passed, .. }
            | Error::OwnerDied { passed, .. }
            | Error::ObjectLost { passed, .. }
            | Error::ActorEnded { passed, .. }
            | Error::Checkpoint { passed, .. }
            | Error::Cancelled { passed, .. }
            | Error::DeadlineExceeded { passed, .. }
            | Error::Unschedulable { passed, .. }
            | Error::Overloaded { passed, .. }
            | Error::Encode { passed, .. }
            | Error::Decode { passed, .. }
            | Error::NotRegistered { passed, .. } => Some(passed),
            Error::NoSuchActor { .. }
            | Error::OtherActor { .. }
            | Error::NameTaken { .. }
            | Error::Incompatible { .. }
            | Error::StoreFull { .. }
            | Error::Control { .. }
            | Error::Shutdown => None,
        }
    }
}

impl std::error::Error for Error {}

impl From<ApplicationError> for Error {
    fn from(e: ApplicationError) -> Self {
        Error::Application(e)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::application(e)
    }
}

impl From<ConfigError> for Error {
    fn from(e: ConfigError) -> Self {
        Error::control(e)
    }
}

impl From<UrlError> for Error {
    fn from(e: UrlError) -> Self {
        Error::control(e)
    }
}

impl From<Arc<Error>> for Error {
    fn from(e: Arc<Error>) -> Self {
        Arc::unwrap_or_clone(e)
    }
}

/// The functions that failed in turn because an error reached them as an argument, innermost first.
#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed(Box<[String]>);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    #[error("odd {0}")]
    struct Odd(u8);

    fn odd() -> Error {
        let value = postcard::to_stdvec(&Odd(3)).ok();
        Error::Application(ApplicationError::new(std::any::type_name::<Odd>(), &Odd(3), value))
    }

    #[test]
    fn a_cause_keeps_its_type_through_dependents_and_names_them() {
        let e = odd().passed_to("merge").passed_to("total");
        assert_eq!(e.passed(), ["merge", "total"]);
        assert!(e.to_string().starts_with("odd 3 (its value was an argument of `merge`)"));
        let Error::Application(a) = e else { panic!("changed its variant") };
        assert!(!a.is::<String>());
        assert_eq!(a.downcast::<Odd>().unwrap(), Odd(3));
    }

    #[test]
    fn errors_survive_the_wire() {
        let bytes = postcard::to_stdvec(&odd()).unwrap();
        assert_eq!(postcard::from_bytes::<Error>(&bytes).unwrap().to_string(), "odd 3");
    }
}
