//! What the network asks of the process that it serves.

use super::{
    error::{Ended, HandshakeError},
    link::Link,
};
use crate::{
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use bytes::Bytes;
use std::{collections::VecDeque, os::fd::OwnedFd, sync::Arc};
use tokio::sync::oneshot;

/// The runtime, as the network sees it. All but `outgoing` and `object` are called on the I/O thread and none while
/// one of the network's locks is held, but for `outgoing`; none may block.
pub trait Host: Send + Sync + 'static {
    /// A session stands: a new one (`fresh`), or one that goes on over another connection, where the peer has
    /// everything up to number `peer_received` and is to be sent the rest again. `outgoing` is asked next.
    ///
    /// A session's `connected(fresh)` comes before all else of it, and is followed by exactly one `ended`.
    fn connected(&self, link: &Arc<Link>, fresh: bool, peer_received: u64);

    /// The last frame number that this process has of a session with `peer`; `None` when it knows of no such session.
    /// When this is called, nothing more arrives over the session's old connection.
    fn received(&self, peer: ProcessId, nonce: u64) -> Option<u64>;

    /// Whole frames that arrived together, one after the other. They share one buffer with what arrived around them:
    /// a small piece that is kept for long should be copied.
    ///
    /// # Errors
    /// What is wrong with them; the session ends.
    fn frames(&self, link: &Arc<Link>, frames: Bytes) -> Result<(), String>;

    /// Adds what is to be sent now, as whole frames. Called on any thread that calls [`Link::flush`], and on the I/O
    /// thread, by one at a time, under the link's lock: the order of the calls is the order on the wire. What was given
    /// and did not arrive because the connection broke is to be given again after `connected`.
    fn outgoing(&self, link: &Arc<Link>, out: &mut VecDeque<Bytes>);

    /// The session's TCP connection broke; `connected` or `ended` follows.
    fn disconnected(&self, link: &Arc<Link>);

    /// The session is over, or dialling `peer` came to nothing and it never was (then nothing else was told of it).
    /// The peer may be dialled again at once.
    fn ended(&self, peer: ProcessId, nonce: u64, why: &Ended);

    /// The object that a peer asks for, as `attempt` gave it; 0: as any did. Called on the thread of the bulk lane.
    fn object(&self, id: ObjectId, attempt: u32) -> Soon<Payload>;

    /// A [question](Link::ask) of the peer's; by default there is no answer.
    fn asked(&self, link: &Arc<Link>, question: Bytes) -> Soon<Bytes> {
        let _ = (link, question);
        Soon::Now(None)
    }

    /// What the peer [tells](Link::tell); by default nobody listens.
    fn told(&self, link: &Arc<Link>, news: Bytes) {
        let _ = (link, news);
    }

    /// File descriptors to hand to `peer` over its Unix socket, at most [`MAX_FDS`](super::MAX_FDS); by default none.
    fn hand_over(&self, peer: ProcessId) -> Vec<OwnedFd> {
        let _ = peer;
        Vec::new()
    }

    /// Somebody who dialled was turned away; `peer` when it proved who it is. By default nothing: it is logged.
    fn rejected(&self, peer: Option<ProcessId>, why: &HandshakeError) {
        let _ = (peer, why);
    }
}

/// What the runtime has for a peer, if anything: here, or on its way from a disk.
#[derive(Debug)]
pub enum Soon<T> {
    /// Here.
    Now(Option<T>),
    /// It comes here; if the other end is dropped, there is nothing.
    Later(oneshot::Receiver<Option<T>>),
}
