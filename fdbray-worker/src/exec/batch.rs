//! A thread's batch: what it has yet to start and what it has done, where others can reach both.

use crate::{
    core::{Finished, Start, TaskKey, message::TaskName},
    error::Error,
    handle::Handle,
};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One thread's batch.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Batch>);

/// The contents of a [`Slot`].
#[derive(Default)]
pub(crate) struct Batch {
    pub key: Option<TaskKey>,
    pub todo: VecDeque<Start>,
    pub done: Vec<Finished>,
    /// Handles inside the values that are done, which must live until the core was told.
    pub handles: Vec<Handle>,
    /// When it began, in nanoseconds of the process.
    pub since: u64,
}

impl Slot {
    pub fn lock(&self) -> MutexGuard<'_, Batch> {
        // User code never runs under this lock, so that nothing can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what is done and what is not started of a batch that began before `before`. The slot stays locked
    /// meanwhile: its thread must not end the batch before the core knows of this part of it.
    pub fn hand_over(&self, before: u64, report: impl FnOnce(TaskKey, &mut Vec<Finished>, &mut Vec<Start>)) {
        let mut batch = self.lock();
        let Batch { key, todo, done, handles, since } = &mut *batch;
        let Some(key) = key.filter(|_| *since < before && !(done.is_empty() && todo.is_empty())) else {
            return;
        };
        let mut todo = todo.drain(..).collect();
        report(key, done, &mut todo);
        let handles = std::mem::take(handles);
        drop(batch);
        drop(handles);
    }

    /// Drops `task` if it is not started; whether it was found. A batch that is just being handed over is left alone:
    /// then the task runs for nothing.
    pub fn cancel(&self, task: TaskName) -> bool {
        let Ok(mut batch) = self.0.try_lock() else { return false };
        let Some(at) = batch.todo.iter().position(|s| s.task == task) else { return false };
        if let Some(start) = batch.todo.remove(at) {
            batch.done.push(Finished {
                task,
                id: start.id,
                attempt: start.attempt,
                function: start.function,
                ran: 0,
                outcome: Err(Error::Cancelled { function: String::new(), passed: Default::default() }),
            });
        }
        true
    }
}
