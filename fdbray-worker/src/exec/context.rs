//! The task that the current code runs in.

use crate::{
    core::TaskKey,
    id::{ObjectId, ProcessId},
    registry::Function,
    runtime::logs::{self, Functions},
};
use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

/// The task that the current code runs in.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The future that the task settles.
    pub id: ObjectId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The function's stable name.
    pub function: &'static str,
    /// The process in which it runs.
    pub worker: ProcessId,
    /// The driver in whose terminal its output is shown; `None` when that is turned off.
    pub root: Option<ProcessId>,
}

/// The same, as the runtime keeps it.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    pub id: ObjectId,
    pub attempt: u32,
    pub function: &'static Function,
    pub worker: ProcessId,
    pub root: Option<ProcessId>,
    /// The batch, the async task, or what was taken over to run inline.
    pub key: TaskKey,
    /// What holds the slot: the same, or what the inline task runs on the stack of.
    pub slot: TaskKey,
    /// How many awaited children run on this stack below it.
    pub depth: u32,
    /// Whether its arguments are, and its result is to be, in the encoding of durable futures.
    pub described: bool,
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
    /// Remote futures that were polled and not ready since the task was last polled.
    static WAITING: Cell<u32> = const { Cell::new(0) };
}

/// The task that the current code runs in; `None` outside tasks.
pub fn current() -> Option<TaskInfo> {
    CURRENT.get().map(|c| (c, durable(&c).unwrap_or((c.id, c.attempt)))).map(|(c, (id, attempt))| TaskInfo {
        id,
        attempt,
        function: (c.function.name)(),
        worker: c.worker,
        root: c.root,
    })
}

/// The durable future that a claimed call computes.
fn durable(current: &Current) -> Option<(ObjectId, u32)> {
    current.described.then(|| crate::runtime::durable::task_of(current.id)).flatten()
}

/// Whether the result of the current task is to be in the self-describing encoding of durable futures.
pub fn result_is_described() -> bool {
    CURRENT.get().is_some_and(|c| c.described)
}

/// The same, as the runtime keeps it.
pub(crate) fn running() -> Option<Current> {
    CURRENT.get()
}

/// What runs at this moment, as far as threads have told: nothing, since each function is noted as it runs.
pub(crate) fn functions_now() -> Functions {
    Functions::NONE
}

/// The driver whose tasks ran here last.
pub(crate) fn last_root() -> Option<ProcessId> {
    ProcessId::new(LAST_ROOT.load(Ordering::Relaxed))
}

static LAST_ROOT: AtomicU64 = AtomicU64::new(0);

/// Runs `f` as part of the task.
pub(crate) fn within<R>(current: Current, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Current>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
            if self.0.is_none()
                && let Some(process) = crate::runtime::process()
            {
                super::pool::call_put_off(process);
            }
        }
    }
    let _restore = Restore(CURRENT.replace(Some(current)));
    let name = (current.function.name)();
    let quiet = current.root.is_none();
    // What is printed is read a little later; it belongs to what ran meanwhile.
    logs::ran(name, quiet);
    if let Some(root) = current.root
        && LAST_ROOT.load(Ordering::Relaxed) != root.get()
    {
        LAST_ROOT.store(root.get(), Ordering::Relaxed);
    }
    let result = f();
    logs::ran(name, quiet);
    result
}

/// The current poll of an async task found a remote future that is not ready.
pub(crate) fn note_waiting() {
    WAITING.set(WAITING.get() + 1);
}

/// Whether there was one since this was last asked.
pub(crate) fn take_waiting() -> bool {
    WAITING.replace(0) > 0
}
