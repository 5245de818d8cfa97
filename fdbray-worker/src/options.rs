//! What a call may ask for, beyond its arguments.

use crate::{handle::Handle, id::ProcessId};
use std::time::Duration;

/// Options of a call, or of a function's calls. What is `None` is taken from the function's attribute, then from the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// CPUs that one attempt holds; fractions allowed. Default 1.
    pub cpus: Option<f64>,
    /// GPUs that one attempt holds. Default 0.
    pub gpus: Option<f64>,
    /// Bytes of memory that one attempt holds. Default 0.
    pub memory: Option<u64>,
    /// Named resources that one attempt holds.
    pub resources: Vec<(String, f64)>,
    /// Attempts after the first when a worker dies. Default 3.
    pub retries: Option<u32>,
    /// Attempts after one that returned an error or panicked. Default 0.
    pub retry_errors: Option<u32>,
    /// From submission to result.
    pub deadline: Option<Duration>,
    /// Whether what the function prints and logs is shown in the driver's terminal. Default true.
    pub logs: Option<bool>,
    /// Where it is to run. For durable calls.
    pub place: Option<Place>,
    /// The cluster owns the future rather than this process.
    pub durable: Option<Durable>,
    /// Of a constructor: how often the actor is made again after its worker died or a method that runs alone panicked.
    /// Default 0.
    pub max_restarts: Option<u32>,
}

/// Where a call is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// There.
    pub at: At,
    /// And nowhere else.
    pub hard: bool,
}

/// A process, named or described.
#[derive(Clone, Debug)]
pub enum At {
    /// This one.
    Process(ProcessId),
    /// The one that has this future's value.
    Value(Handle),
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (At::Process(one), At::Process(other)) => one == other,
            (At::Value(one), At::Value(other)) => one.id() == other.id(),
            _ => false,
        }
    }
}

/// What a durable call may ask for besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// A future that was submitted under this key, with the same function and arguments, is this one.
    pub key: Option<String>,
    /// The higher one is run first. Default 0.
    pub priority: i32,
    /// Its whole value belongs into the store.
    pub value: bool,
    /// How long it is kept after its end; zero for ever. Default seven days.
    pub retention: Option<Duration>,
}

/// When what a lasting actor has become is kept elsewhere: see `fdbray::Checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checkpoints {
    /// Before any answer goes out that depends on it. One is taken when so many calls have changed the state, or when none
    /// waits any more.
    Every(u32),
    /// When that is asked for. Answers do not wait for it.
    OnDemand,
}

/// What the attribute said; `Copy`, so that it can stand in a static with `..Defaults::NEW`.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// See [`Options::cpus`].
    pub cpus: Option<f64>,
    /// See [`Options::gpus`].
    pub gpus: Option<f64>,
    /// See [`Options::memory`].
    pub memory: Option<u64>,
    /// See [`Options::resources`].
    pub resources: &'static [(&'static str, f64)],
    /// See [`Options::retries`].
    pub retries: Option<u32>,
    /// See [`Options::retry_errors`].
    pub retry_errors: Option<u32>,
    /// See [`Options::logs`].
    pub logs: Option<bool>,
    /// See [`Options::durable`].
    pub durable: bool,
    /// See [`Options::max_restarts`].
    pub max_restarts: Option<u32>,
    /// Of the constructors and methods of a type with checkpoints.
    pub checkpoints: Option<Checkpoints>,
}

impl Defaults {
    /// Nothing said.
    pub const NEW: Defaults = Defaults {
        cpus: None,
        gpus: None,
        memory: None,
        resources: &[],
        retries: None,
        retry_errors: None,
        logs: None,
        durable: false,
        max_restarts: None,
        checkpoints: None,
    };
}
