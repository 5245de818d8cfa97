//! Where tasks run: which workers to ask for slots, best first, and tasks that are for one worker.
//!
//! A task is for one worker when its call says so, or when more than [`Settings::locality`](super::Settings::locality) bytes
//! of its arguments would have to be moved to the others. Such tasks wait in a queue of their own, beside that of all
//! others of their shape, and run on the same leases.

use super::{Core, Effects, MILLISECOND, Nanos, Resources, dispatch::FutureValue};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
    registry::Role,
};

/// Where a call is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// There.
    pub at: At,
    /// And nowhere else.
    pub hard: bool,
}

/// A process, named or described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// This one.
    Process(ProcessId),
    /// The one that has this future's value.
    Value(ObjectId),
}

impl Place {
    /// What must have a value before it is known where that is.
    pub(super) fn awaited(&self) -> Option<ObjectId> {
        match self.at {
            At::Value(id) if self.hard => Some(id),
            _ => None,
        }
    }
}

impl Core {
    /// Puts the own task `seq`, whose arguments are there, into the queue of its shape, for any worker or for one.
    pub(super) fn queue_up(&mut self, seq: u64, first: bool) {
        let Some((template, line)) = self.table.get(seq).map(|r| (r.template, r.line)) else { return };
        if let Some(line) = line.map(|line| line.get() - 1) {
            return self.queue_on_line(line, seq, first);
        }
        let shape = self.templates.shape_of(template);
        let place = self.place_for(seq);
        let now = self.now;
        if place.is_some()
            && let Some(placing) = self.table.get_mut(seq).and_then(|r| r.extra().place.as_mut())
        {
            placing.since.get_or_insert(now);
        }
        self.owner.queue(shape).push(seq, first, place);
        self.dirty.insert(shape);
    }

    /// Where an actor would rather live that holds nothing, of which any worker could have all: each in turn.
    pub(super) fn place_of_actor(&mut self, template: u32) -> Option<Place> {
        let spec = self.templates.spec(template);
        if spec.role != Role::Constructor || spec.here {
            return None;
        }
        let shape = self.templates.shape_of(template);
        if *self.templates.shape(shape) != Resources::default() {
            return None;
        }
        let workers: Vec<ProcessId> =
            self.peers.workers().map(|(id, _)| id).filter(|id| self.could_run(*id, shape)).collect();
        self.lines.turn = self.lines.turn.wrapping_add(1);
        let at = *workers.get(self.lines.turn as usize % workers.len().max(1))?;
        Some(Place { at: At::Process(at), hard: false })
    }

    /// The one worker that a task is for.
    pub(super) fn place_for(&self, seq: u64) -> Option<ProcessId> {
        let record = self.table.get(seq)?;
        let extra = record.extra.as_ref()?;
        let shape = self.templates.shape_of(record.template);
        if let Some(placing) = &extra.place {
            let place = match placing.place.at {
                At::Process(process) => Some(process),
                // Of a durable one the store knows.
                At::Value(id) if id.is_durable() => None,
                At::Value(id) => match self.outcome_of(id) {
                    Some(Outcome::Value(_) | Outcome::Stored { .. }) => Some(self.places_of(id).holder),
                    Some(Outcome::Failed(_)) | None => None,
                },
            };
            let left = |place: &ProcessId| !placing.given_up && self.could_run(*place, shape);
            return place.filter(|place| placing.place.hard || left(place));
        }
        if extra.futures.is_empty() { None } else { self.nearest(seq, shape) }
    }

    /// The worker to which the fewest bytes of arguments would have to be moved, if to others it would be too many.
    fn nearest(&self, seq: u64, shape: u32) -> Option<ProcessId> {
        let limit = self.settings.locality;
        let futures = self.table.get(seq)?.extra.as_ref()?.futures.iter();
        let all: u64 =
            futures.filter_map(|id| self.large(*id)).fold(0, |sum, (len, _)| sum.saturating_add(len));
        if all <= limit {
            return None;
        }
        let (all, bytes) = self.bytes_by_process(seq);
        let moved = |id: ProcessId| all.saturating_sub(local(&bytes, id));
        let workers = || self.peers.workers().map(|(id, _)| id).filter(|id| self.could_run(*id, shape));
        let least = workers().map(moved).min()?;
        if workers().all(|id| moved(id) <= limit.max(least)) {
            return None;
        }
        workers().filter(|id| moved(*id) == least).min_by_key(|id| self.owner.waiting_for(shape, *id))
    }

    /// Whether the process can be used, and could ever run tasks of the shape.
    fn could_run(&self, process: ProcessId, shape: u32) -> bool {
        let needs = self.templates.shape(shape);
        let here = self.templates.is_for_here(shape);
        let fits = |(id, capacity): (ProcessId, &Resources)| id == process && capacity.fits(needs);
        (!here || process == self.me()) && self.peers.workers().any(fits)
    }

