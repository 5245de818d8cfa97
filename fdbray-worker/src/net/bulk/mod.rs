//! The bulk lane: objects, pulled over a second connection per session that a thread of its own serves.
//!
//! The side that dialled the session opens the connection when either needs it (the other asks with a frame of `net`'s
//! own), and again when it breaks while transfers wait; each side pulls over it. What is pulled lives in the session
//! ([`pull`]), so that a new connection goes on where the old one ended; what is served ([`serve`]) lives in a connection.
//!
//! A [transfer] brings one object, part by part ([`ranges`]), from everybody who has it, straight into the arena
//! ([`fetch()`]). Chunks carry a checksum, and are compressed where that pays for the link ([`pace`]).

mod carry;
mod fetch;
mod pace;
mod pull;
mod ranges;
mod serve;
mod transfer;
pub mod wire;

pub(crate) use fetch::fetch;
pub(crate) use pull::Bulk;
pub use transfer::Room;

use super::{
    connect,
    error::HandshakeError,
    frame::Own,
    handshake::{self, Ask},
    hello::Lane as Purpose,
    link::Link,
    manager::Manager,
    socket::Socket,
};
use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::sleep,
};

/// What the bulk lanes of a process share: the thread that serves them, and the budget.
#[derive(Debug)]
pub(crate) struct Lane {
    io: Handle,
    thread: OnceLock<Thread>,
    budget: Semaphore,
    /// How many permits there are: one for each [`UNIT`].
    permits: u32,
}

/// A thread with a runtime, which ends when this is dropped.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Lane {
    pub(crate) fn new(io: Handle, budget: u64) -> Self {
        let permits = (budget / UNIT).clamp(1, u64::from(u32::MAX >> 4)) as u32;
        Lane { io, thread: OnceLock::new(), budget: Semaphore::new(permits as usize), permits }
    }

    /// The runtime of the lane's thread, which starts when first needed.
    fn runtime(&self) -> io::Result<&Handle> {
        if let Some(thread) = self.thread.get() {
            return Ok(&thread.runtime);
        }
        let started = Thread::start()?;
        // If another thread was first, that one stays and this one ends.
        Ok(&self.thread.get_or_init(|| started).runtime)
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("fdbray-bulk".into()).spawn(move || {
            // Ends by an error: the sender is only ever dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Thread { runtime: handle, _stop: stop })
    }
}

/// Sees to a bulk connection when transfers of `link` wait for one.
pub(crate) fn open_if_wanted(manager: &Arc<Manager>, link: &Arc<Link>) {
    if !link.bulk().wanted() {
        return;
    }
    if link.dialled() {
        open(manager, link, false);
    } else {
        link.send_own(&Own::OpenBulk);
    }
}

/// Opens a bulk connection, unless there is one (when the peer has `asked` for it, there is none) or somebody is at it.
/// Only the side that dialled can.
pub(crate) fn open(manager: &Arc<Manager>, link: &Arc<Link>, asked: bool) {
    if link.dialled() && link.bulk().begin_opening(asked) {
        manager.bulk.io.spawn(opening(manager.clone(), link.clone()));
    }
}

async fn opening(manager: Arc<Manager>, link: Arc<Link>) {
    tokio::select! {
        socket = dial(&manager, &link) => match socket {
            Some(socket) => attach(&manager, &link, socket),
            None => link.bulk().fail_all(),
        },
        () = link.finished() => {}
    }
    link.bulk().end_opening();
    // That connection may have ended before it was said here that another can be opened.
    open_if_wanted(&manager, &link);
}

/// Dials until it succeeds; `None` when it never will.
async fn dial(manager: &Manager, link: &Link) -> Option<Socket> {
    let route = link.route()?;
    let ask = Ask { to: link.peer(), nonce: link.nonce(), lane: Purpose::Bulk, resume: None };
    let mut pause = FIRST_PAUSE;
    loop {
        if let Ok(socket) = connect::first(route).await {
            let dialled =
                handshake::dial(&socket, &manager.options, &manager.addresses, ask, Vec::new()).await;
            match dialled {
                Ok(_) => return Some(socket),
                Err(e @ HandshakeError::UnknownSession) => {
                    tracing::debug!(peer = %link.peer(), error = %e, "no bulk connection");
                    return None;
                }
                Err(e) if !e.retryable() => {
                    tracing::warn!(peer = %link.peer(), error = %e, "no bulk connection");
                    return None;
                }
                Err(_) => {}
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Uses `socket`, on which the handshake is done, as the bulk connection of `link`, in place of an older one.
pub(crate) fn attach(manager: &Arc<Manager>, link: &Arc<Link>, socket: Socket) {
    let unix = socket.is_unix();
    match manager.bulk.runtime() {
        Ok(runtime) => {
            link.bulk().begin_attaching();
            runtime.spawn(carry::run(manager.clone(), link.clone(), socket.into_fd(), unix));
        }
        Err(e) => {
            tracing::error!(error = %e, "the thread for bulk transfers did not start");
            link.bulk().fail_all();
        }
    }
}

/// Bytes that one permit of the budget stands for.
const UNIT: u64 = 4096;

/// Between two attempts to open a connection.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Between two attempts to open a connection, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
