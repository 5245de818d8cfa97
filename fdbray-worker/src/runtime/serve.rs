//! What the network asks of this process: sessions that come and go, frames, and values to serve.

use super::{Process, local::Local, marks::Marks, news::News, outside::Links};
use crate::{
    id::{ObjectId, ProcessId},
    net::{Ended, HandshakeError, Host, Link, Soon},
    payload::Payload,
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, OnceLock, Weak},
};

/// The process as the network sees it.
pub(crate) struct Served {
    process: OnceLock<Weak<Process>>,
    links: Arc<Links>,
    /// This process's executable.
    build: u64,
}

impl Served {
    pub fn new(process: &Arc<Process>, links: Arc<Links>, build: u64) -> Self {
        Served { process: OnceLock::from(Arc::downgrade(process)), links, build }
    }

    fn process(&self) -> Option<Arc<Process>> {
        self.process.get()?.upgrade()
    }
}

impl Host for Served {
    fn connected(&self, link: &Arc<Link>, fresh: bool, peer_received: u64) {
        let Some(process) = self.process() else { return };
        let marks = self.links.add(link);
        if let (Some(marks), Some(pid)) = (marks, process.outside().and_then(|o| o.pid_of(link.peer()))) {
            Local::note_marks(pid, marks);
        }
        process.shared().session_began();
        let foreign = link.peer_hello().build != self.build;
        process.with_core(false, |core, fx| {
            core.met(link.peer(), foreign);
            core.connected(link.peer(), !link.same_host(), fresh, peer_received, fx)
        });
    }

    fn received(&self, peer: ProcessId, _nonce: u64) -> Option<u64> {
        self.process()?.with_core(false, |core, _| core.received(peer))
    }

    fn frames(&self, link: &Arc<Link>, frames: Bytes) -> Result<(), String> {
        let Some(process) = self.process() else { return Err("this process has ended".to_owned()) };
        process.with_core(true, |core, fx| core.receive(link.peer(), &frames, fx)).map_err(|e| e.to_string())
    }

    fn outgoing(&self, link: &Arc<Link>, out: &mut VecDeque<Bytes>) {
        if let Some(process) = self.process() {
            process.take_outgoing(link.peer(), out);
        }
    }

    fn disconnected(&self, link: &Arc<Link>) {
        if let Some(process) = self.process() {
            process.with_core(false, |core, _| core.disconnected(link.peer()));
        }
    }

    fn ended(&self, peer: ProcessId, _nonce: u64, why: &Ended) {
        let Some(process) = self.process() else { return };
        self.links.remove(peer);
        let refused = match why {
            Ended::Handshake(e) if !e.retryable() => Some(e.to_string()),
            _ => None,
        };
        tracing::debug!("the session with {peer} is over: {why}");
        // Whoever lives may start what it has until it notices that the session is over.
        let exited = *why == Ended::Exited;
        if exited {
            self.links.departed(peer);
        }
        let marks = self.links.take_marks(peer);
        let started = |lease| marks(lease).filter(|_| exited);
        process.with_core(true, |core, fx| core.ended_session(peer, refused.as_deref(), &started, fx));
        if let Some(members) = process.outside().and_then(super::outside::Outside::members) {
            members.look_at(peer);
        }
    }

    fn rejected(&self, _peer: Option<ProcessId>, _why: &HandshakeError) {
        // The network has logged it.
    }

    fn object(&self, id: ObjectId, attempt: u32) -> Soon<Payload> {
        self.process().map_or(Soon::Now(None), |process| process.object(id, attempt))
    }

    fn asked(&self, link: &Arc<Link>, question: Bytes) -> Soon<Bytes> {
        self.process().map_or(Soon::Now(None), |process| {
            process.shared().asked(link, &question, |id, attempt| process.object(id, attempt))
        })
    }

    fn told(&self, _link: &Arc<Link>, news: Bytes) {
        let Some(process) = self.process() else { return };
        match News::decode(&news) {
            Some(News::Mail) => {
                if let Some(durables) = process.outside().and_then(|outside| outside.durables()) {
                    durables.has_mail();
                }
            }
            None => {}
        }
    }

    fn hand_over(&self, _peer: ProcessId) -> Vec<OwnedFd> {
        let Some(process) = self.process() else { return Vec::new() };
        let marks = process.marks().and_then(|marks: &Marks| marks.fd().try_clone_to_owned().ok());
        // See `outside::handed`.
        process.shared().descriptor().into_iter().chain(marks).collect()
    }
}
