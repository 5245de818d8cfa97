//! The process: its core behind a lock, and carrying out what the core wants done.

use crate::{
    cell::Cell,
    core::{Core, Effects, Finished, Nanos, Start, Steal, TaskKey},
    error::Result,
    exec::{self, Pool, Running},
    id::{ObjectId, ProcessId},
    payload::Payload,
    registry::Registry,
    runtime::{actors::States, fetch::fetch_value, marks::Marks, outside::Outside, shared::SharedMemory},
};
use bytes::Bytes;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// This process as the rest of the crate sees it.
pub(crate) struct Process {
    me: ProcessId,
    started: Instant,
    /// Everything that is decided. Held for one batch of calls or frames at a time, never across user code, I/O or an await;
    /// what follows from a decision is carried out after it is released.
    core: Mutex<Core>,
    registry: Registry,
    pool: Pool,
    running: Running,
    executor: tokio::runtime::Handle,
    /// Objects whose last handle was dropped. Apart from the core's lock, because handles are dropped anywhere.
    released: Mutex<Vec<ObjectId>>,
    /// Tasks that wait for a slot to go on.
    resuming: Mutex<BTreeMap<TaskKey, Waker>>,
    /// Whether the ticker runs, and what starts it.
    ticking: AtomicBool,
    ticker: Notify,
    /// Submitters that wait for room.
    room: Notify,
    marks: Option<Marks>,
    /// The states of actors that live here.
    states: States,
    /// Where large values are.
    shared: Arc<SharedMemory>,
    /// Values above this many bytes are fetched rather than sent.
    inline: usize,
    /// Whether what its calls print is wanted in this process.
    shows_output: bool,
    /// The network and the cluster, unless everything happens in this process.
    outside: OnceLock<Outside>,
}

/// What a process is made of.
pub(crate) struct Parts {
    pub core: Core,
    pub registry: Registry,
    pub pool: Pool,
    /// Where async functions run.
    pub executor: tokio::runtime::Handle,
    pub marks: Option<Marks>,
    pub shared: Arc<SharedMemory>,
    /// Values above this many bytes are fetched rather than sent.
    pub inline: usize,
    /// Whether what its calls print is wanted in this process.
    pub shows_output: bool,
}

/// How often the core is told the time while anything depends on it.
const TICK: Duration = Duration::from_millis(5);
/// A batch that runs longer hands over what it has done and what it has not started.
const OVERDUE: Nanos = 5_000_000;

impl Process {
    pub fn new(parts: Parts) -> Self {
        let Parts { core, registry, pool, executor, marks, shared, inline, shows_output } = parts;
        Process {
            me: core.me(),
            started: Instant::now(),
            core: Mutex::new(core),
            registry,
            pool,
            running: Running::default(),
            executor,
            released: Mutex::default(),
            resuming: Mutex::default(),
            ticking: AtomicBool::new(false),
            ticker: Notify::new(),
            room: Notify::new(),
            marks,
            states: States::default(),
            shared,
            inline,
            shows_output,
            outside: OnceLock::new(),
        }
    }

    /// Runs `f` on the core and carries out what follows. `direct`: this thread may as well write to sockets itself.
    pub fn with_core<R>(self: &Arc<Self>, direct: bool, f: impl FnOnce(&mut Core, &mut Effects) -> R) -> R {
        self.with_core_then(|core, fx| (f(core, fx), direct))
    }

    /// The same, when only `f` can tell.
    fn with_core_then<R>(self: &Arc<Self>, f: impl FnOnce(&mut Core, &mut Effects) -> (R, bool)) -> R {
        thread_local!(static EFFECTS: RefCell<Option<Box<Effects>>> = const { RefCell::new(None) });
        let mut fx = EFFECTS.take().unwrap_or_default();
        let (result, direct, timed) = {
            let mut core = self.lock();
            let (result, direct) = f(&mut core, &mut fx);
            (result, direct, !self.ticking.load(Ordering::Relaxed) && core.next_tick().is_some())
        };
        if timed {
            self.start_ticking();
        }
        self.carry_out(direct, &mut fx);
        EFFECTS.set(Some(fx));
        result
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock is a bug of the core; the state is still the best there is.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.advance(self.nanos_at(Instant::now()));
        core
    }

