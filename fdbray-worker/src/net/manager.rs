//! The sessions of a process: one with each peer, whoever dials.

use super::{
    Host, connect,
    error::{Ended, HandshakeError},
    handshake::{self, Accepted, Ask, Caller},
    hello::{Lane, Refusal},
    link::{Link, NewLink, PeerHello},
    options::Options,
    session,
    socket::Socket,
};
use crate::id::ProcessId;
use rustc_hash::FxHashMap;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

/// The sessions of a process.
pub(crate) struct Manager {
    pub(crate) options: Options,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) addresses: Vec<String>,
    pub(crate) bulk: super::bulk::Lane,
    /// Held for look-ups and changes only, never while the host is called.
    peers: Mutex<FxHashMap<ProcessId, Peer>>,
    /// Why who was turned away, and when that was last logged.
    said: Mutex<FxHashMap<(Option<ProcessId>, String), Instant>>,
    /// Somebody's session has begun, or somebody is being dialled.
    stirred: Notify,
    /// No session begins any more. Set under the lock of `peers`.
    stopped: AtomicBool,
}

#[derive(Default)]
struct Peer {
    link: Option<Arc<Link>>,
    /// While this process dials the peer: closes when that has come to an end.
    dialling: Option<watch::Receiver<()>>,
    /// The nonce that this process last proposed.
    proposed: Option<u64>,
    /// How many sessions there have been.
    sessions: u64,
    /// How often this process has dialled it.
    dials: u64,
    /// How many wait for the connection that the peer makes by itself, because it cannot be dialled.
    waiting: u32,
}

