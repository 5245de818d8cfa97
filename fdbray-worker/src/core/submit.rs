//! Making futures: calls, values that are put, and what becomes of arguments that are futures.

use super::{
    Core, Effects, Gate, Nanos,
    grant::TaskKey,
    placement::{At, Place},
    shape::TemplateSpec,
    table::{Flags, Placing, Record, State},
};
use crate::{
    cell::{Cell, Outcome},
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
    registry::Role,
};
use bytes::Bytes;
use std::{num::NonZero, sync::Arc};

/// Bytes that a pending call holds beyond its arguments: record, cell, queue entry and handle.
const OVERHEAD: u64 = 256;

/// A call.
#[derive(Debug)]
pub struct Submission<'a> {
    /// The function with its options.
    pub template: u32,
    /// The arguments, as `exec::Input` reads them.
    pub arguments: &'a [u8],
    /// Whether they are in the self-describing encoding of durable futures.
    pub described: bool,
    /// The futures among the arguments, in order.
    pub futures: Vec<ObjectId>,
    /// The futures inside arguments.
    pub contained: Vec<ObjectId>,
    /// When it must have ended.
    pub deadline: Option<Nanos>,
    /// The task that makes the call.
    pub parent: Option<TaskKey>,
    /// What bounds how many calls like it are under way at once.
    pub gate: Option<Gate>,
    /// Where it is to run.
    pub place: Option<Place>,
    /// The actor whose method it is.
    pub actor: Option<ObjectId>,
}

/// What those want who wait for room. They are told together, and try again.
pub(super) struct RoomWanted {
    /// Bytes of the smallest call; `u64::MAX` when nobody waits.
    least: u64,
    /// Bytes of all.
    total: u64,
}

impl Default for RoomWanted {
    fn default() -> Self {
        RoomWanted { least: u64::MAX, total: 0 }
    }
}

impl RoomWanted {
    /// Whether it is time to try again: for all of them, or for a good part, so that many do not try in vain each time
    /// that one call ends.
    fn is_there(&self, pending: u64, limit: u64) -> bool {
        let enough = self.least.max(self.total.min(limit / 8));
        self.least != u64::MAX && (pending == 0 || limit.saturating_sub(pending) >= enough)
    }
}

impl Submission<'_> {
    /// Bytes that it holds while it is pending.
    pub fn cost(&self) -> u64 {
        OVERHEAD + self.arguments.len() as u64
    }

    fn arguments_kept(&self) -> Payload {
        if self.described {
            Payload::Described(Bytes::copy_from_slice(self.arguments))
        } else {
            Payload::copy_from(self.arguments)
        }
    }
}

impl Core {
    /// Numbers a template.
    pub fn template(&mut self, spec: TemplateSpec) -> u32 {
        self.templates.intern(spec)
    }

    /// Makes a call: the future is pending, or has failed already.
    pub fn submit(&mut self, call: Submission<'_>, fx: &mut Effects) -> Arc<Cell> {
        let cell = self.add_call(call, fx);
        self.turn(fx);
        cell
    }

    /// The same of the constructor of an actor that is made from a checkpoint instead.
    pub fn submit_from(&mut self, checkpoint: Bytes, call: Submission<'_>, fx: &mut Effects) -> Arc<Cell> {
        self.kept.keep(self.table.next_seq(), checkpoint);
        self.submit(call, fx)
    }

    /// Makes a call if it has room, or is alone (then it goes, or is refused as too large, but does not wait for ever).
    /// Otherwise [`Effects::room`] says when it is time to try again.
    pub fn submit_if_room(&mut self, call: Submission<'_>, fx: &mut Effects) -> Option<Arc<Cell>> {
        let cost = call.cost();
        if self.ended
            || self.pending_bytes == 0
            || self.pending_bytes + cost <= self.settings.max_pending_bytes
        {
            return Some(self.submit(call, fx));
        }
        self.room_wanted.least = self.room_wanted.least.min(cost);
        self.room_wanted.total += cost;
        None
    }