    fn carry_out(self: &Arc<Self>, direct: bool, fx: &mut Effects) {
        std::mem::take(&mut fx.wake).wake();
        if fx.runners > 0 {
            self.pool.call_now_or_soon(self, std::mem::take(&mut fx.runners));
        }
        if let Some(outside) = self.outside.get() {
            outside.carry_out(self, direct, fx);
        } else {
            fx.flush.clear();
            fx.dial.clear();
            for fetch in fx.fetch.drain(..) {
                let process = self.clone();
                self.executor.spawn(async move { fetch_value(&process, fetch).await });
            }
        }
        for line in fx.logs.drain(..) {
            super::outside::print(line);
        }
        for key in fx.resume.drain(..) {
            let waker = lock(&self.resuming).remove(&key);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        for task in fx.abort.drain(..) {
            if !self.pool.slots().iter().any(|slot| slot.cancel(task)) {
                self.running.cancel(task);
            }
        }
        for key in fx.abandon.drain(..) {
            self.running.abandon(key);
        }
        if std::mem::take(&mut fx.room) {
            self.room.notify_waiters();
        }
        fx.drops.clear();
        if !fx.ended_actors.is_empty() {
            // Their destructors are the user's code.
            let (process, ended) = (self.clone(), std::mem::take(&mut fx.ended_actors));
            self.executor.spawn_blocking(move || process.states.end(ended));
        }
        if !fx.spilled.is_empty() {
            // It makes holes in files.
            let spilled = std::mem::take(&mut fx.spilled);
            self.executor.spawn_blocking(move || drop(spilled));
        }
    }

    /// The next batch for a thread of the pool.
    pub fn next_batch(self: &Arc<Self>, out: &mut Vec<Start>) -> Option<TaskKey> {
        let next = self.with_core(true, |core, _| core.next_batch(out));
        if next.is_some() {
            // Somebody has to see when it takes too long.
            self.start_ticking();
        }
        next
    }

    /// Ends a batch and takes the next. The thread that finds nothing more to do sends the answers itself.
    pub fn turn_over(
        self: &Arc<Self>,
        key: TaskKey,
        done: &mut Vec<Finished>,
        out: &mut Vec<Start>,
    ) -> Option<TaskKey> {
        self.with_core_then(|core, fx| {
            core.finish(key, done, &mut Vec::new(), fx);
            let next = core.next_batch(out);
            if next.is_some() {
                fx.runners = fx.runners.saturating_sub(1);
            }
            (next, next.is_none())
        })
    }

    /// Part of a batch is done; see [`Core::report`].
    pub fn report(self: &Arc<Self>, key: TaskKey, done: &mut Vec<Finished>, todo: &mut Vec<Start>) {
        self.with_core(true, |core, fx| core.report(key, done, todo, fx));
    }

    /// An async task is done.
    pub fn finish(self: &Arc<Self>, key: TaskKey, finished: Finished) {
        self.with_core(true, |core, fx| core.finish(key, &mut vec![finished], &mut Vec::new(), fx));
    }

    /// A task waits; its slot serves others.
    pub fn block(self: &Arc<Self>, key: TaskKey) {
        self.with_core(true, |core, fx| core.block(key, fx));
    }

    /// Whether the task has a slot again; if not, `waker` is woken when it has.
    pub fn unblock(self: &Arc<Self>, key: TaskKey, waker: &Waker) -> bool {
        self.with_core(true, |core, _| {
            let has = core.unblock(key);
            if !has {
                // Under the core's lock, so that the slot cannot come before the waker is there.
                lock(&self.resuming).insert(key, waker.clone());
            }
            has
        })
    }

    /// Takes over the task of an awaited future; see [`Core::steal`].
    pub fn steal(self: &Arc<Self>, id: ObjectId, by: TaskKey) -> Option<Steal> {
        self.with_core(false, |core, _| core.steal(id, by))
    }

    /// That task is done.
    pub fn finish_inline(self: &Arc<Self>, key: TaskKey, finished: Finished) {
        self.with_core(true, |core, fx| core.finish_inline(key, finished, fx));
    }

    /// Notes that a task is about to start, for owners on this host.
    pub fn mark(&self, start: &Start) {
        if let Some(marks) = &self.marks {
            marks.raise(start.mark as usize % super::marks::SLOTS, mark_of(start.mark, start.task.number));
        }
    }

    /// The last handle of a future was dropped.
    pub fn release(&self, cell: &Cell) {
        let first = {
            let mut released = lock(&self.released);
            released.push(cell.id());
            released.len() == 1
        };
        if first {
            self.start_ticking();
        }
    }

    fn start_ticking(&self) {
        if !self.ticking.load(Ordering::Acquire) && !self.ticking.swap(true, Ordering::AcqRel) {
            self.ticker.notify_one();
        }
    }

    /// Frees what was released.
    fn free_released(self: &Arc<Self>) {
        let mut released = std::mem::take(&mut *lock(&self.released));
        if !released.is_empty() {
            self.with_core(true, |core, fx| core.released(&mut released, fx));
        }
    }

    /// Tells the core the time, for as long as anything depends on it.
    pub async fn tick(self: Arc<Self>) {
        loop {
            if !self.ticking.load(Ordering::Acquire) {
                self.ticker.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.free_released();
            self.pool.call_late(&self);
            self.hand_over_overdue();
            let next = self.with_core(true, |core, fx| {
                if core.next_tick().is_some() {
                    core.tick(fx);
                }
                core.next_tick()
            });
            if next.is_none() && !self.pool.is_busy() {
                self.ticking.store(false, Ordering::Release);
                // Whoever made something depend on time before the flag was down is seen here.
                if !lock(&self.released).is_empty()
                    || self.lock().next_tick().is_some()
                    || self.pool.is_busy()
                {
                    self.ticking.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Takes from threads that are held up by one task what else they had.
    fn hand_over_overdue(self: &Arc<Self>) {
        let before = self.nanos_at(Instant::now()).saturating_sub(OVERDUE);
        for slot in self.pool.slots() {
            slot.hand_over(before, |key, done, todo| self.report(key, done, todo));
        }
    }

    /// Attempts something again whenever calls have ended, until it gives something.
    pub async fn when_room<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(done) = attempt() {
                return done;
            }
            poll_fn(|cx| {
                let polled = freed.as_mut().poll(cx);
                if polled.is_pending() {
                    // Whatever else woke the task, it waits for this still.
                    exec::note_waiting();
                }
                polled
            })
            .await;
        }
    }

    /// Everything to send to `peer` now. Called by whoever sends, with nothing to carry out.
    pub fn take_outgoing(&self, peer: ProcessId, out: &mut VecDeque<Bytes>) {
        self.lock().outgoing(peer, out);
    }

    pub fn me(&self) -> ProcessId {
        self.me
    }

    pub fn inline(&self) -> usize {
        self.inline
    }

    pub fn shows_output(&self) -> bool {
        self.shows_output
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn running(&self) -> &Running {
        &self.running
    }

    pub fn executor(&self) -> &tokio::runtime::Handle {
        &self.executor
    }

    pub fn states(&self) -> &States {
        &self.states
    }

    pub fn shared(&self) -> &Arc<SharedMemory> {
        &self.shared
    }

    /// A value that is to be an object of this process: a large one in shared memory.
    ///
    /// # Errors
    /// [`Error::StoreFull`](crate::error::Error::StoreFull).
    pub fn keep(&self, value: Payload) -> Result<Payload> {
        if value.is_large(self.inline) { self.shared.keep(value) } else { Ok(value) }
    }

    pub fn marks(&self) -> Option<&Marks> {
        self.marks.as_ref()
    }

    pub fn outside(&self) -> Option<&Outside> {
        self.outside.get()
    }

    /// Joins it to a network and a cluster, once.
    pub fn set_outside(&self, outside: Outside) {
        // Set by the one who starts the process, who does so once.
        let _ = self.outside.set(outside);
    }

    /// Leaves the cluster.
    pub async fn leave(&self) {
        if let Some(outside) = self.outside.get() {
            outside.leave().await;
        }
    }

    /// Whether its futures have ended with it.
    pub fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    /// Who waits for what.
    pub fn describe(&self) -> String {
        format!("{:?}, ticking {}, {:?}", &*self.lock(), self.ticking.load(Ordering::Relaxed), self.pool)
    }

    /// The core's time of an instant.
    pub fn nanos_at(&self, at: Instant) -> Nanos {
        at.duration_since(self.started).as_nanos() as Nanos
    }
}

/// A start mark: the lease, so that a slot used again is not mistaken, and the highest number started.
pub(crate) fn mark_of(lease: u32, number: u32) -> u64 {
    u64::from(lease) << 32 | u64::from(number)
}

/// Nothing that can panic runs under the small locks of this file.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
