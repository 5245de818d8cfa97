//! Tasks that wait for futures: they give their slot back, and run their own unstarted child instead of waiting for it.

use super::{
    Core, Effects, Finished,
    dispatch::{Ending, FutureValue},
    grant::TaskKey,
    table::State,
};
use crate::{
    id::{ObjectId, ProcessId},
    payload::Payload,
};

/// A task taken over by the one that awaits it, to be run on its stack. Answer with [`Core::finish_inline`].
#[derive(Debug)]
pub struct Steal {
    /// Where handles in the arguments are read: [`super::Origin::Task`].
    pub key: TaskKey,
    /// The future that it settles.
    pub id: ObjectId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The function's place in the registry.
    pub function: u32,
    /// In whose terminal its output is shown.
    pub root: Option<ProcessId>,
    /// The arguments, as `exec::Input` reads them.
    pub arguments: Payload,
    /// The values of those that were futures.
    pub futures: Vec<Payload>,
}

impl Core {
    /// The task waits for a future: its slot is free for others until [`Core::unblock`].
    pub fn block(&mut self, key: TaskKey, fx: &mut Effects) {
        self.uncharge(key);
        self.resume_waiting(fx);
        self.grant_waiting(fx);
        self.turn(fx);
    }

    /// The task can go on: true when it has a slot again, else it is named in [`Effects::resume`] as soon as it has.
    pub fn unblock(&mut self, key: TaskKey) -> bool {
        let Some(active) = self.worker.active(key).filter(|a| !a.charged) else { return true };
        let (lease, shape) = (active.lease, active.shape.clone());
        if !self.worker.free.fits(&shape) {
            if !self.worker.resuming.contains(&key) {
                self.worker.resuming.push(key);
            }
            return false;
        }
        self.worker.resuming.retain(|k| *k != key);
        self.charge(key, lease, &shape);
        true
    }

    /// Lets those go on that waited for a slot, the last first: call trees run depth-first.
    pub(super) fn resume_waiting(&mut self, fx: &mut Effects) {
        while let Some(key) = self.worker.resuming.last().copied() {
            let Some(active) = self.worker.active(key) else {
                self.worker.resuming.pop();
                continue;
            };
            let (lease, shape) = (active.lease, active.shape.clone());
            if !self.worker.free.fits(&shape) {
                return;
            }
            self.worker.resuming.pop();
            self.charge(key, lease, &shape);
            fx.resume.push(key);
        }
        self.worker.changed = true;
    }

    fn charge(&mut self, key: TaskKey, lease: u32, shape: &super::Resources) {
        self.worker.free.take(shape);
        self.worker.lent.take(shape);
        if let Some(active) = self.worker.active(key) {
            active.charged = true;
        }
        match self.worker.grants.get_mut(&lease) {
            Some(grant) => grant.running += 1,
            None => self.worker.orphaned.give(shape),
        }
    }

    /// What the task holds is free again.
    pub(super) fn uncharge(&mut self, key: TaskKey) {
        let Some(active) = self.worker.active(key).filter(|a| a.charged) else { return };
        active.charged = false;
        let (lease, shape) = (active.lease, active.shape.clone());
        self.worker.free.give(&shape);
        self.worker.lent.give(&shape);
        match self.worker.grants.get_mut(&lease) {
            Some(grant) => grant.running = grant.running.saturating_sub(1),
            None => self.worker.orphaned.take(&shape),
        }
        self.worker.changed = true;
        // A lease from itself has room again.
        let own = self.owner.place_of(self.settings.me, lease).and_then(|place| self.owner.lease_ref(place));
        if let Some(shape) = own.filter(|l| l.line.is_none()).map(|l| l.shape) {
            self.dirty.insert(shape);
        }
    }

