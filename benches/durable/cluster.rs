//! A cluster for one figure: a store of its own, and workers, which are copies of this program.

use fdbray_worker::{
    config::ClusterUrl,
    control::store::{Key, Store, StoreError, lmdb::Sync},
};
use std::{
    env,
    ffi::OsString,
    io, process,
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// Where the store is.
#[derive(Clone, Copy, PartialEq)]
pub enum Engine {
    /// In a directory of its own.
    Lmdb(Sync),
    /// In the database that `FDBRAY_TEST_FDB` names, under a name of its own.
    Fdb,
}

/// Ends its workers, and leaves nothing behind.
pub struct Cluster {
    url: String,
    workers: Vec<Child>,
    wipe: bool,
    _directory: Option<TempDir>,
}

/// The cluster file of the FoundationDB to use, if this program can.
pub fn cluster_file() -> Option<OsString> {
    env::var_os("FDBRAY_TEST_FDB").filter(|_| cfg!(feature = "foundationdb"))
}

impl Cluster {
    /// With so many workers; number `n` has one of a resource `w<n>`.
    pub fn start(engine: Engine, workers: usize) -> io::Result<Self> {
        let mut cluster = match engine {
            Engine::Lmdb(sync) => {
                let directory = tempfile::tempdir()?;
                let (path, sync) = (directory.path().display(), sync.as_str());
                let url = format!("lmdb://{path}?cluster=bench&sync={sync}");
                Cluster { url, workers: Vec::new(), wipe: false, _directory: Some(directory) }
            }
            Engine::Fdb => {
                let file = cluster_file().ok_or_else(|| io::Error::other("there is no FoundationDB"))?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_nanos();
                let url = format!("fdb://{}?cluster=bench-{}-{now}", file.display(), process::id());
                Cluster { url, workers: Vec::new(), wipe: true, _directory: None }
            }
        };
        for n in 0..workers {
            cluster.workers.push(worker(&cluster.url, n)?);
        }
        Ok(cluster)
    }

    /// A copy of this program that joins the cluster.
    pub fn copy_of_this(&self) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.env("FDBRAY_CLUSTER", &self.url);
        Ok(command)
    }

    fn remove(&self) -> Result<(), Box<dyn std::error::Error>> {
        let url: ClusterUrl = self.url.parse()?;
        let cluster = Key::new().str("fdbray").str(&url.cluster);
        let store = Store::open(&url)?;
        let removed = store.transact_idempotent(move |tx| {
            let (begin, end) = cluster.children();
            let cleared = tx.clear(&cluster).and_then(|()| tx.clear_range(begin, end));
            async move { cleared }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(runtime.block_on(removed).map_err(|error: StoreError| error)?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // It may be gone already, which is as well.
            let _ = worker.kill();
            let _ = worker.wait();
        }
        if self.wipe
            && let Err(error) = self.remove()
        {
            eprintln!("{} was not wiped: {error}", self.url);
        }
    }
}

/// Starts a worker of the cluster with that URL.
pub fn worker(url: &str, n: usize) -> io::Result<Child> {
    let mut worker = Command::new(env::current_exe()?);
    worker.args(["--worker", "--cluster", url, "--resource", &format!("w{n}=1")]);
    worker.env_remove(super::report::FIGURE).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
}
