//! The ways into the runtime for a `main`, whoever wrote it: run its body in a driver, and never in a worker.

use super::start::{Driver, Entered, enter_with};
use crate::{
    config::Config,
    error::{Error, Result},
};
use std::{process::ExitCode, thread};
use tokio::runtime::{Builder, Runtime};

/// Entry points for a `main` that is written by hand.
impl Config {
    /// Makes this process a driver and runs `body` on this thread, inside a tokio runtime with a thread for each core;
    /// then leaves the cluster and gives what `body` returned. This is what `#[fdbray::main]` does.
    ///
    /// A process that was started as a worker, with `--worker` or by a private cluster, serves instead and exits in
    /// here: it never runs `body`, nor what comes after this call. What comes before it runs in workers too, so call
    /// this first.
    ///
    /// # Errors
    /// What is wrong with the arguments, the variables, the cluster or the linked functions.
    pub fn run<R>(self, body: impl AsyncFnOnce() -> R) -> Result<R> {
        self.start()?.run(body)
    }

    /// Makes this process a driver until the returned [`Driver`] is dropped: for a `main` with an async runtime of its
    /// own, or with none. A worker serves and exits in here, as in [`run`](Self::run). A process can do this once.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn start(self) -> Result<Driver> {
        match enter_with(self) {
            Ok(Entered::Driver(driver)) => Ok(driver),
            Ok(Entered::Worker(code)) => leave(code),
            // A worker that cannot serve must not go on as if it were a driver.
            Err(error) if super::start::is_worker() => leave(report(&error)),
            Err(error) => Err(error),
        }
    }
}

impl Driver {
    /// Runs `body` on this thread, inside a tokio runtime with a thread for each core, then ends.
    ///
    /// # Errors
    /// [`Error::Control`] when the async runtime cannot be started.
    pub fn run<R>(self, body: impl AsyncFnOnce() -> R) -> Result<R> {
        let cores = thread::available_parallelism().map_or(1, Into::into);
        let tokio = Builder::new_multi_thread()
            .worker_threads(cores)
            .enable_all()
            .build()
            .map_err(|e| Error::control(format!("the driver's async runtime could not start: {e}")))?;
        Ok(run_inside(&tokio, self, body))
    }
}

/// On its own so that the driver goes before the tokio runtime, also when `body` panics: that one waits for its blocking
/// threads, and those may wait for futures, which end with the driver.
fn run_inside<R>(tokio: &Runtime, driver: Driver, body: impl AsyncFnOnce() -> R) -> R {
    let returned = tokio.block_on(body());
    driver.stop();
    returned
}

/// Reports an error as a `main` that returned it would.
pub fn report(error: &Error) -> ExitCode {
    eprintln!("Error: {error:?}");
    ExitCode::FAILURE
}

fn leave(code: ExitCode) -> ! {
    std::process::exit(code_number(code))
}

/// The number of an exit code, which does not tell it.
pub fn code_number(code: ExitCode) -> i32 {
    (0..=u8::MAX).find(|n| ExitCode::from(*n) == code).map_or(1, i32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_their_numbers() {
        for n in [0, 1, 3, 101, 255] {
            assert_eq!(code_number(ExitCode::from(n)), i32::from(n));
        }
    }
}
