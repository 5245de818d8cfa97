//! The task that the current code runs in.

use crate::id::{ObjectId, ProcessId};
use std::cell::RefCell;

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
}

thread_local! {
    static CURRENT: RefCell<Option<TaskInfo>> = const { RefCell::new(None) };
}

/// The task that the current code runs in; `None` outside tasks.
pub fn current() -> Option<TaskInfo> {
    CURRENT.with_borrow(Clone::clone)
}
