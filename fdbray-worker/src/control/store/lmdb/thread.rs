//! The store thread: the only one with transactions of its environment. Reads, writes in batches, watches.

use super::drive::{self, Stop, View};
use super::environment::{Environment, is_full, prepare_lock_file};
use super::shared::{BUCKETS, LAYOUT, Refused, SharedPage};
use super::watches::{Interest, Watches, sleep_for_all};
use super::{Identity, Options, Place, batch, place, registry};
use crate::control::store::engine::{Attempt, Body, Mode};
use crate::control::store::{OpenError, StoreError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The most transactions that share a commit. The rest waits for the next one.
const BATCH: usize = 1024;
/// How often the thread looks after what others left behind.
const TICK: Duration = Duration::from_secs(1);
/// How long opening may take when another process is in the middle of it.
const OPEN_WAIT: Duration = Duration::from_secs(10);

/// What the store thread is asked to do.
pub(super) enum Request {
    Run(Job),
    /// Somebody wrote keys in these buckets.
    Changed(u64),
    Close,
}

/// One attempt of a transaction.
pub(super) struct Job {
    pub(super) mode: Mode,
    pub(super) body: Body,
    pub(super) reply: oneshot::Sender<Attempt>,
}

/// Opens the environment on its own thread, which then serves the queue.
pub(super) fn start(
    path: PathBuf,
    identity: Identity,
    options: Options,
) -> Result<(Sender<Request>, Vec<JoinHandle<()>>), OpenError> {
    let place: Place = Arc::new(path);
    let fail = |source| OpenError::Path { path: place.as_ref().clone(), source: Arc::new(source) };
    let (queue, requests) = channel();
    let (opened, answer) = channel();
    let store = {
        let (place, queue) = (place.clone(), queue.clone());
        Builder::new().name("fdbray-store".into()).spawn(move || {
            match StoreThread::open(place, options, queue) {
                Ok(mut thread) => {
                    let watcher = thread.watcher.take();
                    match opened.send(Ok(watcher)) {
                        Ok(()) => {
                            thread.serve(&requests);
                            // Closed: the directory may be opened again.
                            registry().remove(&identity);
                        }
                        // Whoever opens has given up.
                        Err(_) => thread.watches.stop(),
                    }
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        })
    };
    let store = store.map_err(fail)?;
    // LMDB itself waits without a limit for a process that is stopped while it opens.
    let answer = answer.recv_timeout(OPEN_WAIT + options.lock_wait);
    let stuck = |_| OpenError::Stuck { path: place.as_ref().clone(), waited: OPEN_WAIT + options.lock_wait };
    let watcher = answer.map_err(stuck)??;
    Ok((queue, [Some(store), watcher].into_iter().flatten().collect()))
}

struct StoreThread {
    environment: Environment,
    page: Arc<SharedPage>,
    watches: Watches,
    watcher: Option<JoinHandle<()>>,
    options: Options,
    reads: Vec<Job>,
    writes: Vec<Job>,
    /// Buckets whose watches are to be checked.
    changed: u64,
    closing: bool,
}

impl StoreThread {
    fn open(place: Place, options: Options, queue: Sender<Request>) -> Result<Self, OpenError> {
        let fail = |error: io::Error| open_failed(&place, error);
        let namespace = place::pid_namespace().map_err(fail)?;
        let file = place.join("fdbray.watch");
        let joined = SharedPage::join(&file, namespace, OPEN_WAIT, || prepare_lock_file(&place));
        let page = Arc::new(joined.map_err(|refused| match refused {
            Refused::Io(error) => fail(error),
            Refused::OtherLayout(theirs) => {
                OpenError::OtherVersionInUse { path: place.as_ref().clone(), theirs, ours: LAYOUT }
            }
            Refused::ForeignNamespace => OpenError::ForeignPidNamespace { path: place.as_ref().clone() },
            Refused::Stuck => OpenError::Stuck { path: place.as_ref().clone(), waited: OPEN_WAIT },
        })?);
        let environment = Environment::open(place.clone(), &options)?;
        let mut seen = [0; BUCKETS];
        page.changed(&mut seen);
        let interest = Arc::new(Interest::default());
        let watcher = {
            let (page, interest) = (page.clone(), interest.clone());
            let watcher = Builder::new().name("fdbray-watch".into());
            watcher.spawn(move || sleep_for_all(&page, &interest, seen, &queue)).map_err(fail)?
        };
        let watches = Watches::new(page.clone(), interest);
        let mut thread = StoreThread {
            environment,
            page,
            watches,
            watcher: Some(watcher),
            options,
            reads: Vec::new(),
            writes: Vec::new(),
            changed: 0,
            closing: false,
        };
        match thread.prepare_format() {
            Ok(()) => Ok(thread),
            Err(error) => {
                thread.watches.stop();
                Err(error)
            }
        }
    }

    fn prepare_format(&mut self) -> Result<(), OpenError> {
        if self.environment.check_format()?.is_some() {
            return Ok(());
        }
        let (_, nobody) = channel();
        self.enter(&nobody)?;
        let written = self.environment.write_format();
        self.leave();
        written?;
        // Another process may have been first.
        self.environment.check_format().map(|_| ())
    }

    fn serve(mut self, requests: &Receiver<Request>) {
        let mut tick = Instant::now() + TICK;
        while !self.closing {
            // What did not fit into the last commit waits for nothing.
            let wait = if self.writes.is_empty() {
                tick.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            match requests.recv_timeout(wait) {
                Ok(request) => self.sort(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.collect(requests);
            self.read();
            self.write(requests);
            self.check_watches();
            if Instant::now() >= tick {
                self.look_after();
                tick = Instant::now() + TICK;
            }
        }
        self.watches.stop();
    }

    /// Takes what else is queued.
    fn collect(&mut self, requests: &Receiver<Request>) {
        while let Ok(request) = requests.try_recv() {
            self.sort(request);
        }
    }

    fn sort(&mut self, request: Request) {
        match request {
            // Nobody waits for it any more: it need not run.
            Request::Run(job) if job.reply.is_closed() => {}
            Request::Run(job) if job.mode == Mode::Read => self.reads.push(job),
            Request::Run(job) => self.writes.push(job),
            Request::Changed(buckets) => self.changed |= buckets,
            Request::Close => self.closing = true,
        }
    }

    fn read(&mut self) {
        for job in std::mem::take(&mut self.reads) {
            let attempt = match self.environment.read_txn() {
                Err(error) => Err(Stop::Failed(error)),
                Ok(txn) => {
                    drive::run(&self.environment, View::Read(&txn), &job.body, self.options.limits, [0; 10])
                }
            };
            let attempt = match attempt {
                Ok(done) => {
                    done.watches.into_iter().for_each(|watching| self.watches.add(watching));
                    Attempt::Committed(None)
                }
                Err(Stop::Aborted) => Attempt::Aborted,
                Err(Stop::Failed(error)) => Attempt::Failed(error),
                Err(Stop::Panicked(payload)) => Attempt::Panicked(payload),
                Err(Stop::MapFull) => Attempt::Failed(StoreError::ReadOnly),
            };
            // Whoever asked may have gone.
            let _ = job.reply.send(attempt);
        }
    }

    fn write(&mut self, requests: &Receiver<Request>) {
        if self.writes.is_empty() {
            return;
        }
        let entered = self.enter(requests);
        let later = self.writes.split_off(self.writes.len().min(BATCH));
        let mut jobs = std::mem::replace(&mut self.writes, later);
        let committed = entered.and_then(|()| {
            self.publish_for_the_dead();
            let committed = batch::commit(&self.environment, &jobs, self.options.limits);
            let last = self.environment.last_commit();
            if let Ok(committed) = &committed
                && last > self.page.published()
            {
                self.page.publish(last, committed.buckets);
            }
            self.leave();
            committed
        });
        match committed {
            Ok(committed) => {
                // Those for whom there was no room come first in the next commit.
                self.writes.splice(..0, jobs.drain(committed.attempts.len()..));
                committed.watches.into_iter().for_each(|watching| self.watches.add(watching));
                for (job, attempt) in jobs.into_iter().zip(committed.attempts) {
                    let _ = job.reply.send(attempt);
                }
            }
            Err(error) => {
                for job in jobs {
                    let _ = job.reply.send(Attempt::Failed(error.clone()));
                }
            }
        }
    }

    /// Waits for the gate, and serves readers meanwhile.
    fn enter(&mut self, requests: &Receiver<Request>) -> Result<(), StoreError> {
        let fail =
            |place: &Place, source| StoreError::Io { path: place.as_ref().clone(), source: Arc::new(source) };
        let started = Instant::now();
        let mut entered = self.page.try_enter();
        loop {
            if entered.map_err(|error| fail(&self.environment.place, error))? {
                return Ok(());
            }
            if self.closing {
                return Err(StoreError::Closed);
            }
            let waited = started.elapsed();
            if waited >= self.options.lock_wait {
                return Err(StoreError::Busy { pid: self.page.holder(), waited });
            }
            entered = self.page.sleep_at_gate();
            if !matches!(entered, Ok(true)) {
                self.collect(requests);
                self.read();
                self.check_watches();
            }
        }
    }

    fn leave(&self) {
        if let Err(error) = self.page.leave() {
            tracing::error!(path = %self.environment.place.display(), %error, "could not release the write lock");
        }
    }

    fn check_watches(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if changed != 0
            && let Err(error) = self.watches.check(&self.environment, changed)
        {
            // Tried again with the next change, and watchers read again each 30 s.
            tracing::warn!(path = %self.environment.place.display(), %error, "could not check watched keys");
        }
    }

    /// Does for processes that died what they cannot do any more.
    fn look_after(&mut self) {
        if let Err(error) = self.environment.env.clear_stale_readers() {
            tracing::warn!(path = %self.environment.place.display(), %error, "could not clear dead readers");
        }
        if self.environment.last_commit() > self.page.published() && matches!(self.page.try_enter(), Ok(true))
        {
            self.publish_for_the_dead();
            self.leave();
        }
        self.watches.tidy();
    }

    /// Wakes the watchers of a commit whose writer died before it could. The caller holds the gate.
    fn publish_for_the_dead(&self) {
        let last = self.environment.last_commit();
        if last > self.page.published() {
            self.page.publish(last, u64::MAX);
        }
    }
}

fn open_failed(place: &Place, error: io::Error) -> OpenError {
    let path = place.as_ref().clone();
    if is_full(&error) {
        return StoreError::DiskFull { path }.into();
    }
    OpenError::Path { path, source: Arc::new(error) }
}