    /// Takes the own future `id` over to run its task on the stack of `by`, which awaits it; `None` when it has been
    /// started, is not ours, needs more than `by` holds, or its arguments are elsewhere.
    pub fn steal(&mut self, id: ObjectId, by: TaskKey) -> Option<Steal> {
        if !self.owns(id) {
            return None;
        }
        let stealable = |r: &&super::table::Record| match r.state {
            State::Queued => !r.flags.suspect,
            State::Sent { lease, number } => self.waits_here(lease, number),
            _ => false,
        };
        // What an actor is or does is for the process where it lives.
        let record = self.table.get(id.seq).filter(stealable).filter(|r| r.line.is_none())?;
        if self.is_actor(id.seq) {
            return None;
        }
        let (template, root) = (record.template, record.root);
        if self.place_for(id.seq).is_some_and(|place| place != self.me()) {
            return None;
        }
        let shape = self.templates.shape(self.templates.shape_of(template));
        if !self.worker.active(by)?.shape.fits(shape) {
            return None;
        }
        let futures = self.future_arguments(id.seq).into_iter().map(|v| match v {
            FutureValue::Here(payload) => Some(payload),
            FutureValue::Stored { .. } => None,
        });
        let futures = futures.collect::<Option<Vec<_>>>()?;
        let me = self.me();
        let record = self.table.get_mut(id.seq)?;
        match std::mem::replace(&mut record.state, State::Inline) {
            State::Sent { lease, number } => self.take_back(lease, number),
            _ => record.attempt += 1,
        }
        let record = self.table.get(id.seq)?;
        let spec = self.templates.spec(template);
        let root = root.filter(|_| spec.logs);
        Some(Steal {
            key: self.worker.activate(INLINE, me, super::Resources::default(), root),
            id,
            attempt: record.attempt,
            function: spec.function,
            root,
            arguments: record.arguments.clone(),
            futures,
        })
    }

    /// Whether what was sent as `number` over the lease at `place` waits in a queue of this very process.
    fn waits_here(&self, place: u32, number: u32) -> bool {
        let lease = self.owner.lease_ref(place).filter(|l| l.peer == self.me());
        let grant = lease.and_then(|l| self.worker.grants.get(&l.id));
        grant.is_some_and(|g| g.queue.binary_search_by_key(&number, |q| q.number).is_ok())
    }

    /// Takes a task out of the queue of this process, for which [`Core::waits_here`] was true.
    fn take_back(&mut self, place: u32, number: u32) {
        let Some(lease) = self.owner.lease(place) else { return };
        let (id, shape) = (lease.id, lease.shape);
        if let Some(seq) = lease.answered(number) {
            self.account_answered(place, seq);
        }
        if let Some(grant) = self.worker.grants.get_mut(&id)
            && let Ok(at) = grant.queue.binary_search_by_key(&number, |q| q.number)
        {
            grant.queue.remove(at);
        }
        self.end_grant_if_done(id);
        self.note_idle(place);
        self.end_lease_if_done(place);
        self.dirty.insert(shape);
    }

    /// The task taken over by [`Core::steal`] ended.
    pub fn finish_inline(&mut self, key: TaskKey, finished: Finished, fx: &mut Effects) {
        if let Some(active) = self.worker.active(key) {
            active.over = true;
            self.answer(key, &mut vec![finished], fx);
            self.end_active_if_done(key);
        }
        self.turn(fx);
    }

    /// The result of a task that was run inline, with everything registered that outlives it.
    pub(super) fn ended_inline(&mut self, finished: Finished, fx: &mut Effects) {
        let seq = finished.id.seq;
        let Some(record) = self.table.get(seq).filter(|r| r.state == State::Inline) else { return };
        let template = record.template;
        self.learn_run_time(template, finished.ran);
        let ending = match finished.outcome {
            Ok((value, contained)) => Ending::Value(value, contained),
            Err(error) => Ending::Failed(Box::new(error)),
        };
        self.ended(seq, None, ending, fx);
    }
}

/// Stands for the lease of what runs inline: no lease has this number.
pub(super) const INLINE: u32 = 0;
