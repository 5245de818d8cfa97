//! A session with a peer as the rest of the process sees it: who it is, and sending to it from any thread.

use super::{
    Host, ask::Asks, bulk::Bulk, error::Ended, frame::Own, handshake::Caller, hello::Hello, options::Role,
    socket::Socket,
};
use crate::id::ProcessId;
use bytes::Bytes;
use std::{
    collections::VecDeque,
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
};
use tokio::sync::{Notify, mpsc, watch};

/// A session with a peer. It outlives the TCP connections that carry it.
pub struct Link {
    host: Arc<dyn Host>,
    peer: PeerHello,
    nonce: u64,
    same_host: bool,
    /// Where to dial for another connection; `None` when the peer dialled.
    route: Option<Vec<String>>,
    /// A nonce that the peer proposed in an attempt that came to nothing: seen again, it is no new session.
    stale: Option<u64>,
    bulk: Bulk,
    asks: Asks,

    /// Who holds it sends. Always taken before the host's own lock (in `Host::outgoing`), never waited for by a
    /// thread that may hold that one: [`Link::flush`] only tries.
    write: Mutex<Writing>,
    /// Somebody found `write` taken and wants its holder to look once more.
    again: AtomicBool,
    /// The writer has been woken and has not yet taken what there is to send.
    flagged: AtomicBool,
    writer: Notify,

    end: OnceLock<Ended>,
    ending: Notify,
    finished: watch::Sender<bool>,
    resumes: mpsc::Sender<Box<Caller>>,
}

/// What a peer said of itself, and handed over, when the session began.
#[derive(Debug)]
pub struct PeerHello {
    /// Who it is.
    pub process: ProcessId,
    /// What it does.
    pub role: Role,
    /// Its executable.
    pub build: u64,
    /// Where it can be dialled; empty when nowhere.
    pub addresses: Vec<String>,
    /// What its [`Host::hand_over`] gave, on a Unix socket.
    pub fds: Vec<OwnedFd>,
    /// The process itself, on a Unix socket: becomes readable when it exits.
    pub running: Option<OwnedFd>,
}

impl PeerHello {
    pub(crate) fn new(hello: Hello, fds: Vec<OwnedFd>, running: Option<OwnedFd>) -> Self {
        let Hello { from, role, build, addresses, .. } = hello;
        PeerHello { process: from, role, build, addresses, fds, running }
    }
}

/// The sending half of a session's connection.
#[derive(Default)]
struct Writing {
    /// The connection, when there is one and the host knows of it.
    socket: Option<Arc<Socket>>,
    /// What was taken from the host and is not wholly sent.
    queue: VecDeque<Bytes>,
    /// Frames of `net`'s own, to be sent next.
    own: VecDeque<Bytes>,
    /// The socket was full: only the writer goes on.
    blocked: bool,
}

/// What a new link is made of.
pub(crate) struct NewLink {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) peer: PeerHello,
    pub(crate) nonce: u64,
    pub(crate) same_host: bool,
    pub(crate) route: Option<Vec<String>>,
    pub(crate) stale: Option<u64>,
}

impl Link {
    pub(crate) fn new(of: NewLink) -> (Arc<Self>, mpsc::Receiver<Box<Caller>>) {
        let NewLink { host, peer, nonce, same_host, route, stale } = of;
        let (resumes, receiver) = mpsc::channel(1);
        let link = Link {
            bulk: Bulk::new(peer.process),
            asks: Asks::default(),
            host,
            peer,
            nonce,
            same_host,
            route,
            stale,
            write: Mutex::default(),
            again: AtomicBool::new(false),
            flagged: AtomicBool::new(false),
            writer: Notify::new(),
            end: OnceLock::new(),
            ending: Notify::new(),
            finished: watch::channel(false).0,
            resumes,
        };
        (Arc::new(link), receiver)
    }

    /// The process at the other end.
    pub fn peer(&self) -> ProcessId {
        self.peer.process
    }

    /// What tells this session from others with the same peer.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Whether the peer is on this host: it is reached over its Unix socket.
    pub fn same_host(&self) -> bool {
        self.same_host
    }

    /// Whether this process dialled.
    pub fn dialled(&self) -> bool {
        self.route.is_some()
    }

    /// What the peer said of itself.
    pub fn peer_hello(&self) -> &PeerHello {
        &self.peer
    }

