//! The worker's side of a task: accepted, handed to a thread in a batch, answered.

use super::{
    Core, Effects,
    grant::{Fetched, Finished, Queued, Start, TaskKey},
    message::{FutureArgument, Message, Run, TaskName},
};
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use bytes::Bytes;

/// A batch holds about this much work, by the measured run time of its function.
const BATCH: u64 = 100_000;
/// And at most so many tasks.
pub(super) const MOST_IN_BATCH: usize = 128;
/// So many nested calls start in a row before somebody else's turn comes: a call tree without end must not keep all
/// others from running.
const MOST_NESTED: u32 = 256;

impl Core {
    /// A task came under a lease.
    pub(super) fn accept(
        &mut self,
        peer: ProcessId,
        run: Run<'_>,
        checkpoint: Option<Box<Bytes>>,
        frames: &Bytes,
        fx: &mut Effects,
    ) {
        let lease = run.task.lease;
        let leaves = self.worker.draining && peer != self.me() && !self.hosted.is_line(lease);
        if leaves || self.peer_of_lease(lease) != Some(peer) {
            let message = Message::NotStarted { lease, numbers: vec![run.task.number], recalled: false };
            return self.say(peer, &message, fx);
        }
        let arguments = if run.described {
            Payload::Described(frames.slice_ref(run.arguments))
        } else {
            Payload::part_of(frames, run.arguments)
        };
        let mut coming = 0;
        let mut futures = Vec::with_capacity(run.futures.len());
        for future in &run.futures {
            let value = match future {
                FutureArgument::Value(bytes) => Fetched::Here(Payload::copy_from(bytes)),
                FutureArgument::Described(bytes) => {
                    Fetched::Here(Payload::Described(Bytes::copy_from_slice(bytes)))
                }
                FutureArgument::Stored { id, places, len } => {
                    self.here_or_fetch(*id, places, *len, TaskName { lease, number: run.task.number }, fx)
                }
            };
            coming += u32::from(matches!(value, Fetched::Coming(_)));
            futures.push(value);
        }
        let queued = Queued {
            number: run.task.number,
            seq: run.seq,
            attempt: run.attempt,
            function: self.function_from(peer, run.function),
            root: run.root,
            arguments,
            futures,
            checkpoint,
        };
        if coming > 0 {
            self.worker.fetching.insert((lease, run.task.number), queued);
        } else {
            self.queue_accepted(lease, queued, fx);
        }
    }

    /// Puts an accepted task whose arguments are here into the queue of its lease, by its number.
    pub(super) fn queue_accepted(&mut self, lease: u32, queued: Queued, fx: &mut Effects) {
        if self.hosted.is_line(lease) {
            return self.deliver(lease, queued);
        }
        let Some(grant) = self.worker.grants.get_mut(&lease) else { return };
        if grant.queue.back().is_none_or(|last| last.number < queued.number) {
            grant.queue.push_back(queued);
        } else {
            let at = grant.queue.partition_point(|q| q.number < queued.number);
            grant.queue.insert(at, queued);
        }
        self.worker.changed = true;
        self.return_unstartable(lease, fx);
    }

    /// Under a lease without slots nothing starts any more: its owner gets back what waits.
    pub(super) fn return_unstartable(&mut self, lease: u32, fx: &mut Effects) {
        let Some(grant) = self.worker.grants.get_mut(&lease).filter(|g| g.slots == 0 && !g.queue.is_empty())
        else {
            return;
        };
        let peer = grant.peer;
        let numbers = grant.queue.drain(..).map(|q| q.number).collect();
        self.say(peer, &Message::NotStarted { lease, numbers, recalled: false }, fx);
        self.end_grant_if_done(lease);
    }

    /// Takes tasks for one thread to run one after the other; `None` when there is nothing that may start. They are
    /// accounted for until [`Core::finish`].
    pub fn next_batch(&mut self, out: &mut Vec<Start>) -> Option<TaskKey> {
        self.check_fence();
        if self.actors_turn() {
            self.next_of_actors(out).or_else(|| self.next_of_tasks(out))
        } else {
            self.next_of_tasks(out).or_else(|| self.next_of_actors(out))
        }
    }

