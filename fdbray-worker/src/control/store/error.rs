//! What can go wrong with a store: at opening ([`OpenError`]) and in a transaction ([`StoreError`]).

use std::{path::PathBuf, sync::Arc, time::Duration};

/// Why a transaction did not commit.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another transaction changed what this one read. `transact` runs the transaction again by itself.
    #[error("another transaction changed what this one read; run it again")]
    Conflict,
    /// The transaction was open for longer than a store allows. `transact` tries again a few times.
    #[error("the transaction took longer than {} ms; do less in one transaction", .0.as_millis())]
    TimeLimit(Duration),
    /// The connection broke during the commit: the transaction took effect or will not. Read what it should have
    /// written and decide; `transact_idempotent` is for transactions that may take effect twice.
    #[error(
        "it is unknown whether the transaction took effect; read what it should have written, then decide"
    )]
    CommitUnknown,
    /// A key is longer than every engine allows.
    #[error("a key of {len} bytes is longer than the {limit} that a store takes; shorten its parts")]
    KeyTooLong {
        /// Its length.
        len: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A key is empty, or begins with the byte ff that is reserved for the engine.
    #[error("a key may not be empty and may not begin with the byte ff")]
    KeyReserved,
    /// A value is longer than every engine allows.
    #[error("a value of {len} bytes is longer than the {limit} that a store takes; store it in chunks")]
    ValueTooLong {
        /// Its length.
        len: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// What a transaction writes and the ranges it reads are more than every engine allows.
    #[error("the transaction is larger than {limit} bytes; split it")]
    TransactionTooLarge {
        /// The most that is allowed.
        limit: usize,
    },
    /// A write within `read`. A mistake in the calling code.
    #[error("this transaction only reads; use `transact` to write")]
    ReadOnly,
    /// The transaction was used after its body returned. A mistake in the calling code.
    #[error("the transaction has ended; use it only within the body that was given it")]
    Ended,
    /// The body awaited something that is not the store. A mistake in the calling code.
    #[error("the transaction's body awaited something other than the store; get it before the transaction")]
    ForeignAwait,
    /// Another process held the write lock for too long: it is stopped, or its disk is very slow.
    #[error("the store's write lock was not free for {} ms; {}", waited.as_millis(), holder(*pid))]
    Busy {
        /// The process that holds it, if it said so.
        pid: Option<u32>,
        /// How long this process waited.
        waited: Duration,
    },
    /// The disk, or a quota on it, is full. Nothing was changed; works again once there is room.
    #[error("the disk that holds {} is full; free some space", path.display())]
    DiskFull {
        /// The store's directory.
        path: PathBuf,
    },
    /// The store cannot map a larger file.
    #[error("the store in {} is full at {bytes} bytes and cannot map more; raise the limit on address space", path.display())]
    MapFull {
        /// The store's directory.
        path: PathBuf,
        /// The size that could not be mapped.
        bytes: u64,
    },
    /// The store does not answer. It may again later.
    #[error("the store does not answer: {0}")]
    Unreachable(String),
    /// The store answers, and does not let this program do that: it is locked, or asks for other rights.
    #[error(
        "the store refused the transaction: {store}: {why}; see the state and the access rights of the store"
    )]
    Refused {
        /// Which store.
        store: String,
        /// What it said.
        why: String,
    },
    /// This process closed the store.
    #[error("the store was closed by this process")]
    Closed,
    /// A record in the store is not what this program writes.
    #[error("the record {key} in the store cannot be read: {why}; a newer program may have written it")]
    Record {
        /// Its key, readable.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system refused something.
    #[error("the store in {} failed: {source}", path.display())]
    Io {
        /// The store's directory.
        path: PathBuf,
        /// What it said.
        source: Arc<std::io::Error>,
    },
    /// The file is damaged.
    #[error("the store in {} is damaged ({what}); restore a copy or remove it", path.display())]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What the engine found.
        what: String,
    },
}

