//! Async tasks that were not done at once, on the async executor.

use super::{
    boundary::{self, drop_quietly},
    context::{Current, take_waiting},
};
use crate::{
    core::{Finished, TaskKey, message::TaskName},
    error::Error,
    handle::Handle,
    registry::OutputFuture,
    runtime::Process,
};
use rustc_hash::FxHashSet;
use std::{
    collections::{BTreeMap, VecDeque},
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// The async tasks that run, so that they can be ended early.
#[derive(Default)]
pub(crate) struct Running(Mutex<Known>);

#[derive(Default)]
struct Known {
    controls: BTreeMap<TaskName, Arc<Control>>,
    /// What was to be ended and is not here: perhaps a thread has begun it, and it comes when it first waits.
    missed_tasks: Missed<TaskName>,
    missed_keys: Missed<TaskKey>,
}

struct Control {
    key: TaskKey,
    cancelled: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Running {
    /// Ends `task`, if it runs or is just being started.
    pub fn cancel(&self, task: TaskName) {
        let mut known = self.lock();
        match known.controls.get(&task).cloned() {
            None => known.missed_tasks.note(task),
            Some(control) => {
                drop(known);
                control.cancel();
            }
        }
    }

    /// Ends the task of `key`, if it runs or is just being started.
    pub fn abandon(&self, key: TaskKey) {
        let mut known = self.lock();
        match known.controls.values().find(|c| c.key == key).cloned() {
            None => known.missed_keys.note(key),
            Some(control) => {
                drop(known);
                control.cancel();
            }
        }
    }

    /// From here on it can be ended; it may have been to be ended before.
    fn insert(&self, task: TaskName, key: TaskKey) -> Arc<Control> {
        let mut known = self.lock();
        let cancelled = known.missed_tasks.has(task) || known.missed_keys.has(key);
        let control = Arc::new(Control { key, cancelled: cancelled.into(), waker: Mutex::default() });
        known.controls.insert(task, control.clone());
        control
    }

    fn remove(&self, task: TaskName) {
        self.lock().controls.remove(&task);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last so many. Most of them are of functions that never wait, and are never asked for; names and keys are used once.
struct Missed<T> {
    order: VecDeque<T>,
    all: FxHashSet<T>,
}

impl<T> Default for Missed<T> {
    fn default() -> Self {
        Missed { order: VecDeque::new(), all: FxHashSet::default() }
    }
}

impl<T: Copy + Eq + Hash> Missed<T> {
    fn note(&mut self, what: T) {
        if !self.all.insert(what) {
            return;
        }
        self.order.push_back(what);
        if self.order.len() > MISSED
            && let Some(first) = self.order.pop_front()
        {
            self.all.remove(&first);
        }
    }

    fn has(&self, what: T) -> bool {
        self.all.contains(&what)
    }
}

/// Far more than there are threads that could be starting something.
const MISSED: usize = 4096;

impl Control {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_with(&self, waker: &Waker) {
        let mut now = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !now.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *now = Some(waker.clone());
        }
    }
}

/// Drives `future` to its end. While it waits for a remote future its slot serves others.
pub(crate) fn spawn(
    process: &Arc<Process>,
    current: Current,
    task: TaskName,
    function: u32,
    future: OutputFuture,
    ran: Duration,
) {
    let control = process.running().insert(task, current.key);
    let owned = process.clone();
    process.executor().spawn(async move {
        let process = owned;
        let (outcome, ran) = run(&process, current, &control, future, ran).await;
        process.running().remove(task);
        let mut handles = Vec::new();
        let outcome = outcome.map(|(value, inside)| {
            handles = inside;
            (value, handles.iter().map(Handle::id).collect())
        });
        let ran = ran.as_nanos() as u64;
        let Current { key, id, attempt, .. } = current;
        process.finish(key, Finished { task, id, attempt, function, ran, outcome });
        drop(handles);
    });
}

async fn run(
    process: &Arc<Process>,
    current: Current,
    control: &Control,
    mut future: OutputFuture,
    mut ran: Duration,
) -> (boundary::Ended, Duration) {
    let mut blocked = false;
    let ended = std::future::poll_fn(|cx| {
        control.wake_with(cx.waker());
        if control.cancelled.load(Ordering::Acquire) {
            let function = (current.function.name)().to_owned();
            return Poll::Ready(Err(Error::Cancelled { function, passed: Default::default() }));
        }
        if blocked {
            if !process.unblock(current.key, cx.waker()) {
                return Poll::Pending;
            }
            blocked = false;
        }
        take_waiting();
        let began = Instant::now();
        let polled = boundary::poll(current, &mut future, cx);
        ran += began.elapsed();
        if polled.is_pending() && take_waiting() {
            blocked = true;
            process.block(current.key);
        }
        polled
    })
    .await;
    drop_quietly(future);
    (ended, ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u32) -> TaskName {
        TaskName { lease: 1, number }
    }

    fn is_cancelled(control: &Control) -> bool {
        control.cancelled.load(Ordering::Acquire)
    }

    #[test]
    fn a_task_is_ended_whether_it_runs_already_or_is_just_being_started() {
        let running = Running::default();
        let [before, after, other] = [1, 2, 3].map(TaskKey::from_number);
        running.cancel(task(1));
        running.abandon(after);
        assert!(is_cancelled(&running.insert(task(1), before)));
        assert!(is_cancelled(&running.insert(task(2), after)));
        let control = running.insert(task(3), other);
        assert!(!is_cancelled(&control));
        running.cancel(task(3));
        assert!(is_cancelled(&control));
    }

    #[test]
    fn what_never_comes_is_forgotten() {
        let running = Running::default();
        (0..3 * MISSED as u32).for_each(|number| running.cancel(task(number)));
        assert_eq!(running.lock().missed_tasks.order.len(), MISSED);
        assert_eq!(running.lock().missed_tasks.all.len(), MISSED);
        assert!(is_cancelled(&running.insert(task(3 * MISSED as u32 - 1), TaskKey::from_number(1))));
        assert!(!is_cancelled(&running.insert(task(0), TaskKey::from_number(2))));
    }
}