    /// Sends what the host has for this peer, on the calling thread. It never waits for another sender or for the
    /// network: a thread that is sending already looks again before it stops, and what the socket has no room for is
    /// sent by the writer on the I/O thread. It calls `Host::outgoing`, so that no lock which that takes may be held.
    pub fn flush(self: &Arc<Self>) {
        self.again.store(true, Ordering::SeqCst);
        loop {
            // With the fence below: either this thread gets the lock, or its holder sees the flag.
            fence(Ordering::SeqCst);
            let mut writing = match self.write.try_lock() {
                Ok(writing) => writing,
                Err(std::sync::TryLockError::Poisoned(e)) => e.into_inner(),
                Err(std::sync::TryLockError::WouldBlock) => return,
            };
            self.again.store(false, Ordering::SeqCst);
            if !writing.blocked {
                self.send(&mut writing);
            }
            drop(writing);
            fence(Ordering::SeqCst);
            if !self.again.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Has the I/O thread send what the host has for this peer. Costs one atomic operation unless it is the first
    /// call since the writer last took what there was. May be called under any lock.
    pub fn wake_writer(&self) {
        if !self.flagged.swap(true, Ordering::AcqRel) {
            self.writer.notify_one();
        }
    }

    /// Sends what is left over, then what there is, until the socket is full.
    fn send(self: &Arc<Self>, writing: &mut Writing) {
        let Some(socket) = writing.socket.clone() else { return };
        let sent = (|| {
            if !socket.try_send(&mut writing.queue)? {
                return Ok(false);
            }
            self.host.outgoing(self, &mut writing.queue);
            // Last: a goodbye comes after everything else.
            writing.queue.append(&mut writing.own);
            socket.try_send(&mut writing.queue)
        })();
        match sent {
            Ok(true) => writing.blocked = false,
            Ok(false) => {
                if !writing.blocked {
                    writing.blocked = true;
                    self.writer.notify_one();
                }
            }
            Err(e) => {
                // The reader notices, after it has read what arrived before.
                tracing::debug!(peer = %self.peer(), error = %e, "sending failed");
                writing.detach();
                socket.shutdown();
            }
        }
    }

    /// The writer: sends when woken, and goes on where the socket was full.
    pub(crate) async fn write(self: Arc<Self>, socket: Arc<Socket>) {
        loop {
            self.writer.notified().await;
            // Taken before the host is asked, so that what is added later wakes again.
            self.flagged.swap(false, Ordering::AcqRel);
            loop {
                self.flush();
                let blocked = self.writing().blocked;
                if blocked {
                    let sent = socket
                        .send_with(|| {
                            let mut writing = self.writing();
                            self.send(&mut writing);
                            Ok(!writing.blocked)
                        })
                        .await;
                    if let Err(e) = sent {
                        tracing::debug!(peer = %self.peer(), error = %e, "waiting for room failed");
                        socket.shutdown();
                        return;
                    }
                } else if !self.again.load(Ordering::SeqCst) {
                    // Nobody found the lock taken while this thread only looked.
                    break;
                }
            }
        }
    }

    /// Lets the session use a connection. The host must know of it already.
    pub(crate) fn attach(self: &Arc<Self>, socket: Arc<Socket>) {
        {
            let mut writing = self.writing();
            writing.detach();
            writing.socket = Some(socket);
        }
        self.flush();
        // Whoever set the flag meanwhile found no connection.
        self.writer.notify_one();
    }

    /// Takes the connection from the session; from here on the host is asked for nothing.
    pub(crate) fn detach(&self) {
        self.writing().detach();
    }

    /// Sends a frame of `net`'s own, after those that the host has.
    pub(crate) fn send_own(&self, own: &Own) {
        self.writing().own.push_back(own.encode());
        self.wake_writer();
    }

    /// Whether everything given so far is with the kernel, or there is no connection to give it to.
    pub(crate) fn is_flushed(&self) -> bool {
        let flushed = {
            let writing = self.writing();
            writing.socket.is_none() || writing.queue.is_empty() && writing.own.is_empty()
        };
        // Somebody may have found the lock taken meanwhile.
        if self.again.load(Ordering::SeqCst) {
            self.wake_writer();
        }
        flushed
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn close(&self, why: Ended) {
        // An earlier reason stays.
        let _ = self.end.set(why);
        self.ending.notify_one();
    }

    /// Waits until somebody ends the session.
    pub(crate) async fn closed(&self) -> Ended {
        loop {
            if let Some(end) = self.end.get() {
                return end.clone();
            }
            self.ending.notified().await;
        }
    }

    /// Says that the host knows of the end.
    pub(crate) fn finish(&self) {
        self.finished.send_replace(true);
    }

    /// Waits for that.
    pub(crate) async fn finished(&self) {
        // The sender lives in `self`.
        let _ = self.finished.subscribe().wait_for(|finished| *finished).await;
    }

    /// Hands a connection that is to resume the session to its task.
    ///
    /// # Errors
    /// The session is over, or another such connection waits.
    pub(crate) fn offer(&self, caller: Box<Caller>) -> Result<(), mpsc::error::TrySendError<Box<Caller>>> {
        self.resumes.try_send(caller)
    }

    pub(crate) fn route(&self) -> Option<&[String]> {
        self.route.as_deref()
    }

    pub(crate) fn is_stale(&self, nonce: u64) -> bool {
        self.stale == Some(nonce)
    }

    pub(crate) fn asks(&self) -> &Asks {
        &self.asks
    }

    pub(crate) fn bulk(&self) -> &Bulk {
        &self.bulk
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // What a panicking host left is whole frames: it only appends.
        self.write.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the connection as a broken network would.
    #[cfg(test)]
    pub(crate) fn cut(&self) {
        if let Some(socket) = &self.writing().socket {
            socket.shutdown();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer())
            .field("nonce", &self.nonce)
            .field("same_host", &self.same_host)
            .finish_non_exhaustive()
    }
}

impl Writing {
    fn detach(&mut self) {
        self.socket = None;
        self.queue.clear();
        self.own.clear();
        self.blocked = false;
    }
}