impl Manager {
    pub(crate) fn new(
        options: Options,
        host: Arc<dyn Host>,
        addresses: Vec<String>,
        bulk: super::bulk::Lane,
    ) -> Arc<Self> {
        Arc::new(Manager {
            options,
            host,
            addresses,
            bulk,
            peers: Mutex::default(),
            said: Mutex::default(),
            stirred: Notify::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// The session with `peer`.
    pub(crate) fn link(&self, peer: ProcessId) -> Option<Arc<Link>> {
        self.peers().get(&peer)?.link.clone()
    }

    /// Whether this process is dialling `peer`.
    #[cfg(test)]
    pub(crate) fn is_dialling(&self, peer: ProcessId) -> bool {
        self.peers().get(&peer).is_some_and(|entry| entry.dialling.is_some())
    }

    /// Lets no session begin any more; gives those that there are.
    pub(crate) fn stop(&self) -> Vec<Arc<Link>> {
        let peers = self.peers();
        self.stopped.store(true, Ordering::Relaxed);
        peers.values().filter_map(|peer| peer.link.clone()).collect()
    }

    /// Brings about a session with `peer`, unless there is one or somebody is at it.
    pub(crate) async fn dial(self: Arc<Self>, peer: ProcessId, addresses: Vec<String>) {
        let Ok(nonce) = super::random() else {
            self.host.ended(peer, 0, &Ended::Here("the system gives no randomness".into()));
            return;
        };
        let (done, dialling) = watch::channel(());
        let (before, dials) = {
            let mut peers = self.peers();
            let entry = peers.entry(peer).or_default();
            if entry.link.is_some() || entry.dialling.is_some() || entry.waiting > 0 && addresses.is_empty() {
                return;
            }
            entry.dialling = Some(dialling);
            entry.proposed = Some(nonce);
            entry.dials += 1;
            self.stirred.notify_waiters();
            (entry.sessions, entry.dials)
        };
        let connected = self.connect(peer, nonce, &addresses).await;
        let failed = match connected {
            Ok((socket, accepted, route)) => {
                let (link, resumes) =
                    self.new_link(accepted.theirs, accepted.fds, &socket, Some(route), accepted.stale);
                if self.install(&link, false).await {
                    tokio::spawn(session::run(self.clone(), link, socket, resumes));
                    None
                } else {
                    // Counts only when no other session has begun.
                    Some(Ended::Here("the network of this process has been stopped".into()))
                }
            }
            Err(why) => Some(why),
        };
        let begun = {
            let mut peers = self.peers();
            let entry = peers.entry(peer).or_default();
            entry.dialling = None;
            entry.sessions != before
        };
        drop(done);
        let dialled = addresses.iter().any(|address| address.starts_with("tcp:"));
        match failed {
            // The peer's connection stays instead, and the host knows of that one.
            Some(_) if begun => {}
            Some(Ended::Refused(_)) if !dialled && self.comes_by_itself(peer, before, dials).await => {}
            Some(why) => {
                tracing::debug!(%peer, %why, "dialling came to nothing");
                self.host.ended(peer, nonce, &why);
            }
            None => {}
        }
        self.prune(peer);
    }

    /// Waits for the connection that a peer makes which cannot be dialled, or not from here. False if none came, and nobody
    /// has dialled it since.
    async fn comes_by_itself(&self, peer: ProcessId, before: u64, dials: u64) -> bool {
        let deadline = Instant::now() + self.options.patience;
        self.peers().entry(peer).or_default().waiting += 1;
        let came = loop {
            let stirred = self.stirred.notified();
            tokio::pin!(stirred);
            stirred.as_mut().enable();
            let come =
                |entry: &Peer| entry.sessions != before || entry.dials != dials || entry.link.is_some();
            if self.peers().get(&peer).is_some_and(come) {
                break true;
            }
            if timeout_at(deadline, stirred).await.is_err() {
                break false;
            }
        };
        if let Some(entry) = self.peers().get_mut(&peer) {
            entry.waiting -= 1;
        }
        came
    }

    /// Tries one address after the other; gives also those that a broken connection is to be made again with.
    async fn connect(
        &self,
        peer: ProcessId,
        nonce: u64,
        addresses: &[String],
    ) -> Result<(Socket, Accepted, Vec<String>), Ended> {
        let ask = Ask { to: peer, nonce, lane: Lane::Control, resume: None };
        let of = |kind: &str| addresses.iter().filter(|a| a.starts_with(kind)).cloned().collect::<Vec<_>>();
        let unix = if self.options.tcp_only { Vec::new() } else { of("unix:") };
        let tcp = of("tcp:");
        let mut mismatch = None;
        let mut refused = String::new();
        for address in unix.iter().chain(&tcp) {
            let socket = match connect::first(std::slice::from_ref(address)).await {
                Ok(socket) => socket,
                Err(failed) => {
                    let and = if refused.is_empty() { "" } else { ", " };
                    refused = format!("{refused}{and}{}", failed.why);
                    continue;
                }
            };
            let fds = if socket.is_unix() { self.host.hand_over(peer) } else { Vec::new() };
            match handshake::dial(&socket, &self.options, &self.addresses, ask, fds).await {
                Ok(accepted) => {
                    let route = if socket.is_unix() { vec![address.clone()] } else { tcp };
                    return Ok((socket, accepted, route));
                }
                Err(e) if e.retryable() => mismatch = Some(e),
                Err(e) => return Err(e.into()),
            }
        }
        Err(match mismatch {
            Some(e) => e.into(),
            None if refused.is_empty() => {
                Ended::Refused("it has no address that this process could dial".into())
            }
            None => Ended::Refused(refused),
        })
    }

    /// Takes in a connection that somebody made.
    pub(crate) async fn take_in(self: Arc<Self>, socket: Socket) {
        let mut proven = None;
        let caller = match Caller::receive(socket, &self.options, &self.addresses, &mut proven).await {
            Ok(caller) => Box::new(caller),
            Err(e) => return self.rejected(proven, &e),
        };
        let (peer, nonce) = (caller.theirs.from, caller.theirs.nonce);
        let link = self.link(peer).filter(|link| link.nonce() == nonce);
        match (caller.theirs.lane, caller.theirs.resume, link) {
            (Lane::Control, None, _) => self.welcome(caller).await,
            (Lane::Control, Some(_), Some(link)) => match link.offer(caller) {
                // One more is waiting already: this one closes, and the peer tries again if need be.
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(caller)) => {
                    caller.refuse(&self.options, Refusal::UnknownSession).await;
                }
            },
            (Lane::Bulk, _, Some(link)) => match caller.accept(&self.options, 0, None, Vec::new()).await {
                Ok(socket) => super::bulk::attach(&self, &link, socket),
                Err(e) => self.rejected(Some(peer), &e),
            },
            (_, _, None) => caller.refuse(&self.options, Refusal::UnknownSession).await,
        }
    }

    /// Begins the session that a peer asks for.
    async fn welcome(self: Arc<Self>, mut caller: Box<Caller>) {
        let (peer, nonce) = (caller.theirs.from, caller.theirs.nonce);
        let proposed = || self.peers().get(&peer).and_then(|entry| entry.proposed);
        let proposed_before = proposed();
        if self.options.process < peer {
            // Both may be dialling, and then this process's connection stays: wait for what comes of it, but not
            // until the peer gives up.
            let dialling = self.peers().get(&peer).and_then(|entry| entry.dialling.clone());
            if let Some(mut dialling) = dialling {
                let _ = timeout(self.options.silence / 2, dialling.changed()).await;
            }
        }
        if self.link(peer).is_some_and(|link| link.nonce() == nonce || link.is_stale(nonce)) {
            return caller.refuse(&self.options, Refusal::Superseded).await;
        }
        let same_host = caller.socket.is_unix();
        let fds = std::mem::take(&mut caller.fds);
        let (link, resumes) = self.new_link(caller.theirs.clone(), fds, &caller.socket, None, None);
        if !self.install(&link, true).await {
            return;
        }
        let proposed = proposed().or(proposed_before);
        let fds = if same_host { self.host.hand_over(peer) } else { Vec::new() };
        match caller.accept(&self.options, 0, proposed, fds).await {
            Ok(socket) => {
                tokio::spawn(session::run(self.clone(), link, socket, resumes));
            }
            Err(e) => {
                self.rejected(Some(peer), &e);
                self.forget(&link);
                link.finish();
            }
        }
    }

    fn new_link(
        &self,
        theirs: super::hello::Hello,
        fds: Vec<std::os::fd::OwnedFd>,
        socket: &Socket,
        route: Option<Vec<String>>,
        stale: Option<u64>,
    ) -> (Arc<Link>, mpsc::Receiver<Box<Caller>>) {
        let nonce = theirs.nonce;
        let same_host = socket.is_unix();
        let running = if same_host { socket.peer_process() } else { None };
        let peer = PeerHello::new(theirs, fds, running);
        Link::new(NewLink { host: self.host.clone(), peer, nonce, same_host, route, stale })
    }

    /// Makes `link` the session with its peer; an older one ends first, and the host knows that it did.
    /// `false` when the older one stays instead, or the network has been stopped.
    async fn install(&self, link: &Arc<Link>, accepted: bool) -> bool {
        loop {
            let older = {
                let mut peers = self.peers();
                if self.stopped.load(Ordering::Relaxed) {
                    return false;
                }
                let entry = peers.entry(link.peer()).or_default();
                match &entry.link {
                    None => {
                        entry.link = Some(link.clone());
                        entry.sessions += 1;
                        self.stirred.notify_waiters();
                        return true;
                    }
                    Some(older) => older.clone(),
                }
            };
            if !accepted && self.options.process < link.peer() {
                // It was accepted while this process dialled, and the peer has been told so.
                return false;
            }
            older.close(Ended::Replaced);
            older.finished().await;
        }
    }

    /// Takes a session out of the table.
    pub(crate) fn forget(&self, link: &Link) {
        if let Some(entry) = self.peers().get_mut(&link.peer())
            && entry.link.as_ref().is_some_and(|of| of.nonce() == link.nonce())
        {
            entry.link = None;
        }
        self.prune(link.peer());
    }

    /// Forgets a peer that there is nothing to know of.
    fn prune(&self, peer: ProcessId) {
        let mut peers = self.peers();
        let idle = |entry: &Peer| entry.link.is_none() && entry.dialling.is_none() && entry.waiting == 0;
        if peers.get(&peer).is_some_and(idle) {
            peers.remove(&peer);
        }
    }

    fn rejected(&self, peer: Option<ProcessId>, e: &HandshakeError) {
        match e {
            // Whoever knocks to see whether this process lives says no more than that.
            HandshakeError::Broken(_) => tracing::debug!(error = %e, "a handshake did not come to its end"),
            _ if self.says_again(peer, e) => {
                tracing::debug!(error = %e, "a connection was turned away again")
            }
            _ => match peer {
                Some(peer) => tracing::warn!(%peer, error = %e, "a connection was turned away"),
                None => tracing::warn!(error = %e, "a connection was turned away"),
            },
        }
        self.host.rejected(peer, e);
    }

    /// Whether `e` was said of `peer` not long ago: whoever is turned away tries again and again.
    fn says_again(&self, peer: Option<ProcessId>, e: &HandshakeError) -> bool {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MOST_SAID {
            said.clear();
        }
        let before = said.insert((peer, e.to_string()), now);
        let again = before.filter(|before| now.duration_since(*before) < SILENCE);
        if let Some(before) = again {
            said.insert((peer, e.to_string()), before);
        }
        again.is_some()
    }

    fn peers(&self) -> MutexGuard<'_, FxHashMap<ProcessId, Peer>> {
        // Nothing that can panic happens under it.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same is logged of the same peer once in this time.
const SILENCE: Duration = Duration::from_secs(600);

/// Beyond so many different ones, what was said is forgotten.
const MOST_SAID: usize = 1024;
