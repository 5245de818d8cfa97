//! The threads that run tasks.

use super::{
    batch::Slot,
    boundary::{Call, Ran, enter, not_registered},
    context::Current,
    drive,
};
use crate::{
    core::{Finished, Start, TaskKey},
    error::Error,
    handle::Handle,
    runtime::Process,
};
use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Stack of a pool thread; awaited children run on it, up to [`super::park::DEEPEST`] of them.
const STACK: usize = 8 << 20;

/// The threads that run tasks.
pub(crate) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    /// Threads beyond those that wait for futures.
    most_awake: usize,
    /// Threads that may wait for futures at once.
    most_parked: usize,
    /// Threads whose call was put off.
    late: AtomicU32,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// Threads that wait to be called.
    idle: usize,
    /// Calls that no thread has followed yet. A thread takes one before it asks the core, so that work which came
    /// after it asked calls again.
    called: usize,
    /// Threads whose task waits for a future.
    parked: usize,
    /// The most there ever were.
    peak: usize,
    slots: Vec<Arc<Slot>>,
}

impl Pool {
    /// A pool for tasks of about `cpus` at once, of which `most_parked` may wait for futures.
    pub fn new(cpus: usize, most_parked: usize) -> Self {
        let late = AtomicU32::new(0);
        Pool { state: Mutex::default(), work: Condvar::new(), most_awake: cpus, most_parked, late }
    }

    /// The same, where a task that makes many calls does not wake a thread with each of them: one that is awake looks for
    /// more by itself. What was put off is made good when the task waits or ends ([`call_put_off`]), or at the next tick.
    pub fn call_now_or_soon(&self, process: &Arc<Process>, n: u32) {
        if super::running().is_none() {
            return self.call(process, n);
        }
        let now = Instant::now();
        let (last, put_off) = LAST_CALL.get();
        if last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            LAST_CALL.set((last, put_off.max(n)));
            self.late.fetch_max(n, Ordering::Relaxed);
        } else {
            LAST_CALL.set((Some(now), 0));
            self.call(process, n.max(put_off));
        }
    }

    /// Calls what was put off since this was last asked.
    pub fn call_late(&self, process: &Arc<Process>) {
        match self.late.swap(0, Ordering::Relaxed) {
            0 => {}
            n => self.call(process, n),
        }
    }

    /// `n` more threads could start something.
    pub fn call(&self, process: &Arc<Process>, n: u32) {
        let mut state = self.lock();
        state.called = state.called.max((n as usize).min(self.most_awake + self.most_parked));
        let room = (self.most_awake + self.most_parked).saturating_sub(state.threads);
        let new = state.called.saturating_sub(state.idle).min(room);
        for _ in 0..new {
            let slot = Arc::new(Slot::default());
            let (process, own) = (process.clone(), slot.clone());
            let thread = std::thread::Builder::new().name("fdbray-task".to_owned()).stack_size(STACK);
            match thread.spawn(move || work(&process, &own)) {
                Ok(_) => {
                    state.slots.push(slot);
                    state.threads += 1;
                    state.peak = state.peak.max(state.threads);
                }
                Err(e) => {
                    tracing::error!("no thread for a task can be made ({e}); fewer tasks run at once");
                    break;
                }
            }
        }
        let (wake, all) = (state.called.min(state.idle), state.called >= state.idle);
        drop(state);
        if all && wake > 1 {
            self.work.notify_all();
        } else {
            // Not one more than there is work for: they would all ask the core.
            (0..wake).for_each(|_| self.work.notify_one());
        }
    }

    /// A task's thread is about to wait for a future; false when too many do and waiting might never end.
    pub fn park(&self) -> bool {
        let mut state = self.lock();
        if state.parked + 1 >= self.most_parked + self.most_awake {
            return false;
        }
        state.parked += 1;
        true
    }

    /// It waited.
    pub fn unpark(&self) {
        self.lock().parked -= 1;
    }

    /// Whether any thread runs tasks.
    pub fn is_busy(&self) -> bool {
        let state = self.lock();
        state.threads > state.idle
    }

    /// The batches of all threads.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.lock().slots.clone()
    }

    /// Waits until there may be work.
    fn idle(&self) {
        let mut state = self.lock();
        state.idle += 1;
        while state.called == 0 {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        state.called -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let State { threads, idle, called, parked, peak, .. } = &*self.lock();
        write!(f, "{threads} threads ({peak} at most), {idle} idle, {called} called, {parked} parked")
    }
}

