//! How a line gets to the process in which its actor lives, and what becomes of its calls when the actor is not there any
//! more. Where it lives its owner says, like where a stored value is; of one that the cluster owns the store.

use super::{
    Core, Effects, MILLISECOND, Nanos,
    lease::{Lease, LeaseName},
    message::Message,
    objects::TRIES,
    table::State,
};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
};

/// How often a process is tried in which the cluster says that an actor lives: for a minute and more.
const LONG_TRIES: u32 = 1_000;
/// After a process could not be reached in which an actor should live.
const PAUSE: Nanos = 50 * MILLISECOND;

impl Core {
    /// Sends what can be sent over the lines that were touched.
    pub(super) fn dispatch_lines(&mut self, fx: &mut Effects) {
        while let Some(line) = self.lines.dirty.pop() {
            if let Some(entry) = self.lines.get(line) {
                entry.listed = false;
                let (actor, lease) = (entry.actor, entry.lease);
                // Its host may not have heard yet what the store says.
                if actor.is_durable()
                    && let Some(Outcome::Failed(error)) = self.outcome_of(actor)
                {
                    self.fail_line(line, &error, fx);
                    continue;
                }
                let Some(entry) = self.lines.get(line) else { continue };
                match lease {
                    Some(place) => self.send_over(line, place, fx),
                    None if entry.opening.is_none() && !entry.ready.is_empty() => self.open_line(line, fx),
                    None => {}
                }
            }
        }
    }

    /// Asks the process where the actor lives for a line, once that is known.
    fn open_line(&mut self, line: u32, fx: &mut Effects) {
        let Some(actor) = self.lines.get(line).map(|entry| entry.actor) else { return };
        match self.outcome_of(actor) {
            Some(Outcome::Failed(error)) => self.fail_line(line, &error, fx),
            _ if actor.is_durable() => self.open_line_to_cluster(line, actor, fx),
            Some(Outcome::Stored { .. } | Outcome::Value(_)) => {
                let later = self.lines.get(line).is_some_and(|entry| entry.not_before > self.now);
                let Some(host) = self.holder_of(actor).filter(|_| !later) else { return };
                self.ask_for_line(line, host, actor, fx);
            }
            None if self.owns(actor) && self.table.get(actor.seq).is_some() => {}
            None if self.borrows.get(actor).is_some() => self.ask(actor, false, fx),
            None => {
                let error = Error::OwnerDied { object: actor, passed: Default::default() };
                self.fail_line(line, &error, fx);
            }
        }
    }

    /// Asks `host` for a line to the actor that it knows as `there`.
    pub(super) fn ask_for_line(&mut self, line: u32, host: ProcessId, there: ObjectId, fx: &mut Effects) {
        let request = self.owner.next_request();
        self.lines.opening.insert((host, request), line);
        if let Some(entry) = self.lines.get(line) {
            entry.opening = Some((host, request));
        }
        self.peers.meet(host, fx);
        self.say(host, &Message::LineOpen { request, actor: there }, fx);
    }

    /// The actor has ended, or was never made: so end its calls.
    pub(super) fn fail_line(&mut self, line: u32, error: &Error, fx: &mut Effects) {
        let Some(ready) = self.lines.get(line).map(|entry| std::mem::take(&mut entry.ready)) else { return };
        for seq in ready {
            if self.table.get(seq).is_some_and(|r| r.state == State::Queued) {
                self.fail(seq, error.clone(), fx);
            }
        }
    }

    /// A line was granted; false if what was granted is none.
    pub(super) fn line_granted(
        &mut self,
        peer: ProcessId,
        request: u32,
        lease: u32,
        mark: u32,
        fx: &mut Effects,
    ) -> bool {
        let Some(line) = self.lines.opening.remove(&(peer, request)) else { return false };
        let name = LeaseName { lease, mark, more: false };
        let place = self.owner.add_line(Lease::over_line(peer, name, line, self.now));
        if let Some(entry) = self.lines.get(line) {
            entry.opening = None;
            entry.tries = 0;
            entry.lease = Some(place);
        }
        self.lines.touch(line);
        self.dispatch_lines(fx);
        true
    }

    /// The actor does not live there, or not any more.
    pub(super) fn line_refused(&mut self, peer: ProcessId, request: u32, fx: &mut Effects) {
        if let Some(line) = self.lines.opening.remove(&(peer, request))
            && let Some(entry) = self.lines.get(line)
        {
            entry.opening = None;
            let actor = entry.actor;
            self.actor_not_at(actor, Some(peer), fx);
        }
    }

