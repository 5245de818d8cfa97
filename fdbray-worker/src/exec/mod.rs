//! Runs user code: a thread pool for sync functions, tokio for async ones, the panic boundary, the task context.

mod context;
mod input;

pub use context::{TaskInfo, current};
pub use input::{Argument, Input, Source};
