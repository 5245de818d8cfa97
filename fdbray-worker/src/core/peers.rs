//! Who is there: members of the cluster, sessions with them, and what follows when one is gone.

use super::{
    Core, Effects,
    lease::LeaseName,
    message::{self, Message},
    session::{FrameError, HEADER, Header, Session},
    shape::Resources,
    ticket::Ticket,
};
use crate::id::{ObjectId, ProcessId};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A member of the cluster.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The process.
    pub id: ProcessId,
    /// What it can run at once; `None` for a driver.
    pub capacity: Option<Resources>,
}

/// Everybody that this process knows.
#[derive(Default)]
pub(super) struct Peers {
    pub all: BTreeMap<ProcessId, Peer>,
    /// What this process said to itself.
    loopback: Vec<u8>,
    me: Option<ProcessId>,
    /// Whether there may be workers without a session.
    pub lost: bool,
}

#[derive(Default)]
pub(super) struct Peer {
    /// Whether the cluster lists it.
    pub member: bool,
    pub capacity: Option<Resources>,
    /// What was said before there is a connection goes out with the first.
    pub session: Option<Session>,
    pub connected: bool,
    /// Whether the session ever had a connection.
    pub established: bool,
    /// Whether it runs another binary, so that functions have other places there.
    foreign: bool,
    /// Why it cannot be used, though it is a member.
    pub refused: Option<String>,
    /// How often in a row that turned out.
    pub refusals: u32,
    /// No new attempt to connect before this.
    pub not_before: super::Nanos,
}

impl Peers {
    /// Says `message` to `to`; `urgent` when the line is idle.
    pub fn say(&mut self, to: ProcessId, message: &Message<'_>, urgent: bool, fx: &mut Effects) {
        if self.me == Some(to) {
            return message::encode(message, &mut self.loopback);
        }
        let Some(peer) = self.all.get_mut(&to) else { return };
        match &mut peer.session {
            Some(session) => {
                let quiet = session.is_quiet();
                session.say(message);
                if quiet && peer.connected {
                    fx.flush(to, urgent);
                }
            }
            None => {
                let mut session = Session::new(true);
                session.say(message);
                peer.session = Some(session);
                fx.dial.push(to);
            }
        }
    }

    /// Members that execute and can be used, with what they have in all.
    pub fn workers(&self) -> impl Iterator<Item = (ProcessId, &Resources)> {
        let usable =
            self.all.iter().filter(|(id, p)| p.refused.is_none() && (p.member || Some(**id) == self.me));
        usable.filter_map(|(id, p)| Some((*id, p.capacity.as_ref()?)))
    }

    /// Members that execute and cannot be used: what they have, and why not.
    pub fn refused(&self) -> impl Iterator<Item = (ProcessId, &Resources, &str)> {
        self.all.iter().filter_map(|(id, p)| Some((*id, p.capacity.as_ref()?, p.refused.as_deref()?)))
    }

    pub fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (id, peer) in &self.all {
            let said = peer.session.as_ref().map(Session::waiting);
            write!(
                f,
                "\n  peer {id}: member {}, connected {}, unsent {said:?}",
                peer.member, peer.connected
            )?;
        }
        Ok(())
    }

    /// Makes sure that `id` is known: it may be in the list of members that another process has read already.
    pub fn meet(&mut self, id: ProcessId, fx: &mut Effects) {
        if self.me == Some(id) || self.all.get(&id).is_some_and(|p| p.member || p.session.is_some()) {
            return;
        }
        self.all.entry(id).or_default().session = Some(Session::new(true));
        fx.dial.push(id);
    }

    /// Sees to a session with `id`, if there is none.
    fn reach(&mut self, id: ProcessId, fx: &mut Effects) {
        let peer = self.all.entry(id).or_default();
        if peer.session.is_none() {
            peer.session = Some(Session::new(true));
            fx.dial.push(id);
        }
    }

    /// Whether there is a connection with `id`.
    pub fn reaches(&self, id: ProcessId) -> bool {
        self.me == Some(id) || self.all.get(&id).is_some_and(|p| p.connected)
    }

    /// Whether there may be workers without a session.
    pub fn anyone_lost(&self) -> bool {
        self.lost
    }

    /// Whether a connection to `id` stands, or may be tried now.
    pub fn reachable(&self, id: ProcessId, now: super::Nanos) -> bool {
        self.me == Some(id) || self.all.get(&id).is_some_and(|p| p.session.is_some() || p.not_before <= now)
    }
}

