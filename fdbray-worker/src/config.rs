//! What can be set, and from where: in code, by `FDBRAY_*` variables, on a worker's command line.
//!
//! [`Config::from_env`] is the beginning; what is set in code afterwards wins. [`Config::from_args`] also tells
//! whether the process is a worker. What is not set comes from the machine ([`machine`]).
//!
//! | variable | default | what it is |
//! |---|---|---|
//! | `FDBRAY_CLUSTER` | a private cluster | the cluster's URL, see [`ClusterUrl`] |
//! | `FDBRAY_WORKERS` | 1 | worker processes of a private cluster |
//! | `FDBRAY_CPUS`, `FDBRAY_GPUS` | those of the machine | what this process may use, fractions allowed |
//! | `FDBRAY_MEMORY` | that of the machine or container | as `16GiB`, `512MB` |
//! | `FDBRAY_RESOURCES`, `FDBRAY_LABELS` | none | `name=2,other=0.5`, `key=value,key=value` |
//! | `FDBRAY_LISTEN`, `FDBRAY_ADVERTISE` | a Unix socket | addresses to listen on, and to be known by |
//! | `FDBRAY_SECRET` | none | what processes of the cluster prove to know; needed to listen beyond this machine |
//! | `FDBRAY_MAX_PENDING_BYTES` | a quarter of memory | arguments of pending calls, then `Overloaded` |
//! | `FDBRAY_MAX_PARKED` | 256 | sync tasks that may wait for futures at once |
//! | `FDBRAY_UNSCHEDULABLE_AFTER` | `30s` | when a call that no worker can run fails |
//! | `FDBRAY_IDLE_LEASE` | `100ms` | when an idle lease is returned |
//! | `FDBRAY_GRACE_PERIOD` | `30s` | how long a stopping worker finishes what runs |
//! | `FDBRAY_SESSION_RESUME` | `2s` | how long a broken connection may be made again |
//! | `FDBRAY_INLINE_BYTES` | `64KiB` | up to which size values travel within messages |
//! | `FDBRAY_STORE_BYTES` | 30% of memory | shared memory for the large values of this process |
//! | `FDBRAY_LOCALITY_BYTES` | `200MB` | a worker to which more of a call's arguments would have to be moved is left out, as long as another could run it to which less would |
//! | `FDBRAY_STORE_WAIT` | `10s` | how long a large value waits for room there, then `StoreFull` |
//! | `FDBRAY_SPILL_DIR` | `/var/tmp` | where large values are written when that memory is full; `off`: nowhere |
//! | `FDBRAY_SPILL_BYTES` | what is free there | how much may be written there |
//! | `FDBRAY_LOG_TO_DRIVER` | true | whether what remote code prints shows in the driver's terminal |
//! | `FDBRAY_ALLOW_MIXED_BINARIES` | false | whether processes of different builds work together |
//! | `FDBRAY_IN_PROCESS` | false | everything in the driver's process, for debugging |

mod args;
pub mod machine;
mod parse;
mod settings;
mod url;

pub use args::{Invocation, WORKER_USAGE};
pub use parse::{UNIT, parse_bytes, parse_duration, parse_quantity};
pub use url::{ClusterUrl, Engine, UrlError};

