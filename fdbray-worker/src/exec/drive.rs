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
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// The async tasks that run, so that they can be ended early.
#[derive(Default)]
pub(crate) struct Running(Mutex<BTreeMap<TaskName, Arc<Control>>>);

struct Control {
    key: TaskKey,
    cancelled: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Running {
    /// Ends `task`, if it runs.
    pub fn cancel(&self, task: TaskName) {
        let control = self.lock().get(&task).cloned();
        if let Some(control) = control {
            control.cancel();
        }
    }

    /// Ends the task of `key`, if it runs.
    pub fn abandon(&self, key: TaskKey) {
        let control = self.lock().values().find(|c| c.key == key).cloned();
        if let Some(control) = control {
            control.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskName, Arc<Control>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    let control =
        Arc::new(Control { key: current.key, cancelled: AtomicBool::new(false), waker: Mutex::default() });
    process.running().lock().insert(task, control.clone());
    let owned = process.clone();
    process.executor().spawn(async move {
        let process = owned;
        let (outcome, ran) = run(&process, current, &control, future, ran).await;
        process.running().lock().remove(&task);
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
