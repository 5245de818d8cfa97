//! A FoundationDB server of a test's own, to be killed and stopped: `FDBRAY_TEST_FDBSERVER` is the program, beside which is
//! `fdbcli`.

use super::{eventually, send};
use rustix::process::Signal;
use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A database with one server, on this machine alone. Dropping it kills it.
pub struct FoundationDb {
    program: PathBuf,
    address: String,
    server: Option<Child>,
    dir: TempDir,
}

impl FoundationDb {
    /// A new and empty one. None, and a line that says so, where no server is named.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(test: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("FDBRAY_TEST_FDBSERVER").map(PathBuf::from) else {
            super::skipped(test, "FDBRAY_TEST_FDBSERVER names no fdbserver");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("fdb-").tempdir().expect("a directory for the database");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let address = free.expect("a free port").to_string();
        fs::write(dir.path().join("fdb.cluster"), format!("test:test@{address}\n")).expect("a cluster file");
        let mut database = FoundationDb { program, address, server: None, dir };
        database.run();
        eventually(60, "the new database is there", || {
            let cli = database.program.with_file_name("fdbcli");
            let mut configure = Command::new(cli);
            configure.arg("-C").arg(database.dir.path().join("fdb.cluster"));
            configure.args(["--timeout", "5", "--exec", "configure new single ssd"]);
            let said = configure.output().unwrap_or_else(|e| panic!("{configure:?}: {e}")).stdout;
            String::from_utf8_lossy(&said).contains("created").then_some(())
        });
        Some(database)
    }

    /// The URL of a cluster in it.
    pub fn url(&self) -> String {
        format!("fdb://{}?cluster=crash", self.dir.path().join("fdb.cluster").display())
    }

    /// Starts the server, which was killed.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn run(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(self.dir.path().join("fdb.cluster"));
        command.args(["-p", &self.address]);
        command.arg("-d").arg(self.dir.path().join("data"));
        command.arg("-L").arg(self.dir.path().join("logs"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")));
    }

    /// Kills the server.
    ///
    /// # Panics
    /// If it has ended already.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("a running server");
        server.kill().and_then(|()| server.wait()).expect("the server can be killed");
    }

    /// Sends the server a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        send(self.server.as_ref().expect("a running server").id(), signal);
    }
}

impl Drop for FoundationDb {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
    }
}