use crate::control::members::Capacity;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of one process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The cluster to join. None: a private one.
    pub cluster: Option<ClusterUrl>,
    /// Worker processes of a private cluster.
    pub workers: usize,
    /// Cpus to offer, in [`UNIT`]s. None: those of the machine.
    pub cpus: Option<u64>,
    /// Gpus to offer, in [`UNIT`]s. None: those of the machine.
    pub gpus: Option<u64>,
    /// Memory to offer, in bytes. None: that of the machine or container.
    pub memory: Option<u64>,
    /// Named resources to offer, in [`UNIT`]s.
    pub resources: Vec<(String, u64)>,
    /// Labels by which tasks can choose workers.
    pub labels: Vec<(String, String)>,
    /// Where to listen beside the Unix socket: `host:port`, port 0 for any.
    pub listen: Option<String>,
    /// Under which address others reach this process, if it is not the one it listens on.
    pub advertise: Option<String>,
    /// What the processes of the cluster prove to each other to know.
    pub secret: Option<Secret>,
    /// Bytes of arguments of pending calls before calls are `Overloaded`. None: a quarter of memory.
    pub max_pending_bytes: Option<u64>,
    /// Sync tasks that may wait for futures at once.
    pub max_parked: usize,
    /// When a call that no worker can run fails.
    pub unschedulable_after: Duration,
    /// When an idle lease is returned.
    pub idle_lease: Duration,
    /// How long a stopping worker finishes what runs.
    pub grace_period: Duration,
    /// How long a broken connection may be made again before its session ends.
    pub session_resume: Duration,
    /// Up to which size values travel within messages, in bytes.
    pub inline_bytes: u64,
    /// Shared memory for the large values of this process, in bytes. None: 30% of the machine's or container's.
    pub store_bytes: Option<u64>,
    /// How long a large value waits for room there.
    pub store_wait: Duration,
    /// A worker to which more bytes of a call's arguments would have to be moved is left out, as long as another could run
    /// the call to which fewer would.
    pub locality_bytes: u64,
    /// Where large values are written when that memory is full: a directory, which is made if there is none; `off` for
    /// nowhere. None: `$FDBRAY_TMPDIR`, else `/var/tmp` or the directory for temporary files, unless they are in memory.
    pub spill_dir: Option<PathBuf>,
    /// How many bytes this process may have there. None: what is free, but for a reserve.
    pub spill_bytes: Option<u64>,
    /// Whether what remote code prints and logs shows in the driver's terminal.
    pub log_to_driver: bool,
    /// Whether processes of different builds work together, function by function.
    pub allow_mixed_binaries: bool,
    /// Everything in the driver's process, for debugging.
    pub in_process: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster: None,
            workers: 1,
            cpus: None,
            gpus: None,
            memory: None,
            resources: Vec::new(),
            labels: Vec::new(),
            listen: None,
            advertise: None,
            secret: None,
            max_pending_bytes: None,
            max_parked: 256,
            unschedulable_after: Duration::from_secs(30),
            idle_lease: Duration::from_millis(100),
            grace_period: Duration::from_secs(30),
            session_resume: Duration::from_secs(2),
            inline_bytes: 64 << 10,
            store_bytes: None,
            store_wait: Duration::from_secs(10),
            locality_bytes: 200_000_000,
            spill_dir: None,
            spill_bytes: None,
            log_to_driver: true,
            allow_mixed_binaries: false,
            in_process: false,
        }
    }
}

impl Config {
    /// The defaults, without a look at the environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the process offers: what is set, and the rest from the machine.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            cpus: self.cpus.unwrap_or_else(|| machine::cpus() * UNIT),
            gpus: self.gpus.unwrap_or_else(|| machine::gpus() * UNIT),
            memory: self.memory.unwrap_or_else(machine::memory),
            named: self.resources.clone(),
        }
    }

    /// Bytes of arguments of pending calls before calls are `Overloaded`.
    pub fn pending_budget(&self) -> u64 {
        self.max_pending_bytes.unwrap_or_else(|| machine::memory() / 4)
    }
}

/// The cluster's secret. Debugging does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The bytes that processes prove to know.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A setting that cannot be understood.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A variable or argument has a value that it cannot have.
    #[error("{name}={value} is wrong: {why}")]
    Value {
        /// The variable or argument.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong, and how it should look.
        why: String,
    },
    /// The cluster's URL is wrong.
    #[error("{name} is wrong: {source}")]
    Url {
        /// The variable or argument.
        name: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// An argument that does not exist, after `--worker`.
    #[error("there is no argument {argument} for a worker; there are:\n{WORKER_USAGE}")]
    UnknownArgument {
        /// It.
        argument: String,
    },
    /// An argument without its value.
    #[error("the argument {argument} needs a value; the arguments are:\n{WORKER_USAGE}")]
    MissingValue {
        /// It.
        argument: String,
    },
    /// A worker that does not know which cluster to join.
    #[error(
        "a worker joins a cluster: say which with --cluster URL or in FDBRAY_CLUSTER, for example \
             --cluster 'lmdb:///tmp/demo?cluster=demo'"
    )]
    NoCluster,
    /// A variable that is not text.
    #[error("the variable {name} is not UTF-8 text")]
    NotText {
        /// Its name.
        name: String,
    },
}
