//! What errors say to a person.

use super::Error;
use std::fmt;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Application(e) => return fmt::Display::fmt(e, f),
            Error::Panicked { function, message, location, worker, .. } => {
                write!(f, "`{function}` panicked at {location} in worker {worker}: {message}")?;
            }
            Error::WorkerDied { function, worker, attempts, .. } => write!(
                f,
                "`{function}` has no result: worker {worker} died while it may have run there, and all {attempts} \
                 attempts are spent (raise `retries` if that is too few)"
            )?,
            Error::OwnerDied { object, .. } => {
                write!(f, "the process that owned future {object} is gone, and with it the future")?;
            }
            Error::ObjectLost { object, why, .. } => {
                write!(f, "the value of future {object} is lost: {why}")?
            }
            Error::ActorEnded { actor, why, .. } => {
                write!(f, "the actor made by `{actor}` has ended: {why}")?
            }
            Error::NoSuchActor { name } => write!(
                f,
                "no actor has the name `{name}`: it was not made, or has ended; `get_or_create` makes it where it is not there"
            )?,
            Error::OtherActor { name, expected, found } => write!(
                f,
                "the actor with the name `{name}` is a `{found}`, not a `{expected}`: use its own handle, or another name"
            )?,
            Error::NameTaken { name, by } => write!(
                f,
                "the name `{name}` belongs to an actor of type `{by}`: look that up with `named` or `get_or_create`, or use \
                 another name"
            )?,
            Error::Checkpoint { actor, why, .. } => {
                write!(f, "the checkpoint of the actor of `{actor}` is of no use: {why}")?
            }
            Error::Cancelled { function, .. } => write!(f, "the call of `{function}` was cancelled")?,
            Error::DeadlineExceeded { function, .. } => {
                write!(f, "the deadline of the call of `{function}` passed before it had a result")?;
            }
            Error::Unschedulable { function, shape, why, .. } => {
                write!(f, "no worker can run `{function}`, which needs {shape}: {why}")?;
            }
            Error::Overloaded { function, pending, limit, .. } => write!(
                f,
                "the call of `{function}` was refused: this process already holds {pending} bytes of pending calls of at \
                 most {limit}; await some first, use `submit`, or raise `max_pending_bytes`"
            )?,
            Error::Encode { what, message, .. } => write!(f, "{what} could not be encoded: {message}")?,
            Error::Decode { what, message, .. } => write!(f, "{what} could not be decoded: {message}")?,
            Error::NotRegistered { function, worker, .. } => write!(
                f,
                "process {worker} has no remote function `{function}`: its binary was built without it, or with other parameters (a library's \
                 functions are linked in only when the binary names the library, for instance `use my_library as _;`)"
            )?,
            Error::Incompatible { message } => write!(f, "two processes do not fit together: {message}")?,
            Error::StoreFull { message } => write!(f, "no room for objects: {message}")?,
            Error::Control { message } => f.write_str(message)?,
            Error::Shutdown => f.write_str("the fdbray runtime of this process has ended")?,
        }
        write_passed(f, self.passed())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Error::Application(e) = self {
            return fmt::Debug::fmt(e, f);
        }
        fmt::Display::fmt(self, f)?;
        if let Error::Panicked { backtrace, .. } = self
            && !backtrace.is_empty()
        {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

pub(super) fn write_passed(f: &mut fmt::Formatter<'_>, passed: &[String]) -> fmt::Result {
    for function in passed {
        write!(f, " (its value was an argument of `{function}`)")?;
    }
    Ok(())
}