    fn next_of_tasks(&mut self, out: &mut Vec<Start>) -> Option<TaskKey> {
        let lease = self.lease_to_serve()?;
        let grant = self.worker.grants.get(&lease)?;
        let function = grant.queue.front().map_or(0, |q| q.function);
        let slots = self.worker.free.times(&grant.shape, (grant.slots - grant.running).max(1)).max(1);
        let share = grant.queue.len().div_ceil(slots as usize);
        let count = batch_of(self.templates.run_time(function)).min(share.max(1));
        let me = self.me();
        let grant = self.worker.grants.get_mut(&lease)?;
        let (peer, shape) = (grant.peer, grant.shape.clone());
        // Nested calls: the newest alone, so that call trees run depth-first.
        let last = grant.queue.len();
        let range = if peer == me { last.saturating_sub(1)..last } else { 0..count.min(last) };
        for queued in grant.queue.drain(range) {
            out.push(queued.start(lease, peer, None));
        }
        grant.running += 1;
        grant.started += 1;
        self.worker.free.take(&shape);
        self.worker.last_served = lease;
        self.worker.nested_in_a_row = if peer == me { self.worker.nested_in_a_row + 1 } else { 0 };
        let root = out.first().and_then(|s| s.root);
        let key = self.worker.activate(lease, peer, shape, root);
        self.worker.remember_checkpoints(key, out);
        Some(key)
    }

    /// A lease with tasks that may start: nested calls of this process first, then whoever's turn it is.
    fn lease_to_serve(&self) -> Option<u32> {
        // What gave its slot back and may go on precedes what is new.
        if !self.worker.resuming.is_empty() {
            return None;
        }
        let me = self.me();
        let ready = |lease: u32| {
            let grant = self.worker.grants.get(&lease)?;
            let room = grant.running < grant.slots && self.worker.free.fits(&grant.shape);
            (room && !grant.queue.is_empty()).then_some(grant.peer == me)
        };
        let after = self.worker.grants.range(self.worker.last_served + 1..).map(|(lease, _)| *lease);
        let before = self.worker.grants.range(..=self.worker.last_served).map(|(lease, _)| *lease);
        let nested_first = self.worker.nested_in_a_row < MOST_NESTED;
        let mut first = None;
        for lease in after.chain(before) {
            match ready(lease) {
                Some(nested) if nested == nested_first => return Some(lease),
                Some(_) => first = first.or(Some(lease)),
                None => {}
            }
        }
        first
    }

    /// A thread ended its batch: what ran, and what it gives back unstarted.
    pub fn finish(
        &mut self,
        key: TaskKey,
        finished: &mut Vec<Finished>,
        unstarted: &mut Vec<Start>,
        fx: &mut Effects,
    ) {
        self.give_back(unstarted, fx);
        self.uncharge(key);
        if let Some(active) = self.worker.active(key) {
            if !std::mem::replace(&mut active.over, true) {
                let shape = active.shape.clone();
                self.worker.lent.take(&shape);
            }
            self.worker.resuming.retain(|k| *k != key);
            self.note_end_of_actor(key, finished);
            self.remember_answers(key, finished, fx);
            self.answer(key, finished, fx);
            self.end_actor_once_answered(key, fx);
            self.calls_over(key, fx);
            self.end_active_if_done(key);
        }
        self.resume_waiting(fx);
        self.grant_waiting(fx);
        self.turn(fx);
    }

    /// Part of a batch ended; the rest goes on: one async task that keeps the slot, or a thread that is slow.
    pub fn report(
        &mut self,
        key: TaskKey,
        finished: &mut Vec<Finished>,
        unstarted: &mut Vec<Start>,
        fx: &mut Effects,
    ) {
        self.give_back(unstarted, fx);
        self.note_end_of_actor(key, finished);
        self.remember_answers(key, finished, fx);
        self.answer(key, finished, fx);
        self.end_actor_once_answered(key, fx);
        self.turn(fx);
    }

