//! The client's network thread: FoundationDB allows one per process, which cannot be started again once stopped.
#![allow(unsafe_code)]

use super::failure::describe;
use crate::control::store::OpenError;
use foundationdb::{FdbError, FdbResult};
use foundationdb_sys as sys;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// The API version that this program was built for. All are alike in what is used of them; the newer ones ask for
/// a newer client.
const API_VERSION: i32 = if cfg!(feature = "foundationdb-7_4") {
    740
} else if cfg!(feature = "foundationdb-7_3") {
    730
} else {
    710
};

const API_VERSION_ALREADY_SET: i32 = 2201;
const API_VERSION_NOT_SUPPORTED: i32 = 2203;
const NETWORK_ALREADY_SETUP: i32 = 2009;

/// The thread that will stop the network thread, once it is unparked. Another one than the thread that exits, which
/// has lost its thread-locals by then; the client has some.
static STOPPER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
static STOP: AtomicBool = AtomicBool::new(false);

/// Starts the network thread, unless it runs. A program that uses FoundationDB itself may have started one: that does.
pub(super) fn start() -> Result<(), OpenError> {
    static STARTED: OnceLock<Result<(), OpenError>> = OnceLock::new();
    STARTED.get_or_init(boot).clone()
}

fn boot() -> Result<(), OpenError> {
    // SAFETY: takes two numbers, on any thread. The functions that are used have not changed since version 7.1, whose
    // declarations are compiled in, so that the newer versions may be claimed as the header's.
    match eval(unsafe { sys::fdb_select_api_version_impl(API_VERSION, API_VERSION) }) {
        Ok(()) => {}
        Err(error) if error.code() == API_VERSION_ALREADY_SET => {}
        Err(error) if error.code() == API_VERSION_NOT_SUPPORTED => {
            return Err(OpenError::FoundationDbClient { what: too_old() });
        }
        Err(error) => return Err(OpenError::FoundationDbClient { what: describe(error) }),
    }
    // SAFETY: the API version is selected.
    match eval(unsafe { sys::fdb_setup_network() }) {
        Ok(()) => {}
        Err(error) if error.code() == NETWORK_ALREADY_SETUP => return Ok(()),
        Err(error) => return Err(OpenError::FoundationDbClient { what: describe(error) }),
    }
    let network = spawn("fdbray-fdb", || {
        // SAFETY: the network is set up, and no other thread runs it. It is stopped before the process exits.
        if let Err(error) = eval(unsafe { sys::fdb_run_network() }) {
            tracing::error!(%error, "FoundationDB's network thread ended");
        }
    })?;
    let stopper = spawn("fdbray-fdb-stop", || {
        while !STOP.load(Ordering::Acquire) {
            std::thread::park();
        }
        // SAFETY: the network is set up.
        if eval(unsafe { sys::fdb_stop_network() }).is_ok() {
            // It can only have panicked, which the panic hook reported.
            let _ = network.join();
        }
    })?;
    *STOPPER.lock().unwrap_or_else(PoisonError::into_inner) = Some(stopper);
    Ok(())
}

/// Has the network thread stopped when the process exits, not sooner, since stores may be opened again until then. To be
/// called when the client has done something: what exists by then still does when the network thread is stopped.
pub(super) fn stop_at_exit() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        // SAFETY: `stop` does not unwind, and needs nothing that is gone when a process exits.
        if unsafe { libc::atexit(stop) } != 0 {
            tracing::warn!(
                "FoundationDB's network thread will not be stopped in order when the process exits"
            );
        }
    });
}

extern "C" fn stop() {
    let stopper = STOPPER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(stopper) = stopper {
        STOP.store(true, Ordering::Release);
        stopper.thread().unpark();
        let _ = stopper.join();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|error| OpenError::FoundationDbClient {
        what: format!("a thread cannot be started: {error}"),
    })
}

fn too_old() -> String {
    // SAFETY: needs nothing, on any thread.
    let newest = unsafe { sys::fdb_get_max_api_version() };
    format!(
        "this program asks for API version {API_VERSION}, and the installed client knows none above {newest}; install a \
         newer client, or build the program with fdbray's feature `foundationdb` alone"
    )
}

fn eval(code: sys::fdb_error_t) -> FdbResult<()> {
    if code == 0 { Ok(()) } else { Err(FdbError::from_code(code)) }
}