impl Core {
    /// This process leases from itself like from any other worker.
    pub(super) fn add_loopback(&mut self) {
        let me = self.me();
        self.peers.me = Some(me);
        let capacity = self.settings.capacity.clone();
        self.peers.all.insert(me, Peer { capacity, connected: true, ..Peer::default() });
    }

    /// The cluster lists a process.
    pub fn member_joined(&mut self, info: PeerInfo, fx: &mut Effects) {
        if info.id == self.me() {
            return;
        }
        let executes = info.capacity.is_some();
        let peer = self.peers.all.entry(info.id).or_default();
        peer.member = true;
        peer.refused = None;
        peer.capacity = info.capacity;
        // A connection that stands before the first call needs it saves that call the time. Whoever was dialled before it
        // was in the list is dialled where the list says.
        if executes && peer.session.is_none() {
            peer.session = Some(Session::new(true));
        }
        if peer.session.is_some() && !peer.connected {
            fx.dial.push(info.id);
        }
        self.dirty.extend(0..self.owner.queues());
        self.turn(fx);
    }

    /// The cluster lists a process no more. `dead`: it has ended for certain; then its session ends with it.
    pub fn member_left(
        &mut self,
        id: ProcessId,
        dead: bool,
        started: &dyn Fn(u32) -> Option<u32>,
        fx: &mut Effects,
    ) {
        let Some(peer) = self.peers.all.get_mut(&id).filter(|_| id != self.settings.me) else { return };
        peer.member = false;
        let connected = peer.connected;
        if dead {
            self.forget_caller(id);
        }
        if dead && connected {
            fx.close.push((id, "the cluster declared the process dead".to_owned()));
        }
        if dead || !connected {
            self.session_over(id, started, fx);
        }
        self.turn(fx);
    }

    /// Something is wanted of `peer`, with which there may be no session.
    pub fn reach(&mut self, peer: ProcessId, fx: &mut Effects) {
        if peer != self.me() {
            self.peers.reach(peer, fx);
        }
        self.turn(fx);
    }

    /// Whether `peer` runs another binary than this process, which allows that. To be told before it is connected.
    pub fn met(&mut self, peer: ProcessId, foreign: bool) {
        self.peers.all.entry(peer).or_default().foreign = foreign;
    }

    /// What `peer` is told to run for the function at `place` here.
    pub(super) fn function_for(&self, peer: ProcessId, place: u32) -> u64 {
        match self.peers.all.get(&peer).filter(|p| p.foreign).and(self.functions.get(place as usize)) {
            Some(name) => *name,
            None => place.into(),
        }
    }

    /// The place here of the function that `peer` wants run; one that no function has when there is none.
    pub(super) fn function_from(&self, peer: ProcessId, name: u64) -> u32 {
        let place = match self.peers.all.get(&peer) {
            Some(p) if p.foreign => self.places.get(&name).copied(),
            _ => u32::try_from(name).ok(),
        };
        place.unwrap_or(u32::MAX)
    }

    /// A connection to `peer` stands: the first of a session, or one that carries it on. `keeps` when the session
    /// outlives a broken connection.
    pub fn connected(
        &mut self,
        peer: ProcessId,
        keeps: bool,
        fresh: bool,
        peer_received: u64,
        fx: &mut Effects,
    ) {
        // The other side has begun anew, so it has forgotten all of the old session.
        if fresh && self.peers.all.get(&peer).is_some_and(|p| p.established) {
            self.session_over(peer, &|_| None, fx);
        }
        let entry = self.peers.all.entry(peer).or_default();
        entry.connected = true;
        entry.established = true;
        entry.refused = None;
        entry.refusals = 0;
        let session = entry.session.get_or_insert_with(|| Session::new(true));
        if fresh {
            session.set_keeps(keeps);
        } else {
            session.resumed(peer_received);
        }
        fx.flush(peer, false);
        self.dirty.extend(0..self.owner.queues());
        self.turn(fx);
    }

