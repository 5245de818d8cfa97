//! A private cluster: its directory, its workers as children of this process, and their end.

use super::{
    Process,
    children::{ChildEvent, ChildSpec, Children, Output},
    scratch::Scratch,
};
use crate::{
    config::{ClusterUrl, Config},
    control::store::lmdb::Sync,
    error::{Error, Result},
};
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// How long workers may take to leave when their driver is done with them.
const LEAVE: Duration = Duration::from_secs(1);

/// A private cluster. Its parts end in this order: the children, then the directory that they share.
pub(crate) struct Local {
    children: Children,
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
        let children =
            Children::start(spec, move |event| on_event(event, &last_words, &process)).map_err(|e| {
                Error::control(format!("the workers of a private cluster cannot be started: {e}"))
            })?;
        Ok(Local { children, _scratch: scratch, url })
    }

    /// Kills the child of this process id, which the cluster has declared dead; another one takes its place.
    pub fn kill(&self, pid: u32) {
        if self.children.pids().contains(&Some(pid))
            && let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
        {
            // It may have exited meanwhile; it is not reaped before the supervisor says so.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Ends the workers.
    pub fn stop(self) {
        self.children.stop(LEAVE);
    }
}

fn on_event(event: ChildEvent, last_words: &Mutex<String>, process: &OnceLock<Arc<Process>>) {
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
            if let Some(process) = process.get() {
                process.with_core(true, |core, fx| core.hopeless(&why, fx));
            }
        }
        _ => {}
    }
}