    /// Makes a call within a batch; [`Core::end_batch`] sends it off.
    pub fn add_call(&mut self, call: Submission<'_>, fx: &mut Effects) -> Arc<Cell> {
        let id = ObjectId { owner: self.me(), seq: self.table.next_seq() };
        let cost = call.cost();
        if let Some(error) = self.refuses(call.template, cost) {
            return self.failed(error);
        }
        let cell = Cell::pending(id);
        cell.add_handle();
        self.pending_bytes += cost;
        let (nested, root) = match call.parent {
            Some(parent) => (true, self.root_of(parent)),
            None => (false, Some(self.me())),
        };
        let mut record = Record {
            cell: cell.clone(),
            state: State::Waiting,
            template: call.template,
            attempt: 0,
            died: 0,
            failed: 0,
            pins: 0,
            line: None,
            restarts: 0,
            flags: Flags { nested, pending: true, ..Flags::default() },
            arguments: call.arguments_kept(),
            root,
            extra: None,
        };
        let line = call.actor.map(|actor| self.join_line(actor));
        record.line = line.and_then(|line| NonZero::new(line + 1));
        let plain = call.futures.is_empty()
            && call.contained.is_empty()
            && call.deadline.is_none()
            && call.place.is_none()
            && self.templates.role_of(call.template) != Role::Constructor;
        if plain {
            let seq = self.table.insert(record);
            if let Some(gate) = call.gate {
                self.gates.add(seq, gate);
            }
            if let Some(line) = line {
                self.hold_back(line, seq, call.parent, false);
            }
            self.enqueue(seq);
            return cell;
        }
        let deadline = call.deadline.map(|at| NonZero::new(at).unwrap_or(NonZero::<Nanos>::MIN));
        record.extra().deadline = deadline;
        let seq = self.table.insert(record);
        if let Some(gate) = call.gate {
            self.gates.add(seq, gate);
        }
        if let Some(at) = deadline {
            self.timers.deadline(at.get(), seq);
        }
        let place = call.place.or_else(|| self.place_of_actor(call.template));
        let beside = match &place {
            Some(Place { at: At::Value(id), .. }) => Some(*id),
            _ => None,
        };
        for held in call.futures.iter().chain(&call.contained).chain(&beside) {
            self.pin(*held);
        }
        if let Some(record) = self.table.get_mut(seq) {
            let extra = record.extra();
            extra.futures = call.futures.into();
            extra.inside_arguments = call.contained.into();
            if let Some(place) = place {
                if let At::Value(id) = place.at {
                    // Needed until the call has run, as what is inside its arguments is.
                    extra.inside_arguments.push(id);
                }
                extra.place = Some(Box::new(Placing { place, since: None, given_up: false }));
            }
        }
        let held = line.is_some_and(|line| self.hold_back(line, seq, call.parent, false));
        if self.arguments_here(seq, fx) {
            self.enqueue(seq);
        } else if let Some(line) =
            line.filter(|_| !held && self.table.get(seq).is_some_and(|r| r.state == State::Waiting))
        {
            self.hold_back(line, seq, call.parent, true);
        }
        cell
    }

    /// Whether all arguments of the own task `seq` have ended well. If not it waits for them, or has failed with one.
    pub(super) fn arguments_here(&mut self, seq: u64, fx: &mut Effects) -> bool {
        let Some(extra) = self.table.get_mut(seq).and_then(|r| r.extra.as_mut()) else { return true };
        let count = extra.futures.len();
        // Where a value is that the call must run beside is not known before there is one.
        let beside = extra.place.as_ref().and_then(|placing| placing.place.awaited());
        let mut missing = 0;
        let mut failed = None;
        for n in 0..count + usize::from(beside.is_some()) {
            let extra = self.table.get(seq).and_then(|r| r.extra.as_ref());
            let Some(future) = extra.and_then(|x| x.futures.get(n).copied()).or(beside) else { continue };
            match self.ended_or_wait(future, seq, fx) {
                Some(Err(error)) => failed = failed.or(Some(error)),
                Some(Ok(())) => {}
                None => missing += 1,
            }
        }
        let Some(record) = self.table.get_mut(seq) else { return false };
        if missing > 0 || failed.is_some() {
            record.state = State::Waiting;
            record.extra().missing = missing;
        }
        if let Some(error) = &failed {
            self.fail_dependent(seq, error, fx);
        }
        missing == 0 && failed.is_none()
    }

