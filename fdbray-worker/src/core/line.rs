//! The caller's side of actors: calls in the order made.
//!
//! All calls of one actor that are made in this process go over one *line*: a lease without end from the process in which
//! the actor lives ([`reach`](super::reach)). A call whose arguments are not there holds back what the same task calls after
//! it, and nobody else's calls.

use super::{Core, Effects, Nanos, grant::TaskKey, table::State};
use crate::id::{ObjectId, ProcessId};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// Calls that are sent before the first of them is answered.
const MOST_IN_FLIGHT: u32 = 4096;
/// And bytes of their arguments.
const MOST_BYTES: u64 = 8 << 20;
/// The lines of this process.
#[derive(Default)]
pub(super) struct Lines {
    pub all: Vec<Option<Line>>,
    pub free: Vec<u32>,
    pub by_actor: FxHashMap<ObjectId, u32>,
    /// Requests that are not answered.
    pub opening: FxHashMap<(ProcessId, u32), u32>,
    pub dirty: Vec<u32>,
    /// Counts the actors that this process has made, to spread them.
    pub turn: u32,
}

/// The calls of one actor.
pub(super) struct Line {
    pub actor: ObjectId,
    /// The place of the lease over which they go.
    pub lease: Option<u32>,
    /// Who was asked for one.
    pub opening: Option<(ProcessId, u32)>,
    /// Numbers of records to be sent. One that is not [`State::Queued`] any more is skipped.
    pub ready: VecDeque<u64>,
    /// By task (zero for what no task made): calls that wait for arguments, and those made after them.
    pub held: BTreeMap<u64, VecDeque<u64>>,
    /// Calls that have not ended.
    pub calls: u32,
    /// How often in a row the process could not be reached in which the actor lives.
    pub tries: u32,
    /// No attempt to find the actor before this.
    pub not_before: Nanos,
    pub listed: bool,
    /// If the cluster owns the actor: where it lives, and its name there.
    pub at: Option<(ProcessId, ObjectId)>,
    /// That is being found out.
    pub finding: bool,
}

impl Lines {
    pub fn get(&mut self, line: u32) -> Option<&mut Line> {
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

    pub(super) fn send_over(&mut self, line: u32, place: u32, fx: &mut Effects) {
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
}
