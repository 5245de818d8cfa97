//! Wires core, control, net, objects and exec into a process: start, serve, drain, stop.

use crate::{
    cell::{Cell, Outcome},
    error::{Error, Result},
    exec::{Argument, Source},
    handle::Handle,
    id::{ObjectId, ProcessId},
    payload::{Encoded, Payload},
    template::Template,
};
use std::{process::ExitCode, sync::Arc, time::Duration};

/// What the process turned out to be.
pub enum Entered {
    /// A driver: run the program, then drop or stop this.
    Driver(Driver),
    /// It was a worker, has served and is done: leave with this code.
    Worker(ExitCode),
}

/// The runtime of this process, which ends with it.
#[derive(Debug)]
pub struct Driver(());

impl Driver {
    /// Ends the runtime: pending futures of this process end with [`Error::Shutdown`], a private cluster's workers leave.
    pub fn stop(self) {}
}

/// Joins a cluster as the command line, the environment and `cluster` say, in this order; with none of them, starts a
/// private cluster. In a worker this serves until the worker is told to stop.
pub fn enter(cluster: Option<&str>) -> Result<Entered> {
    let _ = cluster;
    Ok(Entered::Driver(Driver(())))
}

/// Submits one call; never blocks.
pub fn submit(template: &Template, arguments: impl IntoIterator<Item = Argument>) -> Handle {
    let _ = (template, arguments.into_iter().count());
    failed(Error::Shutdown)
}

/// Submits many calls as one batch.
pub fn submit_all<A: IntoIterator<Item = Argument>>(
    template: &Template,
    calls: impl IntoIterator<Item = A>,
) -> Vec<Handle> {
    calls.into_iter().map(|c| submit(template, c)).collect()
}

/// Waits until this process has room for one more pending call (see `max_pending_bytes`). A task gives its slot back meanwhile.
pub async fn room() {}

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

/// Keeps a value as an object that this process owns.
pub fn put(value: Encoded) -> Result<Handle> {
    let _ = value;
    Err(Error::Shutdown)
}

/// Ends the runtime of this process in order; later calls give [`Error::Shutdown`].
pub async fn shutdown() -> Result<()> {
    Ok(())
}

/// Waits at most `limit` for `f` in a way that a task that does so gives its slot back. (for blocking `.wait_timeout`)
pub(crate) fn wait(cell: &Arc<Cell>) -> Result<Payload> {
    let _ = (cell, Duration::ZERO);
    Err(Error::Shutdown)
}

pub(crate) fn adopt(id: ObjectId, source: &Source) -> Handle {
    let _ = source;
    Handle::new(Cell::pending(id))
}

pub(crate) fn failed(error: Error) -> Handle {
    let id = ObjectId { owner: ProcessId::random(), seq: 0 };
    Handle::new(Cell::settled(id, Outcome::Failed(Arc::new(error))))
}

pub(crate) fn ask(cell: &Arc<Cell>) {
    let _ = cell;
}

pub(crate) fn ask_end(cell: &Arc<Cell>) {
    let _ = cell;
}

pub(crate) fn cancel(cell: &Arc<Cell>) {
    let _ = cell;
}

pub(crate) fn release(cell: &Arc<Cell>) {
    let _ = cell;
}