    /// The actor has ended there. Calls above `started` have not been started, and never will be there.
    pub(super) fn line_closed(&mut self, peer: ProcessId, lease: u32, started: u32, fx: &mut Effects) {
        let Some(place) = self.owner.place_of(peer, lease) else { return };
        let Some(lease) = self.owner.remove(place) else { return };
        let Some(line) = lease.line else { return };
        for (number, seq) in lease.in_flight().into_iter().rev() {
            let Some(record) = self.table.get_mut(seq) else { continue };
            if !matches!(record.state, State::Sent { number: n, .. } if n == number) {
                continue;
            }
            if self.may_be_sent_again(seq, number <= started) {
                self.send_again(seq, number <= started);
            } else if let Some(spec) = self.table.get(seq).map(|r| self.templates.spec(r.template)) {
                let why = "it was ended while the call may have run".to_owned();
                let error =
                    Error::ActorEnded { actor: spec.name.to_owned(), why, passed: Default::default() };
                self.fail(seq, error, fx);
            }
        }
        if let Some(entry) = self.lines.get(line) {
            entry.lease = None;
            let actor = entry.actor;
            self.actor_not_at(actor, Some(peer), fx);
        }
        self.lines.touch(line);
    }

    /// The session over which a line went is over.
    pub(super) fn line_lost(&mut self, line: u32, fx: &mut Effects) {
        self.lines.touch(line);
        let Some(entry) = self.lines.get(line) else { return };
        entry.lease = None;
        let actor = entry.actor;
        self.actor_not_at(actor, None, fx);
    }

    /// Requests to a process with which there is no session any more.
    pub(super) fn line_requests_lost(&mut self, peer: ProcessId, fx: &mut Effects) {
        let lost: Vec<_> =
            self.lines.opening.iter().filter(|((p, _), _)| *p == peer).map(|(k, l)| (*k, *l)).collect();
        for (key, line) in lost {
            self.lines.opening.remove(&key);
            if let Some(entry) = self.lines.get(line) {
                entry.opening = None;
                entry.tries += 1;
                // The owner may need a while to see that nobody is there.
                entry.not_before = self.now + PAUSE;
                // Of one of the cluster's the store says when it has moved, which takes as long as it takes to find a process dead.
                let most = if entry.at.is_some() { LONG_TRIES } else { TRIES };
                if entry.tries > most {
                    entry.tries = 0;
                    let object = entry.actor;
                    let why = format!("process {peer}, in which it lives, cannot be reached from here");
                    self.fail_line(line, &Error::ObjectLost { object, why, passed: Default::default() }, fx);
                }
            }
            self.line_lost(line, fx);
        }
    }

    /// The actor was not found where it was said to be: its owner knows better, or learns of it.
    fn actor_not_at(&mut self, actor: ObjectId, peer: Option<ProcessId>, fx: &mut Effects) {
        if actor.is_durable() {
            self.actor_moved(actor);
        } else if self.owns(actor) {
            if let Some(peer) = peer {
                self.actor_lost(actor.seq, peer, false, fx);
            }
        } else if let Some(borrow) = self.borrows.get_mut(actor)
            && !matches!(borrow.cell.outcome(), Some(Outcome::Failed(_)))
        {
            borrow.cell.reopen();
            borrow.ask_again();
            let not_from = peer.map(|peer| (peer, borrow.attempt()));
            self.say(actor.owner, &Message::Want { seq: actor.seq, not_from }, fx);
        }
    }

    /// Nothing here refers to the actor any more.
    pub(super) fn end_line(&mut self, actor: ObjectId, fx: &mut Effects) {
        if self.lines.by_actor.is_empty() {
            return;
        }
        if let Some(line) = self.lines.by_actor.remove(&actor) {
            self.close_line(line, fx);
            if let Some(entry) = self.lines.all.get_mut(line as usize).and_then(Option::take)
                && let Some(request) = entry.opening
            {
                // What is granted for it goes back.
                self.lines.opening.remove(&request);
            }
            self.lines.free.push(line);
        }
    }

    pub(super) fn close_line(&mut self, line: u32, fx: &mut Effects) {
        let Some(place) = self.lines.get(line).and_then(|entry| entry.lease.take()) else { return };
        if let Some(lease) = self.owner.remove(place) {
            self.say(lease.peer, &Message::LeaseReturn { lease: lease.id, slots: 1 }, fx);
        }
    }
}
