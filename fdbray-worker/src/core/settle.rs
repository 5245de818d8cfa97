//! Ending futures: outcomes, who waited for them, and when a record can go.

use super::{
    Core, Effects,
    message::Message,
    table::{Extra, Record, State},
};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
    registry::Role,
};
use std::sync::Arc;

impl Core {
    /// Ends the own future `seq` and tells everyone who waited: handles here, own tasks that need it as an argument,
    /// borrowers. `holder` is who keeps a stored value.
    pub(super) fn settle(&mut self, seq: u64, outcome: Outcome, holder: Option<ProcessId>, fx: &mut Effects) {
        self.end_pending(seq, fx);
        let Some(record) = self.table.get_mut(seq) else { return };
        if record.state == State::Settled {
            return;
        }
        record.state = State::Settled;
        // It may end once more, when its value is lost.
        let line = record.line.take();
        if let Some(line) = line {
            self.tickets.done(seq);
            self.ended_on_line(line.get() - 1);
        }
        self.lines.hear_of(ObjectId { owner: self.settings.me, seq });
        if !self.gates.is_empty()
            && let Some(next) = self.gates.ended(seq)
        {
            self.enqueue(next);
        }
        if matches!(outcome, Outcome::Failed(_)) {
            self.clustered.over(self.settings.me, seq, fx);
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        // They may be needed to compute a value again that is kept elsewhere (but not what a method gave: the actor's
        // state has moved on), or to make an actor again.
        let spec = self.templates.get(record.template).filter(|spec| spec.role == Role::Constructor);
        let spent = spec.is_some_and(|spec| u32::from(record.restarts) >= spec.restarts);
        let keeps_arguments = matches!(outcome, Outcome::Stored { .. }) && !spent && line.is_none();
        fx.wake.append(record.cell.settle(outcome));
        if !keeps_arguments {
            self.forget_arguments(seq, fx);
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        if record.extra.is_none() && holder.is_none() {
            if record.cell.handles() == 0 {
                self.unreferenced.push(ObjectId { owner: self.me(), seq });
            }
            return;
        }
        let extra = record.extra();
        extra.holder = holder;
        if let Some(at) = extra.deadline.take() {
            self.timers.forget_deadline(at.get(), seq);
        }
        let dependents = std::mem::take(&mut extra.dependents);
        let wanted_by = std::mem::take(&mut extra.wanted_by);
        for dependent in dependents {
            self.argument_ended(dependent, ObjectId { owner: self.settings.me, seq }, fx);
        }
        for peer in wanted_by {
            self.tell_outcome(seq, peer, fx);
        }
        self.unreferenced.push(ObjectId { owner: self.me(), seq });
    }

    /// The own future `seq` will not be computed again.
    pub(super) fn forget_arguments(&mut self, seq: u64, fx: &mut Effects) {
        self.kept.forget(seq);
        let Some(record) = self.table.get_mut(seq) else { return };
        record.flags.forgotten = true;
        fx.drops.push(std::mem::replace(&mut record.arguments, Payload::copy_from(b"")));
        if let Some(extra) = &mut record.extra {
            let futures = std::mem::take(&mut extra.futures);
            let inside = std::mem::take(&mut extra.inside_arguments);
            self.unpin_all(futures.into_iter().chain(inside));
        }
    }

    /// Ends the own future `seq` with `error`.
    pub(super) fn fail(&mut self, seq: u64, error: Error, fx: &mut Effects) {
        self.settle(seq, Outcome::Failed(Arc::new(error)), None, fx);
    }

    /// An argument of the own task `seq` failed with `error`, so the task fails too and says so.
    pub(super) fn fail_dependent(&mut self, seq: u64, error: &Error, fx: &mut Effects) {
        let Some(record) = self.table.get(seq) else { return };
        let error = error.clone().passed_to(self.templates.spec(record.template).name);
        self.fail(seq, error, fx);
    }

    /// The argument `future` of the own task `seq` has ended.
    pub(super) fn argument_ended(&mut self, seq: u64, future: ObjectId, fx: &mut Effects) {
        let outcome = self.outcome_of(future);
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == State::Waiting) else { return };
        if let Some(Outcome::Failed(error)) = outcome {
            return self.fail_dependent(seq, &error, fx);
        }
        let extra = record.extra();
        extra.missing = extra.missing.saturating_sub(1);
        if extra.missing == 0 {
            self.enqueue(seq);
        }
    }

    /// How `future` ended, as far as this process knows.
    pub(super) fn outcome_of(&self, future: ObjectId) -> Option<Outcome> {
        if self.owns(future) {
            self.table.get(future.seq)?.cell.outcome()
        } else {
            self.borrows.get(future)?.cell.outcome()
        }
    }

    /// Bytes of the value of a future that has a large one, and whether they are here.
    pub(super) fn large(&self, future: ObjectId) -> Option<(u64, bool)> {
        let cell = if self.owns(future) {
            &self.table.get(future.seq)?.cell
        } else {
            &self.borrows.get(future)?.cell
        };
        cell.large(self.settings.inline)
    }

    /// Cancels the future: it ends with [`Error::Cancelled`] at once, wherever its work stands.
    pub fn cancel(&mut self, id: ObjectId, fx: &mut Effects) {
        if self.owns(id) {
            self.cancel_own(id.seq, fx);
        } else if self.borrows.get(id).is_some_and(|b| !b.cell.is_settled()) {
            if id.is_durable() {
                fx.cancel.push(id);
            } else {
                self.say(id.owner, &Message::CancelObject { seq: id.seq }, fx);
            }
        }
        self.turn(fx);
    }

    pub(super) fn cancel_own(&mut self, seq: u64, fx: &mut Effects) {
        let Some(record) = self.table.get(seq).filter(|r| r.state != State::Settled) else { return };
        let function = self.templates.spec(record.template).name.to_owned();
        self.abandon(seq, fx);
        self.fail(seq, Error::Cancelled { function, passed: Default::default() }, fx);
    }

    /// Tells the worker that has the own task `seq`, if any, that its result is of no use any more.
    pub(super) fn abandon(&mut self, seq: u64, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq) else { return };
        if let State::Sent { lease, number } = record.state {
            // When the answer comes the record will not tell any more what it weighed.
            let (bytes, suspect) = (record.arguments.len() as u64, std::mem::take(&mut record.flags.suspect));
            if let Some(lease) = self.owner.lease(lease) {
                lease.bytes = lease.bytes.saturating_sub(bytes);
                lease.suspects = lease.suspects.saturating_sub(u32::from(suspect));
            }
            self.abandon_sent(lease, number, fx);
        }
    }

