//! What `#[fdbray::main]` expands to: a process becomes a driver or a worker.

use crate::Error;
use fdbray_worker::runtime::{self, Driver, Entered};
use std::{
    future::Future,
    process::{ExitCode, Termination},
    thread,
};
use tokio::runtime::{Builder, Runtime};

/// Enters the cluster. A worker serves it and never calls `body`; a driver runs `body` on this thread and then leaves.
pub fn main<R: Termination, F: Future<Output = R>>(
    cluster: Option<&str>,
    body: impl FnOnce() -> F,
) -> ExitCode {
    let ran = match runtime::enter(cluster) {
        Ok(Entered::Worker(code)) => return code,
        Ok(Entered::Driver(driver)) => drive(driver, body),
        Err(error) => Err(error),
    };
    match ran {
        Ok(returned) => returned.report(),
        Err(error) => failed(&error),
    }
}

/// Runs `body` on this thread, inside a tokio runtime with a thread for each core, then stops the driver.
pub(crate) fn drive<R, F: Future<Output = R>>(driver: Driver, body: impl FnOnce() -> F) -> Result<R, Error> {
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let tokio = Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()
        .map_err(|e| Error::control(format!("the driver's async runtime could not start: {e}")))?;
    Ok(run(&tokio, driver, body))
}

/// On its own so that the driver goes before the tokio runtime, also when `body` panics: that one waits for its blocking
/// threads, and those may wait for futures, which end with the driver.
fn run<R, F: Future<Output = R>>(tokio: &Runtime, driver: Driver, body: impl FnOnce() -> F) -> R {
    let returned = tokio.block_on(async { body().await });
    driver.stop();
    returned
}

/// Reports an error as a `main` that returned it would.
pub(crate) fn failed(error: &Error) -> ExitCode {
    eprintln!("Error: {error:?}");
    ExitCode::FAILURE
}