    /// Why a process will have nothing to do with this one, if that is so.
    pub fn refused_by(&self, peer: ProcessId) -> Option<String> {
        self.peers.all.get(&peer)?.refused.clone()
    }

    /// The last frame received from `peer`, if there is a session.
    pub fn received(&self, peer: ProcessId) -> Option<u64> {
        Some(self.peers.all.get(&peer)?.session.as_ref()?.received())
    }

    /// The connection to `peer` broke; its session may be resumed.
    pub fn disconnected(&mut self, peer: ProcessId) {
        if let Some(peer) = self.peers.all.get_mut(&peer) {
            peer.connected = false;
        }
    }

    /// Everything to send to `peer` now.
    pub fn outgoing(&mut self, peer: ProcessId, out: &mut VecDeque<Bytes>) {
        if let Some(session) = self.peers.all.get_mut(&peer).and_then(|p| p.session.as_mut()) {
            session.take(out);
        }
    }

    /// Whole frames came from `peer`, one or many.
    ///
    /// # Errors
    /// The peer broke the protocol; its session is to be ended.
    pub fn receive(&mut self, peer: ProcessId, frames: &Bytes, fx: &mut Effects) -> Result<(), FrameError> {
        let mut at = 0;
        while at < frames.len() {
            let header = Header::parse(&frames[at..]).ok_or(FrameError::Short)?;
            let end = at + HEADER + header.len;
            let body = frames.get(at + HEADER..end).ok_or(FrameError::Short)?;
            at = end;
            let session = self.peers.all.get_mut(&peer).and_then(|p| p.session.as_mut());
            if session.map_or(Ok(false), |s| s.receive(header))? {
                self.hear_all(peer, frames, body, fx)?;
            }
        }
        if self
            .peers
            .all
            .get(&peer)
            .and_then(|p| p.session.as_ref())
            .is_some_and(Session::owes_acknowledgement)
        {
            fx.flush(peer, false);
        }
        self.turn(fx);
        Ok(())
    }

    fn hear_all(
        &mut self,
        peer: ProcessId,
        frames: &Bytes,
        mut body: &[u8],
        fx: &mut Effects,
    ) -> Result<(), FrameError> {
        while !body.is_empty() {
            let (message, rest) = message::decode(body).map_err(|e| FrameError::Message(e.to_string()))?;
            self.hear(peer, message, frames, fx);
            body = rest;
        }
        Ok(())
    }

    /// Hears what this process said to itself; whether there was anything.
    pub(super) fn loopback(&mut self, fx: &mut Effects) -> bool {
        if self.peers.loopback.is_empty() {
            return false;
        }
        let said = Bytes::from(std::mem::take(&mut self.peers.loopback));
        if let Err(e) = self.hear_all(self.settings.me, &said, &said, fx) {
            tracing::error!("this process does not understand itself: {e}");
        }
        true
    }

