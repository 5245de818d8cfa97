//! How a process wants its network: who it is, where it listens, what it demands of peers.

use crate::id::ProcessId;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How the network of a process is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the cluster; peers of another one are refused.
    pub cluster: String,
    /// This process.
    pub process: ProcessId,
    /// What it does; told to peers.
    pub role: Role,
    /// Its executable, see [`build_id`](super::build_id).
    pub build: u64,
    /// [`Registry::fingerprint`](crate::registry::Registry::fingerprint).
    pub fingerprint: u64,
    /// [`Registry::listing`](crate::registry::Registry::listing), sent to a peer whose binary differs.
    pub listing: Vec<(String, u64)>,
    /// Whether peers with another executable are taken when their functions are the same. Default false.
    pub allow_mixed_binaries: bool,
    /// The cluster's secret. Without one only loopback addresses may be listened on. Default none.
    pub secret: Option<Secret>,
    /// The TCP address to listen on, `HOST:PORT`; port 0 takes a free one. Default none.
    pub listen: Option<String>,
    /// What peers dial instead of the address listened on, `HOST` or `HOST:PORT`. Default none.
    pub advertise: Option<String>,
    /// Neither listen on a Unix socket nor dial one. Default false.
    pub tcp_only: bool,
    /// How long a broken TCP connection may be resumed. Default 2 s.
    pub resume: Duration,
    /// How long a handshake may take. Default 5 s.
    pub silence: Duration,
    /// How long a peer that cannot be dialled may take to dial this process. Default 5 s.
    pub patience: Duration,
    /// Bytes that may be on their way here on the bulk lane at once; a larger value travels alone. Default 256 MiB.
    pub fetch_budget: u64,
    /// The most bytes that one value may have. Default 1 GiB and 64 KiB.
    pub max_value: u64,
}

impl Options {
    /// Everything at its default.
    pub fn new(cluster: impl Into<String>, process: ProcessId) -> Self {
        Options {
            cluster: cluster.into(),
            process,
            role: Role::Driver,
            build: 0,
            fingerprint: 0,
            listing: Vec::new(),
            allow_mixed_binaries: false,
            secret: None,
            listen: None,
            advertise: None,
            tcp_only: false,
            resume: Duration::from_secs(2),
            silence: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            fetch_budget: 256 << 20,
            max_value: (1 << 30) + (64 << 10),
        }
    }
}

/// What a process does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It only submits.
    Driver,
    /// It also executes.
    Worker,
}

/// The secret that the processes of a cluster share. Never printed, never sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Of any bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret(bytes.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