/// A task wakes threads so often at most, however many calls it makes.
const PAUSE: Duration = Duration::from_micros(50);

/// The task on this thread waits or has ended: calls the threads that it put off.
pub(crate) fn call_put_off(process: &Arc<Process>) {
    if let (last, n @ 1..) = LAST_CALL.get() {
        LAST_CALL.set((last, 0));
        process.pool().call(process, n);
    }
}

thread_local! {
    /// When the task on this thread last called threads, and how many it has put off since.
    static LAST_CALL: Cell<(Option<Instant>, u32)> = const { Cell::new((None, 0)) };
    /// The batch of this thread, for a task that waits in the middle of it.
    static SLOT: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

/// The life of one thread.
fn work(process: &Arc<Process>, slot: &Arc<Slot>) {
    SLOT.set(Some(slot.clone()));
    // Async functions are polled here once, and find their timers and sockets.
    let _executor = process.executor().enter();
    let mut starts = Vec::new();
    loop {
        process.pool().idle();
        let mut next = process.next_batch(&mut starts);
        while let Some(key) = next {
            next = run_batch(process, slot, key, &mut starts);
        }
    }
}

/// Runs a batch to its end, or to where an async task takes it over; then asks for the next.
fn run_batch(process: &Arc<Process>, slot: &Slot, key: TaskKey, starts: &mut Vec<Start>) -> Option<TaskKey> {
    let mut began = Instant::now();
    let mut start = {
        let mut batch = slot.lock();
        batch.key = Some(key);
        batch.since = process.nanos_at(began);
        batch.todo.extend(starts.drain(..));
        batch.todo.pop_front()
    };
    while let Some(task) = start {
        let (name, id, attempt, function) = (task.task, task.id, task.attempt, task.function);
        process.mark(&task);
        let ran = match current(process, key, &task) {
            Some(current) => {
                let state = task.actor.and_then(|actor| process.states().get(actor));
                let Start { arguments, futures, checkpoint, .. } = task;
                match enter(current, Call { arguments, futures, key, state, checkpoint }) {
                    Ran::Pending(future) => {
                        report_rest(process, slot);
                        slot.lock().key = None;
                        drive::spawn(process, current, name, function, future, began.elapsed());
                        return process.next_batch(starts);
                    }
                    Ran::Ended(ended) => ended,
                }
            }
            None => Err(not_registered(function, process.me())),
        };
        let now = Instant::now();
        let took = now.duration_since(began).as_nanos() as u64;
        began = now;
        let mut batch = slot.lock();
        let outcome = ran.map(|(value, handles)| {
            let ids = handles.iter().map(Handle::id).collect();
            batch.handles.extend(handles);
            (value, ids)
        });
        // What changed an actor's state and panicked has left it in any state.
        let broken = task.actor.is_some() && outcome.as_ref().is_err_and(Error::is_own_panic);
        batch.done.push(Finished { task: name, id, attempt, function, ran: took, outcome });
        if broken {
            drop(batch);
            report_rest(process, slot);
            batch = slot.lock();
        }
        start = batch.todo.pop_front();
    }
    let (mut done, handles) = {
        let mut batch = slot.lock();
        batch.key = None;
        (std::mem::take(&mut batch.done), std::mem::take(&mut batch.handles))
    };
    let next = process.turn_over(key, &mut done, starts);
    drop(handles);
    // The list's memory serves the next batch.
    done.clear();
    slot.lock().done = done;
    next
}

fn current(process: &Process, key: TaskKey, task: &Start) -> Option<Current> {
    let function = process.registry().get(task.function)?;
    let (id, attempt, root, worker) = (task.id, task.attempt, task.root, process.me());
    let described = task.arguments.is_described();
    Some(Current { id, attempt, function, worker, root, key, slot: key, depth: 0, described })
}

/// Hands over what this thread has done and not started of its batch, because it will be busy with one task for long.
fn report_rest(process: &Arc<Process>, slot: &Slot) {
    slot.hand_over(u64::MAX, |key, done, todo| process.report(key, done, todo));
}

/// The same for the thread that calls this, if it is one of the pool.
pub(crate) fn report_rest_of_this_thread(process: &Arc<Process>) {
    let slot = SLOT.with_borrow(Clone::clone);
    if let Some(slot) = slot {
        report_rest(process, &slot);
    }
}
