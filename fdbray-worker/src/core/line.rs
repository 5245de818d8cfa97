//! The caller's side of actors: calls in the order made, and where they go.
//!
//! All calls of one actor that are made in this process go over one *line*: a lease without end from the process in which
//! the actor lives. Where that is its owner says, like where a stored value is. A call whose arguments are not there
//! holds back what the same task calls after it, and nobody else's calls.

use super::{
    Core, Effects, MILLISECOND, Nanos,
    grant::TaskKey,
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
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// Calls that are sent before the first of them is answered.
const MOST_IN_FLIGHT: u32 = 4096;
/// And bytes of their arguments.
const MOST_BYTES: u64 = 8 << 20;
/// How often a process is tried in which the cluster says that an actor lives: for a minute and more.
const LONG_TRIES: u32 = 1_000;
/// After a process could not be reached in which an actor should live.
const PAUSE: Nanos = 50 * MILLISECOND;

/// The lines of this process.
#[derive(Default)]
pub(super) struct Lines {
    all: Vec<Option<Line>>,
    free: Vec<u32>,
    by_actor: FxHashMap<ObjectId, u32>,
    /// Requests that are not answered.
    opening: FxHashMap<(ProcessId, u32), u32>,
    dirty: Vec<u32>,
    /// Counts the actors that this process has made, to spread them.
    pub turn: u32,
}

/// The calls of one actor.
struct Line {
    actor: ObjectId,
    /// The place of the lease over which they go.
    lease: Option<u32>,
    /// Who was asked for one.
    opening: Option<(ProcessId, u32)>,
    /// Numbers of records to be sent. One that is not [`State::Queued`] any more is skipped.
    ready: VecDeque<u64>,
    /// By task (zero for what no task made): calls that wait for arguments, and those made after them.
    held: BTreeMap<u64, VecDeque<u64>>,
    /// Calls that have not ended.
    calls: u32,
    /// How often in a row the process could not be reached in which the actor lives.
    tries: u32,
    /// No attempt to find the actor before this.
    not_before: Nanos,
    listed: bool,
    /// If the cluster owns the actor: where it lives, and its name there.
    at: Option<(ProcessId, ObjectId)>,
    /// That is being found out.
    finding: bool,
}

impl Lines {
    fn get(&mut self, line: u32) -> Option<&mut Line> {
        self.all.get_mut(line as usize)?.as_mut()
    }

    /// A line is looked at when this turn ends.
    pub fn touch(&mut self, line: u32) {
        if let Some(entry) = self.all.get_mut(line as usize).and_then(Option::as_mut)
            && !std::mem::replace(&mut entry.listed, true)
        {
            self.dirty.push(line);
        }
    }

    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Something is known of an object, which may be an actor.
    pub fn hear_of(&mut self, object: ObjectId) {
        if !self.by_actor.is_empty()
            && let Some(line) = self.by_actor.get(&object)
        {
            self.touch(*line);
        }
    }

    /// Where the actor of the cluster is to which a line goes.
    pub fn at(&self, line: u32) -> Option<(ProcessId, ObjectId)> {
        self.all.get(line as usize)?.as_ref()?.at
    }

    /// Whether to look for the actor of a line now; if so that is noted.
    pub fn may_look(&mut self, line: u32, now: Nanos) -> bool {
        self.get(line).is_some_and(|l| l.not_before <= now && !std::mem::replace(&mut l.finding, true))
    }

    /// Whether the actor of a line is looked for.
    pub fn is_finding(&self, actor: ObjectId) -> bool {
        let line = self.by_actor.get(&actor).and_then(|line| self.all.get(*line as usize)?.as_ref());
        line.is_some_and(|line| line.finding)
    }

    /// An actor was looked for. Gives its line, if that is still there.
    pub fn found(&mut self, actor: ObjectId, at: Option<(ProcessId, ObjectId)>) -> Option<u32> {
        let line = *self.by_actor.get(&actor)?;
        if let Some(entry) = self.get(line) {
            (entry.finding, entry.at) = (false, at);
        }
        self.touch(line);
        Some(line)
    }

    /// An actor is not where it was said to be; it is not looked for again before `not_before`.
    pub fn lose(&mut self, actor: ObjectId, not_before: Nanos) {
        if let Some(line) = self.by_actor.get(&actor).copied()
            && let Some(entry) = self.get(line)
        {
            (entry.at, entry.not_before) = (None, entry.not_before.max(not_before));
            self.touch(line);
        }
    }

    /// The actor to which a line goes.
    pub fn actor_of(&self, line: u32) -> Option<ObjectId> {
        self.all.get(line as usize)?.as_ref().map(|line| line.actor)
    }

    /// Whether any call waits to be sent.
    pub fn anything_waits(&self) -> bool {
        self.all.iter().flatten().any(|line| line.lease.is_none() && !line.ready.is_empty())
    }

    /// Looks again at those whose calls wait for a way to be sent.
    pub fn touch_waiting(&mut self) {
        for line in 0..self.all.len() as u32 {
            if self.get(line).is_some_and(|l| l.lease.is_none() && !l.ready.is_empty()) {
                self.touch(line);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.by_actor.len()
    }

    pub fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.all.iter().flatten().filter(|line| line.calls > 0) {
            let Line { actor, lease, opening, ready, held, calls, .. } = line;
            write!(f, "\n  line to {actor} over {lease:?} (asked for: {opening:?}): {calls} calls, ")?;
            write!(
                f,
                "{} ready, {} held back",
                ready.len(),
                held.values().map(VecDeque::len).sum::<usize>()
            )?;
        }
        Ok(())
    }
}

impl Core {
    /// The line of an actor, with one call more.
    pub(super) fn join_line(&mut self, actor: ObjectId) -> u32 {
        let lines = &mut self.lines;
        let line = *lines.by_actor.entry(actor).or_insert_with(|| {
            let line = Line {
                actor,
                lease: None,
                opening: None,
                ready: VecDeque::new(),
                held: BTreeMap::new(),
                calls: 0,
                tries: 0,
                not_before: 0,
                listed: false,
                at: None,
                finding: false,
            };
            let place = lines.free.pop().unwrap_or_else(|| {
                lines.all.push(None);
                lines.all.len() as u32 - 1
            });
            lines.all[place as usize] = Some(line);
            place
        });
        let first = self.lines.get(line).is_some_and(|line| {
            line.calls += 1;
            line.calls == 1
        });
        if first {
            self.pin(actor);
        }
        line
    }

    /// Puts the call `seq` behind what its task has called before and is held back; whether anything is.
    pub(super) fn hold_back(&mut self, line: u32, seq: u64, parent: Option<TaskKey>, alone: bool) -> bool {
        let Some(line) = self.lines.get(line) else { return false };
        let parent = parent.map_or(0, TaskKey::get);
        match line.held.get_mut(&parent) {
            Some(held) => held.push_back(seq),
            None if alone => {
                line.held.insert(parent, VecDeque::from([seq]));
            }
            None => return false,
        }
        true
    }

    /// The arguments of the call `seq` are there, or it was not started and goes to the front.
    pub(super) fn queue_on_line(&mut self, line: u32, seq: u64, first: bool) {
        self.lines.touch(line);
        let Some(entry) = self.lines.get(line) else { return };
        if first {
            entry.ready.push_front(seq);
        } else if !entry.held.values().any(|held| held.contains(&seq)) {
            entry.ready.push_back(seq);
        } else {
            self.release_held(line);
        }
    }

    /// Lets go what waits behind nothing any more.
    pub(super) fn release_held(&mut self, line: u32) {
        let Some(mut held) = self.lines.get(line).map(|line| std::mem::take(&mut line.held)) else { return };
        let mut ready = Vec::new();
        for calls in held.values_mut() {
            while let Some(seq) = calls.front() {
                match self.table.get(*seq).map(|r| r.state) {
                    Some(State::Waiting | State::Resting) => break,
                    Some(State::Queued) => ready.push(*seq),
                    _ => {}
                }
                calls.pop_front();
            }
        }
        held.retain(|_, calls| !calls.is_empty());
        self.lines.touch(line);
        if let Some(entry) = self.lines.get(line) {
            entry.held = held;
            entry.ready.extend(ready);
        }
    }

    /// A call of the line has ended.
    pub(super) fn ended_on_line(&mut self, line: u32) {
        let Some(entry) = self.lines.get(line) else { return };
        entry.calls = entry.calls.saturating_sub(1);
        let (last, actor, held) = (entry.calls == 0, entry.actor, !entry.held.is_empty());
        if held {
            self.release_held(line);
        }
        if last {
            self.unpin(actor);
        }
    }

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

    fn send_over(&mut self, line: u32, place: u32, fx: &mut Effects) {
        loop {
            let Some(seq) = self.lines.get(line).and_then(|entry| entry.ready.front().copied()) else {
                return;
            };
            if self.table.get(seq).is_none_or(|r| r.state != State::Queued) {
                self.lines.get(line).and_then(|entry| entry.ready.pop_front());
                continue;
            }
            let Some(lease) = self.owner.lease_ref(place) else { return };
            if lease.is_worn() && lease.in_flight == 0 {
                self.close_line(line, fx);
                return self.lines.touch(line);
            }
            if lease.is_worn() || lease.in_flight >= MOST_IN_FLIGHT || lease.bytes > MOST_BYTES {
                return;
            }
            self.lines.get(line).and_then(|entry| entry.ready.pop_front());
            // An argument may have been lost since.
            if self.arguments_here(seq, fx) {
                self.send(seq, place, fx);
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

    fn close_line(&mut self, line: u32, fx: &mut Effects) {
        let Some(place) = self.lines.get(line).and_then(|entry| entry.lease.take()) else { return };
        if let Some(lease) = self.owner.remove(place) {
            self.say(lease.peer, &Message::LeaseReturn { lease: lease.id, slots: 1 }, fx);
        }
    }
}
