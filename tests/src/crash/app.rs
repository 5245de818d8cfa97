//! The program `crash_app` as drivers and workers of a cluster of its own, each in a process that ends with its test.

use super::{eventually, is_alive, send, store::Shared};
use fdbray_worker::{
    config::ClusterUrl,
    control::store::{Key, Store},
};
use rustix::process::Signal;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A directory for the traces of one test, and a cluster whose store is in it or, where `FDBRAY_TEST_FDB` names a cluster
/// file, in FoundationDB.
pub struct Cluster {
    program: PathBuf,
    dir: TempDir,
    store: Shared,
    env: Vec<(String, String)>,
    /// Put before the program's name: `ip netns exec NAME`.
    prefix: Vec<String>,
}

impl Cluster {
    /// A cluster that nobody has joined, of processes that run `program`.
    ///
    /// # Panics
    /// If there can be no directory for it.
    pub fn new(program: &str) -> Self {
        let mut cluster = Cluster::embedded(program);
        cluster.store = Shared::new(&cluster.file("store"));
        cluster
    }

    /// A cluster whose store is elsewhere, at `url`.
    ///
    /// # Panics
    /// If there can be no directory for it.
    pub fn at(program: &str, url: String) -> Self {
        let mut cluster = Cluster::embedded(program);
        cluster.store = Shared::at(url);
        cluster
    }

    /// A cluster whose store is in the directory in any case, for what concerns only that.
    ///
    /// # Panics
    /// If there can be no directory for it.
    pub fn embedded(program: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("crash-").tempdir().expect("a directory for the test");
        let store = Shared::embedded(&dir.path().join("store"));
        Cluster { program: program.into(), dir, store, env: Vec::new(), prefix: Vec::new() }
    }

    /// Sets a variable in the processes that are started from here on.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.store.url()
    }

    /// Starts a worker and waits until it says that it serves.
    pub fn worker(&self, args: &[&str]) -> App {
        let url = self.url();
        let all = [&["--worker", "--cluster", &url], args].concat();
        self.start("worker", &all, &[])
    }

    /// Starts another program as a worker, and does not wait for it.
    pub fn worker_of(&self, program: &str, args: &[&str]) -> App {
        let url = self.url();
        self.start_program(program, "worker", &[&["--worker", "--cluster", &url], args].concat(), &[])
    }

    /// Starts another program as a driver that joins the cluster.
    pub fn driver_of(&self, program: &str, args: &[&str]) -> App {
        self.start_program(program, "driver", args, &[("FDBRAY_CLUSTER", &self.url())])
    }

    /// Starts a driver that joins the cluster.
    pub fn driver(&self, args: &[&str]) -> App {
        self.start("driver", args, &[("FDBRAY_CLUSTER", &self.url())])
    }

    /// Starts a driver with a private cluster, whose directory is in this one's.
    pub fn private(&self, args: &[&str]) -> App {
        let scratch = self.file("scratch");
        // It is there if another driver was started before.
        let _ = fs::create_dir(&scratch);
        self.start("private", args, &[("FDBRAY_TMPDIR", &scratch.display().to_string())])
    }

    /// Starts the program as something that is neither worker nor driver.
    pub fn other(&self, args: &[&str]) -> App {
        self.start("other", args, &[])
    }

    /// Stops a process, but not while it holds the store's lock: as long as it does, nobody can beat, and nobody is declared
    /// dead.
    ///
    /// # Panics
    /// If the store cannot be opened.
    pub fn stop(&self, app: &App) {
        let url: ClusterUrl = self.url().parse().expect("it is a URL");
        let store = Store::open(&url).expect("the store of the cluster");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let is_free = async || {
            let key = Key::new().str("fdbray").str(&url.cluster).str("a test was here");
            let write = store.transact(move |tx| {
                let set = tx.set(&key, b"");
                async move { set }
            });
            matches!(tokio::time::timeout(Duration::from_secs(1), write).await, Ok(Ok(())))
        };
        app.signal(Signal::STOP);
        while !runtime.block_on(is_free()) {
            app.signal(Signal::CONT);
            thread::sleep(Duration::from_millis(100));
            app.signal(Signal::STOP);
        }
    }

    /// Processes started from here on run behind `prefix`, such as `ip netns exec NAME`.
    pub fn behind(&mut self, prefix: &[&str]) {
        self.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
    }

    fn start(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> App {
        self.start_program(&self.program.display().to_string(), name, args, env)
    }

    fn start_program(&self, program: &str, name: &str, args: &[&str], env: &[(&str, &str)]) -> App {
        let words: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        let words = [&words[..], &[program], args].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        for (variable, _) in std::env::vars().filter(|(v, _)| v.starts_with("FDBRAY_")) {
            command.env_remove(variable);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v))).envs(env.iter().copied());
        App::start(command, self.path(), name)
    }
}

/// A running process. Dropping it kills it.
pub struct App {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    errors: PathBuf,
    name: String,
}

impl App {
    fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let errors = (0..).map(|n| dir.join(format!("{name}.{n}.stderr"))).find(|path| !path.exists());
        let errors = errors.expect("a free name");
        let stderr = File::create(&errors).expect("a file for what the process says on stderr");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (send, lines) = mpsc::channel();
        let stdout = child.stdout.take().expect("its output was piped");
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).all(|line| send.send(line).is_ok())
        });
        App { child, lines, said: Vec::new(), errors, name: name.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits until it prints a line that begins with `start`, and gives the rest of it.
    ///
    /// # Panics
    /// If it does not within `seconds`.
    pub fn says(&mut self, seconds: u64, start: &str) -> String {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line);
                    if let Some(rest) = self.said.last().and_then(|line| line.strip_prefix(start)) {
                        return rest.trim().to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line \"{start}..\" within {seconds} s{}", self.log())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without a line \"{start}..\"{}", self.log())
                }
            }
        }
    }

    /// The number in the last line so far that begins with `start`; 0 before there is one.
    pub fn said_so_far(&mut self, start: &str) -> u64 {
        self.said.extend(self.lines.try_iter());
        let last = self.said.iter().rev().find_map(|line| line.strip_prefix(start));
        last.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// If it does not within `seconds`.
    pub fn ends(&mut self, seconds: u64) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                Ok(None) => panic!("it did not end within {seconds} s{}", self.log()),
                Err(e) => panic!("it cannot be waited for: {e}"),
            }
        }
    }

    /// Waits until it ends well.
    ///
    /// # Panics
    /// If it does not within `seconds`, or fails.
    pub fn succeeds(&mut self, seconds: u64) {
        let status = self.ends(seconds);
        assert!(status.success(), "{status}{}", self.log());
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Everything that it said on stderr so far.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// What it said, for a failing test.
    pub fn log(&self) -> String {
        let mut said = self.said.clone();
        said.extend(self.lines.try_iter());
        format!("\n{} {}:\n{}\n{}", self.name, self.pid(), said.join("\n"), self.errors())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        let children = super::children(self.pid());
        self.kill();
        if !thread::panicking() {
            return;
        }
        // A failing test cleans up what its driver should have.
        let left = || children.iter().copied().filter(|pid| is_alive(*pid)).collect::<Vec<_>>();
        let until = Instant::now() + Duration::from_secs(2);
        while !left().is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        left().into_iter().for_each(|pid| send(pid, Signal::KILL));
    }
}

/// Waits until none of these processes is left.
///
/// # Panics
/// If one is after `seconds`.
pub fn all_gone(seconds: u64, pids: &[u32]) {
    eventually(seconds, "processes are gone", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
}
