//! What `#[fdbray::main]` expands to: a process becomes a driver or a worker.

use fdbray_worker::runtime::{self, Entered, report};
use std::{
    future::Future,
    process::{ExitCode, Termination},
};

/// Enters the cluster. A worker serves it and never calls `body`; a driver runs `body` on this thread and then leaves.
pub fn main<R: Termination, F: Future<Output = R>>(
    cluster: Option<&str>,
    body: impl FnOnce() -> F,
) -> ExitCode {
    let ran = match runtime::enter(cluster) {
        Ok(Entered::Worker(code)) => return code,
        Ok(Entered::Driver(driver)) => driver.run(async || body().await),
        Err(error) => Err(error),
    };
    match ran {
        Ok(returned) => returned.report(),
        Err(error) => report(&error),
    }
}