    /// Counts one need more of a future that this process knows.
    pub(super) fn pin(&mut self, id: ObjectId) {
        if self.owns(id) {
            if let Some(record) = self.table.get_mut(id.seq) {
                record.pins += 1;
            }
        } else if let Some(borrow) = self.borrows.get_mut(id) {
            borrow.pins += 1;
        }
    }

    /// Takes back [`Core::pin`].
    pub(super) fn unpin(&mut self, id: ObjectId) {
        let left = if self.owns(id) {
            self.table.get_mut(id.seq).map(|r| &mut r.pins)
        } else {
            self.borrows.get_mut(id).map(|b| &mut b.pins)
        };
        if let Some(pins) = left {
            *pins = pins.saturating_sub(1);
            if *pins == 0 {
                self.unreferenced.push(id);
            }
        }
    }

    pub(super) fn unpin_all(&mut self, ids: impl IntoIterator<Item = ObjectId>) {
        for id in ids {
            self.unpin(id);
        }
    }

    /// The last handles of these futures were dropped.
    pub fn released(&mut self, ids: &mut Vec<ObjectId>, fx: &mut Effects) {
        self.unreferenced.append(ids);
        self.turn(fx);
    }

    /// Frees what nothing refers to any more.
    pub(super) fn free_unreferenced(&mut self, fx: &mut Effects) {
        while let Some(id) = self.unreferenced.pop() {
            if !self.owns(id) {
                self.free_borrow(id, fx);
                continue;
            }
            if !self.table.get(id.seq).is_some_and(Record::is_free) {
                continue;
            }
            let Some(record) = self.table.remove(id.seq) else { continue };
            self.kept.forget(id.seq);
            self.end_line(id, fx);
            self.clustered.over(id.owner, id.seq, fx);
            if let Some(extra) = record.extra {
                let Extra { futures, inside_arguments, inside_value, holder, copies, .. } = *extra;
                self.unpin_all(futures.into_iter().chain(inside_arguments).chain(inside_value));
                for peer in holder.into_iter().chain(copies) {
                    self.free_at(peer, id.seq, fx);
                }
            }
            fx.drops.push(record.arguments);
        }
    }

    /// What of this process would be left if everything ended now: records, borrows, stored objects, tasks, leases.
    /// All zero after a run in which every handle was dropped.
    pub fn left_over(&self) -> [usize; 5] {
        [
            self.table.len(),
            self.borrows.len(),
            self.objects.len(),
            self.worker.tasks() + self.hosted.len() + self.lines.len() + self.tickets.len() + self.kept.len(),
            self.owner.leases_held(),
        ]
    }

    /// Whether this process owns the object and keeps a record of it; for the simulator.
    pub fn has_record(&self, id: ObjectId) -> bool {
        self.owns(id) && self.table.get(id.seq).is_some()
    }

    /// Numbers of own futures that have not ended; for diagnosis and the simulator.
    pub fn unsettled(&self) -> Vec<ObjectId> {
        let open = |seq: &u64| self.table.get(*seq).is_some_and(|r| r.state != State::Settled);
        self.table.seqs().into_iter().filter(open).map(|seq| ObjectId { owner: self.me(), seq }).collect()
    }

    /// Ends every own future with [`Error::Shutdown`]; later calls end so at once.
    pub fn end(&mut self, fx: &mut Effects) {
        self.ended = true;
        for id in self.unsettled() {
            self.abandon(id.seq, fx);
            self.fail(id.seq, Error::Shutdown, fx);
        }
        self.objects.copies.clear(&mut fx.drops);
        self.fail_borrowed(None, fx);
        self.turn(fx);
    }
}
