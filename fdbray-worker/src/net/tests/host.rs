//! A host that numbers its frames and sends again what a broken connection lost, as the core does.

use super::PATIENCE;
use crate::{
    id::{ObjectId, ProcessId},
    net::{
        Ended, HandshakeError, Host, Link, Soon,
        frame::{HEADER, Header},
    },
    payload::Payload,
};
use bytes::{BufMut, Bytes, BytesMut};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) enum Event {
    Connected { fresh: bool, nonce: u64 },
    Disconnected,
    Ended(Ended),
    Rejected(HandshakeError),
}

pub(super) struct TestHost {
    happened: Sender<Event>,
    events: Mutex<Receiver<Event>>,
    sessions: Mutex<HashMap<ProcessId, Session>>,
    arrived: Condvar,
    pub(super) objects: Mutex<HashMap<ObjectId, Payload>>,
    /// The attempts that gave them, where that is told.
    pub(super) attempts: Mutex<BTreeMap<ObjectId, u32>>,
    /// Objects that come when the other end says so.
    pub(super) later: Mutex<HashMap<ObjectId, oneshot::Receiver<Option<Payload>>>>,
    pub(super) files: Mutex<Vec<OwnedFd>>,
    served: AtomicUsize,
}

#[derive(Default)]
struct Session {
    nonce: u64,
    /// What the caller wants sent.
    queue: VecDeque<Bytes>,
    /// What was given to the network and may have to be given again.
    unacknowledged: VecDeque<(u64, Bytes)>,
    again: VecDeque<(u64, Bytes)>,
    sent: u64,
    received: u64,
    payloads: Vec<Bytes>,
}

impl TestHost {
    pub(super) fn new() -> Arc<Self> {
        let (happened, events) = channel();
        Arc::new(TestHost {
            happened,
            events: Mutex::new(events),
            sessions: Mutex::default(),
            arrived: Condvar::new(),
            objects: Mutex::default(),
            attempts: Mutex::default(),
            later: Mutex::default(),
            files: Mutex::default(),
            served: AtomicUsize::new(0),
        })
    }

    /// What happened next.
    pub(super) fn next(&self) -> Event {
        self.events.lock().unwrap().recv_timeout(PATIENCE).expect("nothing happens")
    }

    /// What happened and was not looked at.
    pub(super) fn pending(&self) -> Vec<Event> {
        self.events.lock().unwrap().try_iter().collect()
    }

    /// Queues a frame, without sending it.
    pub(super) fn queue(&self, to: ProcessId, payload: impl Into<Bytes>) {
        self.sessions.lock().unwrap().get_mut(&to).unwrap().queue.push_back(payload.into());
    }

    /// Waits until `count` frames have come from `peer`, and takes them.
    pub(super) fn take(&self, peer: ProcessId, count: usize) -> Vec<Bytes> {
        let mut sessions = self.sessions.lock().unwrap();
        loop {
            let payloads = &mut sessions.get_mut(&peer).unwrap().payloads;
            if payloads.len() >= count {
                return payloads.drain(..count).collect();
            }
            let (guard, waited) = self.arrived.wait_timeout(sessions, PATIENCE).unwrap();
            assert!(!waited.timed_out(), "the frames do not come");
            sessions = guard;
        }
    }

    /// For how many parts of objects this process was asked that it has.
    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    fn tell(&self, event: Event) {
        self.happened.send(event).unwrap();
    }
}

impl Host for TestHost {
    fn connected(&self, link: &Arc<Link>, fresh: bool, peer_received: u64) {
        let mut sessions = self.sessions.lock().unwrap();
        if fresh {
            sessions.insert(link.peer(), Session { nonce: link.nonce(), ..Session::default() });
        } else {
            let session = sessions.get_mut(&link.peer()).unwrap();
            session.unacknowledged.retain(|(seq, _)| *seq > peer_received);
            session.again = session.unacknowledged.clone();
        }
        drop(sessions);
        self.tell(Event::Connected { fresh, nonce: link.nonce() });
    }

    fn received(&self, peer: ProcessId, nonce: u64) -> Option<u64> {
        let sessions = self.sessions.lock().unwrap();
        sessions.get(&peer).filter(|s| s.nonce == nonce).map(|s| s.received)
    }

    fn frames(&self, link: &Arc<Link>, mut frames: Bytes) -> Result<(), String> {
        let mut sessions = self.sessions.lock().unwrap();
        let session = sessions.get_mut(&link.peer()).ok_or("no session")?;
        while let Some(header) = Header::decode(&frames) {
            let frame = frames.split_to(HEADER + header.len as usize);
            if header.seq != session.received + 1 {
                return Err(format!("frame {} follows frame {}", header.seq, session.received));
            }
            session.received = header.seq;
            session.unacknowledged.retain(|(seq, _)| *seq > header.ack);
            session.payloads.push(frame.slice(HEADER..));
        }
        self.arrived.notify_all();
        if frames.is_empty() { Ok(()) } else { Err("half a frame".into()) }
    }

    fn outgoing(&self, link: &Arc<Link>, out: &mut VecDeque<Bytes>) {
        let mut sessions = self.sessions.lock().unwrap();
        let session = sessions.get_mut(&link.peer()).expect("asked before it was connected");
        let ack = session.received;
        let mut give = |seq, payload: &Bytes| {
            let mut frame = BytesMut::with_capacity(HEADER + payload.len());
            frame.put_slice(&Header { len: payload.len() as u32, kind: 1, seq, ack }.encode());
            frame.put_slice(payload);
            out.push_back(frame.freeze());
        };
        for (seq, payload) in session.again.drain(..) {
            give(seq, &payload);
        }
        for payload in session.queue.drain(..) {
            session.sent += 1;
            give(session.sent, &payload);
            session.unacknowledged.push_back((session.sent, payload));
        }
    }

    fn disconnected(&self, _: &Arc<Link>) {
        self.tell(Event::Disconnected);
    }

    fn ended(&self, _: ProcessId, _: u64, why: &Ended) {
        self.tell(Event::Ended(why.clone()));
    }

    fn object(&self, id: ObjectId, attempt: u32) -> Soon<Payload> {
        if let Some(value) = self.later.lock().unwrap().remove(&id) {
            return Soon::Later(value);
        }
        let found = self.objects.lock().unwrap().get(&id).cloned();
        let has = self.attempts.lock().unwrap().get(&id).copied().unwrap_or(attempt);
        let found = found.filter(|_| attempt == 0 || has == attempt);
        self.served.fetch_add(usize::from(found.is_some()), Ordering::SeqCst);
        Soon::Now(found)
    }

    fn hand_over(&self, _: ProcessId) -> Vec<OwnedFd> {
        self.files.lock().unwrap().iter().map(|f| f.try_clone().unwrap()).collect()
    }

    fn rejected(&self, _: Option<ProcessId>, why: &HandshakeError) {
        self.tell(Event::Rejected(why.clone()));
    }
}
