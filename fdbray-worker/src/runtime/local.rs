//! A private cluster: its directory, its workers as children of this process, and their end.

use super::{
    Process,
    children::{ChildEvent, ChildSpec, Children, Output},
    marks::MarksView,
    scratch::Scratch,
};
use crate::{
    config::{ClusterUrl, Config},
    control::store::lmdb::Sync,
    error::{Error, Result},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// The private cluster of this process, while it has one.
pub(super) static LOCAL: Mutex<Option<Local>> = Mutex::new(None);

/// How long workers may take to leave when their driver is done with them.
const LEAVE: Duration = Duration::from_secs(1);

/// A private cluster. Its parts end in this order: the children, then the directory that they share.
pub(crate) struct Local {
    children: Children,
    marks: Arc<ChildMarks>,
    /// Why no worker will ever come any more.
    hopeless: Arc<OnceLock<String>>,
    _scratch: Scratch,
    pub url: ClusterUrl,
}

impl Local {
    /// Makes the directory and starts the workers, without waiting for either to be of use.
    ///
    /// # Errors
    /// The directory cannot be made, or the operating system gives no descriptors.
    pub fn start(config: &Config, process: Arc<OnceLock<Arc<Process>>>) -> Result<Self> {
        let scratch = Scratch::create().map_err(|e| {
            Error::control(format!(
                "no directory for a private cluster could be made ({e}): set FDBRAY_TMPDIR to one that can be written"
            ))
        })?;
        let url = ClusterUrl::lmdb(scratch.path().join("store"), "private", Sync::None);
        let mut spec = ChildSpec::workers(url.to_string(), config.workers);
        spec.scratch = Some(scratch.path().to_owned());
        spec.output = if config.log_to_driver { Output::Captured } else { Output::Nowhere };
        let last_words = Mutex::new(String::new());
        let marks = Arc::new(ChildMarks::default());
        let known = marks.clone();
        let excused = move |pid| known.take(pid).is_some_and(|marks| marks.any());
        let hopeless = Arc::new(OnceLock::new());
        let why = hopeless.clone();
        let on_event = move |event| on_event(event, &last_words, &why, &process);
        let children = Children::start(spec, excused, on_event).map_err(|e| {
            Error::control(format!("the workers of a private cluster cannot be started: {e}"))
        })?;
        Ok(Local { children, marks, hopeless, _scratch: scratch, url })
    }

    /// Keeps the start marks of the process `pid`, if it is a child of a private cluster, until it dies.
    pub fn note_marks(pid: u32, marks: Arc<MarksView>) {
        if let Some(local) = &*LOCAL.lock().unwrap_or_else(PoisonError::into_inner)
            && local.has(pid)
        {
            local.marks.lock().insert(pid, marks);
        }
    }

    /// Kills the child of this process id, which the cluster has declared dead; another one takes its place. Says
    /// whether it is a child that runs.
    pub fn kill(&self, pid: u32) -> bool {
        let ours = self.has(pid);
        if ours && let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have exited meanwhile; it is not reaped before the supervisor says so.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        ours
    }

    /// Whether a child of this process id has not been reaped.
    pub fn has(&self, pid: u32) -> bool {
        self.children.pids().contains(&Some(pid))
    }

    /// Why no worker will ever come any more, if that is so.
    pub fn hopeless(&self) -> Option<String> {
        self.hopeless.get().cloned()
    }

    /// Ends the workers.
    pub fn stop(self) {
        self.children.stop(LEAVE);
    }
}

/// The start marks of children by process id. One that has started something was of use: its death is put down to its
/// tasks, whose retries are bounded, and does not count towards giving up.
#[derive(Default)]
struct ChildMarks(Mutex<BTreeMap<u32, Arc<MarksView>>>);

impl ChildMarks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<MarksView>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, pid: u32) -> Option<Arc<MarksView>> {
        self.lock().remove(&pid)
    }
}

fn on_event(
    event: ChildEvent,
    last_words: &Mutex<String>,
    hopeless: &OnceLock<String>,
    process: &OnceLock<Arc<Process>>,
) {
    match event {
        ChildEvent::Started { pid, .. } => tracing::debug!("worker process {pid} runs"),
        ChildEvent::Died { pid, exit, last_words: said, .. } => {
            tracing::warn!("a worker process{} {exit}", pid.map_or_else(String::new, |p| format!(" ({p})")));
            if !said.is_empty() {
                eprintln!("(last words of a worker) {}", said.trim_end());
                *last_words.lock().unwrap_or_else(PoisonError::into_inner) = said;
            }
        }
        ChildEvent::GaveUp { exit, deaths, left: 0, .. } => {
            let why = format!(
                "the last worker process {exit}; {deaths} died in a row, and it is not started again"
            );
            tracing::error!("{why}");
            // Before the process is looked for, which looks here when it has started.
            let _ = hopeless.set(why.clone());
            if let Some(process) = process.get() {
                process.with_core(true, |core, fx| core.hopeless(&why, fx));
            }
        }
        _ => {}
    }
}
