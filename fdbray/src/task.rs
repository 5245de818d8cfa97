//! The running task.

use crate::{ObjectId, ProcessId};
use fdbray_worker::exec;

/// What is known about a running task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The id of the call's future: the same in every attempt.
    pub id: ObjectId,
    /// Which attempt this is, from 1. Later ones follow the death of a worker, or an error with `retry_errors`.
    pub attempt: u32,
    /// The function's stable name.
    pub function: &'static str,
    /// The process in which it runs.
    pub worker: ProcessId,
}

/// The task that this code runs in; `None` outside remote functions, and on threads that they started themselves.
///
/// ```
/// assert!(fdbray::task::current().is_none());
/// ```
pub fn current() -> Option<Context> {
    let exec::TaskInfo { id, attempt, function, worker, .. } = exec::current()?;
    Some(Context { id, attempt, function, worker })
}