    /// Sends off the calls of a batch.
    pub fn end_batch(&mut self, fx: &mut Effects) {
        self.turn(fx);
    }

    /// Keeps a value as an object that this process owns.
    pub fn put(&mut self, value: Payload, contained: Vec<ObjectId>, fx: &mut Effects) -> Arc<Cell> {
        let id = ObjectId { owner: self.me(), seq: self.table.next_seq() };
        let kept = value.is_large(self.settings.inline).then(|| value.clone());
        let cell = Cell::settled(id, Outcome::Value(value));
        cell.add_handle();
        for held in &contained {
            self.pin(*held);
        }
        let mut record = Record::settled(cell.clone());
        if !contained.is_empty() {
            record.extra().inside_value = contained.into();
        }
        if let Some(value) = kept {
            record.extra().holder = Some(id.owner);
            self.objects.stored.insert(id, value, 0, fx);
        }
        self.table.insert(record);
        self.turn(fx);
        cell
    }

    /// A future that has failed already.
    pub fn failed(&mut self, error: Error) -> Arc<Cell> {
        let id = ObjectId { owner: self.me(), seq: self.table.next_seq() };
        let cell = Cell::settled(id, Outcome::Failed(Arc::new(error)));
        cell.add_handle();
        self.table.insert(Record::settled(cell.clone()));
        cell
    }

    /// How long the function at this place in the registry runs, in nanoseconds; zero while nothing is known.
    pub fn run_time(&self, function: u32) -> u64 {
        self.templates.run_time(function)
    }

    /// Whether [`Core::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that pending calls hold.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    fn refuses(&self, template: u32, cost: u64) -> Option<Error> {
        if self.ended {
            return Some(Error::Shutdown);
        }
        (self.pending_bytes + cost > self.settings.max_pending_bytes).then(|| Error::Overloaded {
            function: self.templates.spec(template).name.to_owned(),
            pending: self.pending_bytes,
            limit: self.settings.max_pending_bytes,
            passed: Default::default(),
        })
    }

    /// How `future` ended, or makes the own task `seq` wait for it.
    fn ended_or_wait(
        &mut self,
        future: ObjectId,
        seq: u64,
        fx: &mut Effects,
    ) -> Option<Result<(), Arc<Error>>> {
        if !self.owns(future) {
            return self.borrowed_ended_or_wait(future, seq, fx);
        }
        let Some(record) = self.table.get_mut(future.seq) else {
            return Some(Err(Arc::new(self.unknown_error(future))));
        };
        if record.state != State::Settled {
            record.extra().dependents.push(seq);
            return None;
        }
        record.cell.ended()
    }

    /// What is said of a future that its owner does not know, or no longer.
    pub(super) fn unknown(&self, object: ObjectId) -> Outcome {
        Outcome::Failed(Arc::new(self.unknown_error(object)))
    }

    fn unknown_error(&self, object: ObjectId) -> Error {
        let why = "its owner does not know it any more".to_owned();
        Error::ObjectLost { object, why, passed: Default::default() }
    }

    /// Puts a task whose arguments are there into the queue of its shape, once its gate lets it through.
    pub(super) fn enqueue(&mut self, seq: u64) {
        if !self.gates.is_empty() && !self.gates.lets_through(seq) {
            if let Some(record) = self.table.get_mut(seq) {
                record.state = State::Waiting;
            }
            return;
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        record.state = State::Queued;
        // The newest first, so that call trees run depth-first; but what an actor is called keeps its order.
        let first = record.flags.nested && record.line.is_none();
        self.queue_up(seq, first);
    }

    /// Gives the budget back what the pending call `seq` held.
    pub(super) fn end_pending(&mut self, seq: u64, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq).filter(|r| r.flags.pending) else { return };
        record.flags.pending = false;
        self.pending_bytes = self.pending_bytes.saturating_sub(OVERHEAD + record.arguments.len() as u64);
        if self.room_wanted.is_there(self.pending_bytes, self.settings.max_pending_bytes) {
            self.room_wanted = RoomWanted::default();
            fx.room = true;
        }
    }

    /// In whose terminal the output of calls made by `parent` is shown.
    fn root_of(&self, parent: TaskKey) -> Option<ProcessId> {
        self.worker.root_of(parent)
    }
}
