//! Actors of which the store knows: where a line finds one that the cluster owns, until when its host may run it, and
//! whose end the runtime is told.
//!
//! To the core such an actor is two things. In the process that has claimed it, it is an actor of that process like any
//! other. To those who call it, it is a durable future that never has a value; in which process it lives, and under which
//! name there, the runtime finds out in the store, each time that a line needs to know.

use super::{Core, Effects, MILLISECOND, Nanos, table::State};
use crate::{
    cell::{Cell, Outcome},
    error::Error,
    id::{ObjectId, ProcessId},
};
use rustc_hash::FxHashMap;

/// How long a line waits before it looks again for an actor that was not where the store said.
const PAUSE: Nanos = 20 * MILLISECOND;

/// What this process has to do with actors of which the store knows.
#[derive(Default)]
pub(super) struct Clustered {
    /// Own actors whose end is told, and whether it was that they broke.
    followed: FxHashMap<u64, bool>,
    /// Own actors that the cluster owns in truth, and what they are called there.
    claimed: FxHashMap<ObjectId, ObjectId>,
    /// Until then the store will not give them to another process.
    until: Nanos,
    /// That time is over, and all that are claimed are closed.
    fenced: bool,
}

impl Clustered {
    /// Whether the cluster owns the actor that lives here as `actor`.
    pub fn has_claimed(&self, actor: ObjectId) -> bool {
        !self.claimed.is_empty() && self.claimed.contains_key(&actor)
    }

    /// Whether `line` goes to the actor that lives here as `actor`.
    pub fn leads_to(&self, line: Option<ObjectId>, actor: ObjectId) -> bool {
        line.is_some_and(|line| line == actor || self.claimed.get(&actor) == Some(&line))
    }

    /// The own actor `seq` will end because it was lost or broke.
    pub fn breaks(&mut self, seq: u64) {
        if let Some(broke) = self.followed.get_mut(&seq) {
            *broke = true;
        }
    }

    /// The own actor `seq` has ended.
    pub fn over(&mut self, owner: ProcessId, seq: u64, fx: &mut Effects) {
        if let Some(broke) = self.followed.remove(&seq) {
            self.claimed.remove(&ObjectId { owner, seq });
            fx.over.push((seq, broke));
        }
    }
}

impl Core {
    /// Has the end of the own actor `seq` told by [`Effects::over`]. False if it has ended already.
    pub fn follow_actor(&mut self, seq: u64) -> bool {
        let lives = self.table.get(seq).is_some_and(|record| !has_failed(&record.cell));
        if lives {
            self.clustered.followed.insert(seq, false);
        }
        lives
    }

    /// The same of one that the cluster owns, as `known_as`, and which runs only [for so long](Core::fence).
    pub fn follow_claimed(&mut self, seq: u64, known_as: ObjectId) -> bool {
        let lives = self.follow_actor(seq);
        if lives {
            let actor = ObjectId { owner: self.me(), seq };
            self.clustered.claimed.insert(actor, known_as);
            if self.clustered.fenced {
                self.hosted.closed.insert(actor);
            }
        }
        lives
    }

    /// Until `until` the cluster gives no actor that this process has claimed to another one: later none of their calls
    /// starts, before this was said again. So there are never two of one.
    pub fn fence(&mut self, until: Nanos, fx: &mut Effects) {
        self.clustered.until = until;
        if self.now < until && !self.worker.draining {
            self.clustered.fenced = false;
            for actor in std::mem::take(&mut self.hosted.closed) {
                self.hosted.list(actor);
            }
            self.worker.changed = true;
        }
        self.turn(fx);
    }

    /// Sees whether the time is over until which actors of the cluster may run here.
    pub(super) fn check_fence(&mut self) {
        if !self.clustered.fenced && !self.clustered.claimed.is_empty() && self.now >= self.clustered.until {
            self.clustered.fenced = true;
            // Others may be closed too: those that leave.
            self.hosted.closed.extend(self.clustered.claimed.keys());
        }
    }

    /// Whether a call of an actor runs here that this process has claimed.
    pub fn claimed_actors_run(&self) -> bool {
        self.clustered.claimed.keys().any(|actor| self.hosted.runs(*actor))
    }

    /// How a future that is not owned here ended, as far as is known.
    pub fn outcome(&self, id: ObjectId) -> Option<Outcome> {
        self.outcome_of(id)
    }

    /// Whether calls wait for an actor of the cluster to be found.
    pub fn looks_for(&self, actor: ObjectId) -> bool {
        self.lines.is_finding(actor)
    }

    /// The store says that the actor lives in `host`, under the name `there`.
    pub fn actor_found(&mut self, actor: ObjectId, host: ProcessId, there: ObjectId, fx: &mut Effects) {
        self.lines.found(actor, Some((host, there)));
        self.turn(fx);
    }

    /// Where the actor is cannot be found out: calls of it that wait end with `error`.
    pub fn actor_not_found(&mut self, actor: ObjectId, error: &Error, fx: &mut Effects) {
        if let Some(line) = self.lines.found(actor, None) {
            self.fail_line(line, error, fx);
        }
        self.turn(fx);
    }

    /// Has the runtime find an actor of the cluster, or asks the process in which it lives for a line.
    pub(super) fn open_line_to_cluster(&mut self, line: u32, actor: ObjectId, fx: &mut Effects) {
        let now = self.now;
        match self.lines.at(line) {
            Some((host, there)) => self.ask_for_line(line, host, there, fx),
            None if self.lines.may_look(line, now) => fx.find_actors.push(actor),
            None => {}
        }
    }

    /// The actor was not where the store said: it is looked for again, a little later.
    pub(super) fn actor_moved(&mut self, actor: ObjectId) {
        self.lines.lose(actor, self.now + PAUSE);
    }

    /// Lets the own call `seq` pass a closed gate.
    pub fn open_gate(&mut self, seq: u64, fx: &mut Effects) {
        let waits = self.gates.open(seq);
        if waits && self.table.get(seq).is_some_and(|record| record.state == State::Waiting) {
            self.enqueue(seq);
        }
        self.turn(fx);
    }

    /// Ends the own call `seq`, which has not started, with `error`.
    pub fn refuse(&mut self, seq: u64, error: Error, fx: &mut Effects) {
        self.fail(seq, error, fx);
        self.turn(fx);
    }

    /// Has [`Effects::confirmed`] tell whether the actor `id`, of which the name was found in the store, is still there.
    pub fn confirm(&mut self, id: ObjectId, fx: &mut Effects) {
        if self.owns(id) {
            fx.confirmed.push((id, self.table.get(id.seq).is_some_and(|r| !has_failed(&r.cell))));
        } else {
            self.confirm_borrowed(id, fx);
        }
    }
}

pub(super) fn has_failed(cell: &Cell) -> bool {
    matches!(cell.outcome(), Some(Outcome::Failed(_)))
}
