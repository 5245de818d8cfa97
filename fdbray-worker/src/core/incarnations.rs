//! The owner's side of actors: one that is lost, leaves with its worker, or breaks is made again or has ended; and how one
//! is ended.

use super::{
    Core, Effects, MILLISECOND, Nanos,
    message::{Gone, Message},
    table::State,
};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
    registry::Role,
};

/// How long an owner waits before it makes an actor again whose worker it cannot reach, and of which it does not know that it
/// has exited: by then it has noticed too, and ended the actor.
pub(super) const SURELY_ENDED: Nanos = 5_000 * MILLISECOND;

impl Core {
    /// Whether the own future is an actor.
    pub(super) fn is_actor(&self, seq: u64) -> bool {
        self.table.get(seq).is_some_and(|r| self.templates.role_of(r.template) == Role::Constructor)
    }

    /// The own actor is not at `peer` any more, where it lived. It is made again if it may be. `unsure`: it may live there
    /// still, until `peer` notices.
    pub(super) fn actor_lost(&mut self, seq: u64, peer: ProcessId, unsure: bool, fx: &mut Effects) {
        let me = self.me();
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == State::Settled) else { return };
        if record.extra().holder != Some(peer) {
            return;
        }
        record.extra().holder = None;
        record.cell.reopen();
        record.state = State::Checking;
        record.died = 0;
        record.restarts = record.restarts.saturating_add(1);
        let spec = self.templates.spec(record.template);
        if u32::from(record.restarts) > spec.restarts {
            self.clustered.breaks(seq);
            let why = format!(
                "process {peer}, in which it lived, is gone or has ended it, and it may not be made again more often than \
                 {} times (`max_restarts`)",
                spec.restarts
            );
            let error = Error::ActorEnded { actor: spec.name.to_owned(), why, passed: Default::default() };
            return self.fail(seq, error, fx);
        }
        if unsure && peer != me {
            record.state = State::Resting;
            self.timers.again_at(self.now + SURELY_ENDED, seq);
        } else {
            self.enqueue(seq);
        }
    }

    /// The worker of the own actor leaves. That spends no restart.
    pub(super) fn actor_left(&mut self, seq: u64, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == State::Settled) else { return };
        record.extra().holder = None;
        record.cell.reopen();
        record.state = State::Checking;
        record.died = 0;
        if !record.flags.forgotten {
            return self.enqueue(seq);
        }
        self.clustered.breaks(seq);
        let actor = self.templates.spec(record.template).name.to_owned();
        let why = "its worker has left the cluster, and it may not be made again (`max_restarts`)".to_owned();
        self.fail(seq, Error::ActorEnded { actor, why, passed: Default::default() }, fx);
    }

    /// The process in which the own actor lived has ended it: because it was asked to, or because the actor broke.
    pub(super) fn actor_gone(&mut self, peer: ProcessId, seq: u64, why: Gone, fx: &mut Effects) {
        if self.table.get(seq).and_then(|r| r.extra.as_ref()?.holder) != Some(peer) || !self.is_actor(seq) {
            return;
        }
        match why {
            Gone::Stopped => self.end_actor(seq, "it was stopped", fx),
            Gone::Broke => self.actor_lost(seq, peer, false, fx),
            Gone::Left => self.actor_left(seq, fx),
        }
    }

    /// Ends an actor at once.
    pub fn kill_actor(&mut self, id: ObjectId, fx: &mut Effects) {
        if self.owns(id) {
            self.end_actor(id.seq, "it was killed", fx);
        } else if self.borrows.get(id).is_some() {
            self.say(id.owner, &Message::CancelObject { seq: id.seq }, fx);
        }
        self.turn(fx);
    }

    /// Ends the own actor for good.
    pub(super) fn end_actor(&mut self, seq: u64, why: &str, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq) else { return };
        let holder = record.extra().holder.take();
        if record.state != State::Settled {
            self.abandon(seq, fx);
        } else if matches!(record.cell.outcome(), Some(Outcome::Failed(_))) {
            return;
        } else {
            record.cell.reopen();
            record.state = State::Checking;
        }
        let Some(actor) = self.table.get(seq).map(|r| self.templates.spec(r.template).name.to_owned()) else {
            return;
        };
        self.fail(seq, Error::ActorEnded { actor, why: why.to_owned(), passed: Default::default() }, fx);
        if let Some(holder) = holder {
            self.free_at(holder, seq, fx);
        }
    }
}