    fn hear(&mut self, peer: ProcessId, message: Message<'_>, frames: &Bytes, fx: &mut Effects) {
        use super::dispatch::Ending::{Failed, Stored, Value};
        use crate::payload::Payload;
        match message {
            Message::Run(run) => self.accept(peer, run, None, frames, fx),
            Message::RunOnce { run, ticket, below } => {
                self.accept_once(peer, run, Ticket { number: ticket, below }, frames, fx);
            }
            Message::RunFrom { run, checkpoint } => {
                let checkpoint = Box::new(Bytes::copy_from_slice(checkpoint.0));
                self.accept(peer, run, Some(checkpoint), frames, fx);
            }
            Message::Checkpoint { seq, attempt, version, checkpoint } => {
                self.keep_checkpoint(peer, (seq, attempt), version, checkpoint.0, fx);
            }
            Message::CheckpointKept { seq, attempt, version } => {
                self.hear_of_checkpoint(ObjectId { owner: peer, seq }, attempt, version, Ok(()), fx);
            }
            Message::Done { task, ran, value, contained } => {
                self.answered(peer, task, ran, Value(Payload::copy_from(value), contained), fx);
            }
            Message::Stored { task, ran, len, contained } => {
                self.answered(peer, task, ran, Stored(len, contained), fx);
            }
            Message::Failed { task, ran, error } => self.answered(peer, task, ran, Failed(error), fx),
            Message::NotStarted { lease, numbers, recalled } => {
                self.not_started(peer, lease, &numbers, recalled)
            }
            Message::Missing { task, object, holder } => self.missing(peer, task, object, holder, fx),
            Message::Recall { lease, count } => self.recalled(peer, lease, count, fx),
            Message::Cancel { task } => self.cancelled_by_owner(peer, task, fx),
            Message::Adopted { task } => self.adopted_by_owner(peer, task, false, fx),
            Message::Discarded { task } => self.adopted_by_owner(peer, task, true, fx),
            Message::LeaseRequest { request, shape, slots } => {
                self.requested(peer, request, shape, slots, fx)
            }
            Message::LeaseWithdraw { request } => self.withdrawn(peer, request),
            Message::LeaseGrant { request, lease, slots, mark, more } => {
                self.granted(peer, request, LeaseName { lease, mark, more }, slots, fx);
            }
            Message::LeaseWanted { lease, slots } => self.lease_wanted(peer, lease, slots, fx),
            Message::LeaseReturn { lease, slots } => self.returned(peer, lease, slots, fx),
            Message::LineOpen { request, actor } => self.line_asked(peer, request, actor, fx),
            Message::LineRefused { request } => self.line_refused(peer, request, fx),
            Message::LineClosed { lease, started } => self.line_closed(peer, lease, started, fx),
            Message::ActorGone { seq, why } => self.actor_gone(peer, seq, why, fx),
            Message::Borrow { seq, epoch } => self.borrowed_by(peer, seq, epoch, fx),
            Message::Borrowed { seq, epoch, known } => self.borrow_known(peer, seq, epoch, known, fx),
            Message::Release { seq, epoch } => self.released_by(peer, seq, epoch),
            Message::Want { seq, not_from } => self.wanted_by(peer, seq, not_from, fx),
            Message::CancelObject { seq } if self.is_actor(seq) => self.end_actor(seq, "it was killed", fx),
            Message::CancelObject { seq } => self.cancel_own(seq, fx),
            Message::Value { seq, value } => self.told_value(peer, seq, Payload::copy_from(value), fx),
            Message::ValueStored { seq, places, len } => self.told_stored(peer, seq, places, len, fx),
            Message::ValueFailed { seq, error } => self.told_failed(peer, seq, *error, fx),
            Message::Free { seq } => self.free_here(ObjectId { owner: peer, seq }, fx),
            Message::Copied { seq, attempt, has } => self.copied_by(peer, seq, attempt, has, fx),
            Message::Keep { seq, attempt } => self.keep_copy(ObjectId { owner: peer, seq }, attempt, fx),
            Message::Log { kind, function, text } => {
                fx.logs.push((peer, kind, function.to_owned(), text.to_owned()));
            }
        }
    }

    /// Says `message` to `to`, when this process knows `to`.
    pub(super) fn say(&mut self, to: ProcessId, message: &Message<'_>, fx: &mut Effects) {
        self.peers.say(to, message, true, fx);
    }

    /// Shows a line of remote code in the terminal of `to`. Lines are dropped rather than held back: false then.
    pub fn log(&mut self, to: ProcessId, kind: u8, function: &str, text: &str, fx: &mut Effects) -> bool {
        let session = self.peers.all.get(&to).filter(|p| p.connected).and_then(|p| p.session.as_ref());
        let room = session.is_some_and(|s| s.waiting() < MOST_LOG_BYTES);
        if room {
            self.peers.say(to, &Message::Log { kind, function, text }, false, fx);
        }
        room
    }
}

/// What is not sent yet to a driver may hold so many bytes before further log lines are dropped.
const MOST_LOG_BYTES: usize = 1 << 20;