    fn give_back(&mut self, unstarted: &mut Vec<Start>, fx: &mut Effects) {
        // All are of one batch, and so of one lease.
        let Some(lease) = unstarted.first().map(|s| s.task.lease) else { return };
        self.worker.changed = true;
        if unstarted.first().is_some_and(|start| start.actor.is_some()) {
            return self.give_back_calls(lease, unstarted);
        }
        for start in unstarted.drain(..).rev() {
            let Some(grant) = self.worker.grants.get_mut(&start.task.lease) else { continue };
            let queued = Queued::unstarted(start);
            let at = grant.queue.partition_point(|q| q.number < queued.number);
            grant.queue.insert(at, queued);
        }
        self.return_unstartable(lease, fx);
    }

    /// Sends the answers, once every future that outlives the tasks is registered with its owner.
    pub(super) fn answer(&mut self, key: TaskKey, finished: &mut Vec<Finished>, fx: &mut Effects) {
        let Some(active) = self.worker.active(key) else { return finished.clear() };
        if active.unregistered > 0 {
            // The results' futures are held by pins now, because their handles may go with the caller.
            let pins: Vec<ObjectId> = finished.iter().flat_map(contained).copied().collect();
            active.held.append(finished);
            for id in pins {
                self.pin(id);
            }
            return;
        }
        let (lease, peer) = (active.lease, active.peer);
        if lease == super::blocking::INLINE {
            return finished.drain(..).for_each(|done| self.ended_inline(done, fx));
        }
        if self.is_lasting(lease) {
            return self.answer_lasting(key, finished, fx);
        }
        if self.peer_of_lease(lease).is_none() {
            for done in finished.drain(..).filter(|done| self.has_made_an_actor(done)) {
                fx.ended_actors.push((done.id, key));
            }
            return;
        }
        for done in finished.drain(..) {
            if self.has_made_an_actor(&done) {
                self.made_actor(key, peer, done, fx);
            } else {
                self.templates.ran_here(done.function, done.ran);
                self.answer_one(peer, done, fx);
            }
        }
    }

    /// To whom a lease or a line was granted.
    fn peer_of_lease(&self, lease: u32) -> Option<ProcessId> {
        self.worker.grants.get(&lease).map(|g| g.peer).or_else(|| self.hosted.peer_of(lease))
    }

    /// Sends one answer now.
    pub(super) fn answer_one(&mut self, peer: ProcessId, done: Finished, fx: &mut Effects) {
        let Finished { task, id, attempt, ran, outcome, .. } = done;
        match outcome {
            Ok((value, contained)) => {
                for id in &contained {
                    self.pin(*id);
                }
                let large = value.is_large(self.settings.inline);
                if large || !contained.is_empty() {
                    let transit = self.worker.transit.entry((peer, task)).or_default();
                    transit.pins = contained.clone();
                    transit.stored = large.then_some(id);
                }
                if large {
                    let len = value.len() as u64;
                    self.objects.stored.insert(id, value, attempt, fx);
                    self.peers.say(peer, &Message::Stored { task, ran, len, contained }, false, fx);
                } else {
                    let value = value.in_message();
                    self.peers.say(peer, &Message::Done { task, ran, value, contained }, false, fx);
                }
            }
            Err(error) => {
                self.peers.say(peer, &Message::Failed { task, ran, error: Box::new(error) }, false, fx);
            }
        }
    }

    /// A registration that results of `key` waited for was acknowledged.
    pub(super) fn one_registered(&mut self, key: TaskKey, fx: &mut Effects) {
        let Some(active) = self.worker.active(key) else { return };
        active.unregistered = active.unregistered.saturating_sub(1);
        if active.unregistered == 0 {
            let mut held = std::mem::take(&mut active.held);
            let pins: Vec<ObjectId> = held.iter().flat_map(contained).copied().collect();
            self.answer(key, &mut held, fx);
            self.unpin_all(pins);
            self.end_actor_once_answered(key, fx);
            self.end_active_if_done(key);
        }
    }

    pub(super) fn end_active_if_done(&mut self, key: TaskKey) {
        let Some(lease) = self.worker.active(key).filter(|a| a.over && a.unregistered == 0).map(|a| a.lease)
        else {
            return;
        };
        self.worker.deactivate(key);
        if let Some(grant) = self.worker.grants.get_mut(&lease) {
            grant.started = grant.started.saturating_sub(1);
        }
        self.end_grant_if_done(lease);
    }

