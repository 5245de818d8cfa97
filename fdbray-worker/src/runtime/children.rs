//! The workers of a private cluster: child processes of the same binary, started again when they die.
//!
//! One thread, the supervisor, starts and reaps them all, and lives as long as they do, because the kernel ties what a
//! child learns of its parent's death to the thread that started it. A child ends with its parent (see [`super::leash`]).

mod born;
mod exit;
mod supervisor;

pub use born::{Born, born, is_child};
pub use exit::Exit;

use super::leash::Leash;
use rustix::event::{EventfdFlags, eventfd};
use std::{
    env,
    ffi::OsString,
    fmt, io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use supervisor::Supervisor;

/// The cluster's URL; that it is set, and [`born`] gives something, makes a process a child of a private cluster.
pub const ENV: &str = "FDBRAY_CHILD";

/// A year, so that no sum of times overflows.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What to start.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// The program. By default the very file that this process runs, also when another one has taken its name since.
    pub program: PathBuf,
    /// What the program sees as its own name.
    pub name: Option<OsString>,
    /// Its arguments; by default this process's own.
    pub args: Vec<OsString>,
    /// Variables to set beside those that this process has.
    pub env: Vec<(OsString, OsString)>,
    /// How many processes.
    pub count: usize,
    /// The cluster's URL, which they find in `FDBRAY_CHILD`.
    pub cluster: String,
    /// The private cluster's directory, in which they share (see [`Scratch::join`](super::scratch::Scratch::join)).
    pub scratch: Option<PathBuf>,
    /// Where what they print goes.
    pub output: Output,
    /// When one that died is started again.
    pub restart: Restart,
}

impl ChildSpec {
    /// `count` workers of this program's own binary for `cluster`.
    pub fn workers(cluster: impl Into<String>, count: usize) -> Self {
        let mut args = env::args_os();
        ChildSpec {
            // Resolved by the kernel to the file itself, not by its name, in the process that is being started, which
            // still runs what we run.
            program: "/proc/self/exe".into(),
            name: args.next(),
            args: args.collect(),
            env: Vec::new(),
            count,
            cluster: cluster.into(),
            scratch: None,
            output: Output::Inherited,
            restart: Restart::default(),
        }
    }
}

/// Where what a child prints goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Where this process's own goes.
    #[default]
    Inherited,
    /// Nowhere.
    Nowhere,
    /// Into pipes that the child itself reads with [`Capture`](super::logs::Capture), which it must. What it printed
    /// last before it died, and did not get to read, comes with [`ChildEvent::Died`].
    Captured,
}

/// When a child that died is started again.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// The pause after a first death; each quick death in a row doubles it.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// A child that lived so long did not die quickly.
    pub healthy: Duration,
    /// So many quick deaths in a row are the last ones.
    pub deaths: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Restart {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            healthy: Duration::from_secs(10),
            deaths: 10,
        }
    }
}

impl Restart {
    /// The pause after so many quick deaths in a row; `None` when that was enough.
    fn pause(&self, deaths: u32) -> Option<Duration> {
        let factor = 1_u32.checked_shl(deaths.saturating_sub(1)).unwrap_or(u32::MAX);
        (deaths < self.deaths).then(|| self.first.saturating_mul(factor).min(self.longest))
    }
}

/// What happened to a child that was not told to end. `index` is below [`ChildSpec::count`] and stays through restarts.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChildEvent {
    /// It runs.
    #[non_exhaustive]
    Started {
        /// Which.
        index: usize,
        /// Its process id.
        pid: u32,
    },
    /// It died, or could not be started at all.
    #[non_exhaustive]
    Died {
        /// Which.
        index: usize,
        /// Its process id; `None` if it could not be started.
        pid: Option<u32>,
        /// How.
        exit: Exit,
        /// What it printed last, if its output is captured.
        last_words: String,
        /// When it is started again; `None`: never, and [`ChildEvent::GaveUp`] follows.
        restart_in: Option<Duration>,
    },
    /// It died so often in a row that it is not started again: what waits for it waits in vain.
    #[non_exhaustive]
    GaveUp {
        /// Which.
        index: usize,
        /// How it died the last time.
        exit: Exit,
        /// How often in a row it died quickly.
        deaths: u32,
        /// How many of the children are left that run or will run again.
        left: usize,
    },
}

/// The running children. Dropping it kills them at once.
pub struct Children {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Children {
    /// Starts them, without waiting for it. `on_event` is called on the supervisor's thread and must not block for
    /// long; a program that cannot be started is an event, too. `excused` is asked there of the process id of one that
    /// died quickly, whether that death shall count as a first one.
    ///
    /// # Errors
    /// When the operating system gives no descriptors or no thread to supervise them.
    pub fn start(
        spec: ChildSpec,
        excused: impl Fn(u32) -> bool + Send + 'static,
        on_event: impl FnMut(ChildEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            orders: Mutex::new(Orders { pids: vec![None; spec.count], stop: None }),
        });
        let supervisor =
            Supervisor::new(spec, Leash::new()?, shared.clone(), Box::new(excused), Box::new(on_event));
        let thread = thread::Builder::new().name("fdbray-children".into()).spawn(move || supervisor.run())?;
        Ok(Children { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The process ids by index; `None` for one that does not run now.
    pub fn pids(&self) -> Vec<Option<u32>> {
        self.shared.orders().pids.clone()
    }

    /// Ends them: asks them with SIGTERM, kills those that are left after `grace`, and returns when all are reaped.
    /// Called on the supervisor's thread (from `on_event`), returns at once.
    pub fn stop(&self, grace: Duration) {
        let grace = grace.min(LONGEST_GRACE);
        {
            let mut orders = self.shared.orders();
            // A second, more urgent stop counts.
            orders.stop = Some(orders.stop.map_or(grace, |g| g.min(grace)));
        }
        self.shared.wake();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|t| t.thread().id() == thread::current().id()) {
            return;
        }
        if let Some(thread) = thread.take() {
            // It unwinds only on a bug of ours, and then the leash ended the children.
            let _ = thread.join();
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children").field("pids", &self.pids()).finish_non_exhaustive()
    }
}

/// Between the handle and the supervisor.
struct Shared {
    wake: OwnedFd,
    orders: Mutex<Orders>,
}

struct Orders {
    pids: Vec<Option<u32>>,
    /// Set once they shall end, with how long they may take.
    stop: Option<Duration>,
}

impl Shared {
    /// Never held while anything else happens, so a panic leaves it whole.
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the supervisor is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
pub(super) mod roles;
#[cfg(test)]
mod tests;
