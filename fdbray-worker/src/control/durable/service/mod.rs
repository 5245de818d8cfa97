//! What a process runs for durable futures, on its tokio runtime. Bytes only; knows no user type.
//!
//! | part | what it does |
//! |---|---|
//! | [`DurableHandle`] | takes submissions, attachments, starts and completions, at any time, from any thread, without blocking |
//! | `batch` | gathers them: a transaction at once when idle, and while one is under way, all that has come meanwhile in the next |
//! | `mailbox` | reads the inbox when its bell rings, and settles what this process waits for |
//! | `worker` | watches the shapes that its [`Executor`] has room for, and claims |
//! | `keeper` | moves the clock, does what is due, clears up after the dead |
//!
//! A store that does not answer is waited for: each request for 30 s. All transitions may be repeated, so that what took
//! effect unheard does no harm.

mod batch;
mod handle;
mod keeper;
mod mailbox;
#[cfg(test)]
mod tests;
mod worker;

pub use batch::Answer;
pub use handle::{DurableHandle, Pending, SubmitError};
pub use worker::{Executor, Room};