    /// The owner has taken over what this worker kept for it, or has no use for it.
    pub(super) fn adopted_by_owner(
        &mut self,
        peer: ProcessId,
        task: TaskName,
        discarded: bool,
        fx: &mut Effects,
    ) {
        if let Some(transit) = self.worker.transit.remove(&(peer, task)) {
            self.unpin_all(transit.pins);
            if let Some(id) = transit.stored.filter(|_| discarded) {
                self.free_here(id, fx);
            }
        }
    }

    /// The owner wants back what is not started, the last first.
    pub(super) fn recalled(&mut self, peer: ProcessId, lease: u32, count: u32, fx: &mut Effects) {
        let mut numbers = Vec::new();
        if let Some(grant) = self.worker.grants.get_mut(&lease).filter(|g| g.peer == peer) {
            let keep = grant.queue.len().saturating_sub(count as usize);
            numbers = grant.queue.drain(keep..).map(|q| q.number).collect();
        }
        self.say(peer, &Message::NotStarted { lease, numbers, recalled: true }, fx);
        self.end_grant_if_done(lease);
    }

    /// The owner has no use for a result any more.
    pub(super) fn cancelled_by_owner(&mut self, peer: ProcessId, task: TaskName, fx: &mut Effects) {
        if self.hosted.is_line(task.lease) {
            return self.cancelled_on_line(peer, task, fx);
        }
        let Some(grant) = self.worker.grants.get_mut(&task.lease).filter(|g| g.peer == peer) else { return };
        let queued = grant.queue.binary_search_by_key(&task.number, |q| q.number);
        let unstarted = match queued {
            Ok(at) => grant.queue.remove(at).is_some(),
            Err(_) => self.worker.fetching.remove(&(task.lease, task.number)).is_some(),
        };
        if unstarted {
            let message =
                Message::NotStarted { lease: task.lease, numbers: vec![task.number], recalled: false };
            self.say(peer, &message, fx);
            self.end_grant_if_done(task.lease);
        } else {
            fx.abort.push(task);
        }
    }

    /// A task cannot be started because the value of `object` could not be had from `holder`.
    pub(super) fn refuse_accepted(
        &mut self,
        task: TaskName,
        object: ObjectId,
        holder: ProcessId,
        fx: &mut Effects,
    ) {
        let Some(peer) = self.peer_of_lease(task.lease) else { return };
        self.forget_accepted(task);
        self.say(peer, &Message::Missing { task, object, holder }, fx);
        self.end_grant_if_done(task.lease);
        self.deliver_staged(task.lease);
    }

    /// A task cannot be started, for a reason that another worker might not have but its owner is to know.
    pub(super) fn fail_accepted(&mut self, task: TaskName, error: Error, fx: &mut Effects) {
        let Some(peer) = self.peer_of_lease(task.lease) else { return };
        self.forget_accepted(task);
        self.say(peer, &Message::Failed { task, ran: 0, error: Box::new(error) }, fx);
        self.end_grant_if_done(task.lease);
        self.deliver_staged(task.lease);
    }

    /// Whether a thread that asked now would have something to start; for the simulator, in which then one has been
    /// told to ask.
    pub fn could_start(&self) -> bool {
        self.lease_to_serve().is_some() || self.actors_could_start()
    }

    /// Tells how many more threads could start something.
    pub(super) fn offer_work(&mut self, fx: &mut Effects) {
        if !std::mem::take(&mut self.worker.changed) {
            return;
        }
        if !self.worker.resuming.is_empty() {
            fx.runners += self.runners_for_actors();
            return;
        }
        for grant in self.worker.grants.values() {
            let waiting = u32::try_from(grant.queue.len()).unwrap_or(u32::MAX);
            let slots = grant.slots.saturating_sub(grant.running).min(waiting);
            fx.runners += self.worker.free.times(&grant.shape, slots);
        }
        fx.runners += self.runners_for_actors();
    }
}

fn contained(done: &Finished) -> &[ObjectId] {
    done.outcome.as_ref().map_or(&[], |(_, contained)| contained)
}

/// How many calls that run so long make a batch.
pub(super) fn batch_of(average: super::Nanos) -> usize {
    let by_time = BATCH.checked_div(average).map_or(1, |n| usize::try_from(n).unwrap_or(MOST_IN_BATCH));
    by_time.clamp(1, MOST_IN_BATCH)
}