impl StoreError {
    /// Whether the same transaction may succeed when it is run again, now or later. False for mistakes in the code,
    /// for [`StoreError::CommitUnknown`], where running it again may be wrong, and for damage.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            StoreError::Conflict
                | StoreError::TimeLimit(_)
                | StoreError::Busy { .. }
                | StoreError::DiskFull { .. }
                | StoreError::Unreachable(_)
        )
    }

    /// Whether `transact` runs the transaction again at once, by itself.
    pub(crate) fn at_once(&self) -> bool {
        matches!(self, StoreError::Conflict | StoreError::TimeLimit(_))
    }
}

/// Why a store could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made, read or written.
    #[error("the store's directory {} cannot be used: {source}; check the path and its permissions", path.display())]
    Path {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// The directory is on a network filesystem, where memory maps are not shared.
    #[error(
        "{} is on a network filesystem ({kind}), where processes do not share memory maps; use a local directory \
         or a FoundationDB cluster",
        path.display()
    )]
    NetworkFilesystem {
        /// The directory.
        path: PathBuf,
        /// The filesystem's name.
        kind: &'static str,
    },
    /// Processes of another pid namespace (another container) use the store.
    #[error(
        "{} is in use by processes of another pid namespace (another container), whose deaths cannot be seen from \
         here; share the pid namespace or use a FoundationDB cluster",
        path.display()
    )]
    ForeignPidNamespace {
        /// The directory.
        path: PathBuf,
    },
    /// A newer fdbray wrote the store.
    #[error(
        "the store in {} has format {format}, written by fdbray {written_by}; this is fdbray {}, which reads up to \
         format {reads}; upgrade this program",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The version of fdbray that wrote it.
        written_by: String,
        /// The newest format this program reads.
        reads: u64,
    },
    /// The processes that use the store now run another version of fdbray.
    #[error(
        "{} is in use by processes of another version of fdbray (watch file {theirs}, this program's {ours}); stop \
         them or use the same version",
        path.display()
    )]
    OtherVersionInUse {
        /// The directory.
        path: PathBuf,
        /// The layout that they use.
        theirs: u32,
        /// The layout that this program uses.
        ours: u32,
    },
    /// The directory holds something else.
    #[error("{} holds no store of fdbray ({what}); choose another directory", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// This process has the store open with other options.
    #[error("this process has the store in {} open with sync={sync}; use the same everywhere", path.display())]
    OtherOptions {
        /// The directory.
        path: PathBuf,
        /// The `sync` it is open with.
        sync: &'static str,
    },
    /// Another process was opening the store for too long.
    #[error("{} could not be opened for {} s because another process is opening it; see if it is stopped", path.display(), waited.as_secs())]
    Stuck {
        /// The directory.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// The engine that the cluster URL names is not in this program.
    #[error(
        "this program has no FoundationDB: build it with fdbray's feature `foundationdb` (`cargo add fdbray --features \
         foundationdb`, for which FoundationDB's client library must be installed), or use an lmdb: URL"
    )]
    NoFoundationDb,
    /// FoundationDB's cluster file cannot be read.
    #[error(
        "FoundationDB's cluster file {} cannot be read: {source}; check the path in the cluster's URL and its \
         permissions, or copy the file from a machine of the database",
        path.display()
    )]
    ClusterFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// The file that should be FoundationDB's cluster file is something else.
    #[error(
        "{} is not a cluster file of FoundationDB, which has one line `name:id@host:port,..`; copy the file from a machine \
         of the database",
        path.display()
    )]
    NotAClusterFile {
        /// The file.
        path: PathBuf,
    },
    /// FoundationDB's client library does not work.
    #[error("FoundationDB's client library cannot be used: {what}")]
    FoundationDbClient {
        /// What it said.
        what: String,
    },
    /// No FoundationDB answered.
    #[error(
        "FoundationDB did not answer within {} s at {coordinators}, which {} names; see that it runs, that these \
         addresses are reached from here, and that `fdbcli -C {} --exec status` finds it available",
        waited.as_secs(),
        path.display(),
        path.display()
    )]
    NoAnswer {
        /// The cluster file.
        path: PathBuf,
        /// The addresses in it.
        coordinators: String,
        /// How long this process waited.
        waited: Duration,
    },
    /// The first transaction failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid} holds it, see if that is stopped"),
        None => "its holder is unknown, see which process of the cluster is stopped".into(),
    }
}
