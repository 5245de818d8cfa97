//! Runs user code: a thread pool for sync functions, tokio for async ones, the panic boundary, the task context.
//!
//! A thread of the pool takes a batch of tasks of one lease from the core, runs them one after the other and hands
//! the results back with its wish for the next batch, under one lock of the core. What it has not started stays where others can
//! take it: the core when the batch turns out slow, its owner when it cancels. An async function is polled once on the
//! thread that starts it; only one that is not done then becomes a task of the async executor.

mod batch;
mod boundary;
mod context;
mod drive;
mod input;
mod park;
mod pool;

pub use boundary::install_panic_hook;
pub use context::{TaskInfo, current, result_is_described};
pub(crate) use context::{functions_now, last_root, note_waiting, running};
pub(crate) use drive::Running;
pub(crate) use input::push_varint;
pub use input::{Argument, Input, Save, Source, State};
pub(crate) use park::{wait, wait_timeout};
pub(crate) use pool::Pool;
