//! Wires core, control, net, objects and exec into a process: start, serve, drain, stop.
//!
//! [`enter`] is the way in; the other functions here are what handles and calls do, by way of the one runtime that a
//! process has.

mod actors;
mod buffer;
mod calls;
pub mod children;
mod departed;
pub mod durable;
mod entry;
mod fetch;
mod follow;
pub mod leash;
mod local;
pub mod logs;
pub mod marks;
mod news;
mod outside;
mod process;
pub mod scratch;
mod serve;
mod shared;
pub mod signals;
mod spill;
mod start;

pub(crate) use actors::{actor_ready, call_actor, install_actor, kill_actor};
pub use buffer::{Buffer, buffer};
pub use calls::{put, submit, submit_all, submit_when_room};
pub use entry::{code_number, report};
pub(crate) use process::Process;
pub use start::{Driver, Entered, enter, enter_with};

use crate::{
    cell::{Cell, Outcome},
    core::{Origin, TaskKey},
    error::{Error, Result},
    exec::{self, Source},
    handle::Handle,
    id::{ObjectId, ProcessId},
    objects::Stats,
    payload::Payload,
    registry::Role,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// The runtime of this process. There is at most one: futures, the arena and the panic hook are the process's.
static PROCESS: OnceLock<Arc<Process>> = OnceLock::new();

/// The runtime, once it was started.
pub(crate) fn process() -> Option<&'static Arc<Process>> {
    PROCESS.get()
}

/// Ends the runtime of this process in order: pending futures end with [`Error::Shutdown`], and so do later calls; a
/// private cluster's workers leave.
///
/// # Errors
/// None today: it is a `Result` because leaving a cluster can fail.
pub async fn shutdown() -> Result<()> {
    if process().is_some() {
        let (done, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            start::stop();
            // Whoever waited may have gone.
            let _ = done.send(());
        });
        // The thread sends, or has panicked, which is an end too.
        let _ = ended.await;
    }
    Ok(())
}

/// Says that the value of `handle` is wanted in this process, without waiting for it.
pub fn want(handle: &Handle) {
    ask(handle.cell());
}

/// A pending future that nobody owns; settling its cell ends it. For tests.
#[doc(hidden)]
pub fn unowned() -> (Handle, Arc<Cell>) {
    let cell = Cell::pending(ObjectId { owner: ProcessId::random(), seq: 0 });
    (Handle::new(cell.clone()), cell)
}

/// Who waits for what in this process, as text for a person: queues, leases, tasks, sessions and threads. For a program
/// that seems to stand still; `None` before the runtime was started.
pub fn describe() -> Option<String> {
    process().map(|p| p.describe())
}

pub(crate) fn wait(cell: &Arc<Cell>) -> Result<Payload> {
    exec::wait(cell)
}

pub(crate) fn wait_timeout(cell: &Arc<Cell>, limit: Duration) -> Result<Option<Payload>> {
    exec::wait_timeout(cell, limit)
}

pub(crate) fn adopt(id: ObjectId, source: &Source) -> Handle {
    let Some(process) = process() else { return failed(not_started()) };
    let origin = match source {
        Source::Task(key) => Origin::Task(TaskKey::from_number(*key)),
        Source::Object(container) => Origin::Object(container.id()),
        Source::Here => Origin::Here,
    };
    Handle::counted(process.with_core(true, |core, fx| core.adopt(id, origin, fx)))
}

pub(crate) fn failed(error: Error) -> Handle {
    match process() {
        Some(process) => Handle::counted(process.with_core(false, |core, _| core.failed(error))),
        None => {
            let id = ObjectId { owner: ProcessId::random(), seq: 0 };
            Handle::new(Cell::settled(id, Outcome::Failed(Arc::new(error))))
        }
    }
}

/// A handle of this thread's task was polled, or something waits for it: has its value brought here.
pub(crate) fn ask(cell: &Arc<Cell>) {
    exec::note_waiting();
    let Some(process) = process() else { return };
    if let Some(current) = exec::running().filter(|current| current.function.role == Role::Exclusive) {
        process.with_core(true, |core, fx| core.awaits_itself(current.slot, cell.id(), fx));
    }
    // The value of an own future comes by itself, unless it is kept elsewhere.
    let comes = is_own(process, cell.id()) && !cell.is_stored();
    if cell.first_ask() && !comes {
        process.with_core(true, |core, fx| core.ask(cell.id(), true, fx));
    }
}

/// Whether the record of `id` is kept in this process.
fn is_own(process: &Process, id: ObjectId) -> bool {
    id.owner == process.me() && !id.is_durable()
}

/// Has this process told when the future ends.
pub(crate) fn ask_end(cell: &Arc<Cell>) {
    if let Some(process) = process().filter(|p| !is_own(p, cell.id()) && !cell.is_settled()) {
        process.with_core(true, |core, fx| core.ask(cell.id(), false, fx));
    }
}

/// The result of a task, which is to be an object of this process.
pub(crate) fn keep(value: Payload) -> Result<Payload> {
    match process() {
        Some(process) => process.keep(value),
        None => Ok(value),
    }
}

/// The accounting of this process's shared memory. All zero before the runtime was started.
pub fn store_stats() -> Stats {
    process().map_or_else(Stats::default, |process| process.shared().stats())
}

pub(crate) fn cancel(cell: &Arc<Cell>) {
    if let Some(process) = process().filter(|_| !cell.is_settled()) {
        process.with_core(true, |core, fx| core.cancel(cell.id(), fx));
    }
}

pub(crate) fn release(cell: &Arc<Cell>) {
    if let Some(process) = process() {
        process.release(cell);
    }
}

fn not_started() -> Error {
    Error::control(
        "the fdbray runtime of this process was not started: put `#[fdbray::main]` on `async fn main()`, or start it with \
         `fdbray::Config`",
    )
}