    /// Workers that could ever run a shape, with the slots that each has in all: first where the arguments of the first
    /// waiting task are, then this process itself, then the largest; among equals by chance.
    pub(super) fn candidates(&mut self, shape: u32, first: Option<u64>) -> Vec<(ProcessId, u32)> {
        let needs = self.templates.shape(shape);
        let fits = |(id, capacity): (ProcessId, &Resources)| {
            let slots = capacity.times(needs, MOST_SLOTS);
            (slots > 0).then_some((id, slots))
        };
        let (now, here, me) = (self.now, self.templates.is_for_here(shape), self.me());
        let reachable =
            |(id, _): &(ProcessId, u32)| if here { *id == me } else { self.peers.reachable(*id, now) };
        let mut found: Vec<(ProcessId, u32)> =
            self.peers.workers().filter_map(fits).filter(reachable).collect();
        if found.len() < 2 {
            return found;
        }
        let bytes = first.map(|seq| self.bytes_by_process(seq).1).unwrap_or_default();
        for i in (1..found.len()).rev() {
            let j = self.random_below(i + 1);
            found.swap(i, j);
        }
        found.sort_by_key(|(id, slots)| std::cmp::Reverse((local(&bytes, *id), *id == me, *slots)));
        found
    }

    /// How many bytes the large arguments of a task have, and who has how many of them, counting copies.
    fn bytes_by_process(&self, task: u64) -> (u64, Vec<(ProcessId, u64)>) {
        let (mut all, mut bytes) = (0_u64, Vec::new());
        for value in self.future_arguments(task) {
            if let FutureValue::Stored { places, len, .. } = value {
                all = all.saturating_add(len);
                bytes.extend(places.all().map(|place| (place, len)));
            }
        }
        (all, bytes)
    }

    /// Looks at tasks that are for one worker: whether they still are, and whether it can run them.
    pub(super) fn judge_places(&mut self, shape: u32, fx: &mut Effects) {
        let now = self.now;
        for place in self.owner.queue(shape).places() {
            if self.could_run(place, shape) {
                self.owner.queue(shape).set_unfit(place, None);
                // The first has waited longest.
                while let Some(seq) =
                    self.owner.queue(shape).front(Some(place)).filter(|seq| self.give_up(*seq))
                {
                    self.owner.queue(shape).pop(Some(place));
                    self.owner.queue(shape).push(seq, false, None);
                }
                continue;
            }
            let since = self.owner.queue(shape).unfit_since(place).unwrap_or(now);
            let over = now - since >= self.settings.unschedulable_after;
            for seq in self.owner.queue(shape).drain(Some(place)) {
                match self.place_for(seq) {
                    Some(same) if over && same == place => self.fail_misplaced(seq, place, fx),
                    other => self.owner.queue(shape).push(seq, false, other),
                }
            }
            self.owner.queue(shape).set_unfit(place, Some(since));
        }
    }

    /// Whether a task was left for long enough to the process where it would rather run.
    fn give_up(&mut self, seq: u64) -> bool {
        let now = self.now;
        let placing = self.table.get_mut(seq).and_then(|r| r.extra.as_mut()?.place.as_mut());
        let overdue = |since: Nanos| now >= since + LEFT;
        match placing {
            Some(placing) if !placing.place.hard => {
                placing.given_up |= placing.since.is_some_and(overdue);
                placing.given_up
            }
            _ => false,
        }
    }

    fn fail_misplaced(&mut self, seq: u64, place: ProcessId, fx: &mut Effects) {
        let queued = |r: &&super::table::Record| r.state == super::table::State::Queued;
        let Some(record) = self.table.get(seq).filter(queued) else { return };
        let spec = self.templates.spec(record.template);
        let lacks = self.peers.workers().find(|(id, _)| *id == place);
        let why = match lacks {
            Some((_, capacity)) => {
                format!("it is to run in process {place}, which {}", capacity.lacks(&spec.shape))
            }
            None => {
                format!("it is to run in process {place}, which is no worker of the cluster, or not any more")
            }
        };
        let error = Error::Unschedulable {
            function: spec.name.to_owned(),
            shape: spec.shape.to_string(),
            why,
            passed: Default::default(),
        };
        self.fail(seq, error, fx);
    }
}

fn local(bytes: &[(ProcessId, u64)], process: ProcessId) -> u64 {
    bytes.iter().filter(|(p, _)| *p == process).map(|(_, n)| n).sum()
}

/// Slots that one lease has at most, for shapes that need nothing that runs out.
pub(super) const MOST_SLOTS: u32 = 1024;

/// How long a call that would rather run in one process is left to it.
const LEFT: Nanos = 2_000 * MILLISECOND;
