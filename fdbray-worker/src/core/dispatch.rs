//! Sending queued tasks over leases, asking for more slots, taking back what waits behind others, and what answers mean.

use super::{
    Core, Effects,
    message::{FutureArgument, Message, Places, Raw, Run, TaskName},
    placement::MOST_SLOTS,
    table::State,
    ticket::Ticket,
};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::borrow::Cow;

/// Work that is sent ahead for each slot, by the measured run time of the function.
const AHEAD: u64 = 2_000_000;
/// And at most so many tasks.
const MOST_AHEAD: u32 = 2048;
/// And so many bytes of arguments for each lease.
const MOST_BYTES: u64 = 8 << 20;
/// How long two suspects are kept apart while nothing else moves.
const APART: u64 = 20_000_000;
/// Slots are asked for again after this, though the queue has hardly grown.
const ASK_AGAIN: u64 = 1_000_000;
/// A request that was not answered by then hinders no other: the worker may be busy for long.
const ANSWER_EXPECTED: u64 = 5_000_000;
/// A queue that drains within this needs no more slots, as long as it moves: tasks that wait hold theirs.
const DRAINS_SOON: u64 = 1_000_000;

impl Core {
    /// Sends what can be sent of a shape; asks for slots when some is left, and gives up asking when none is.
    pub(super) fn dispatch(&mut self, shape: u32, fx: &mut Effects) {
        for place in self.owner.queue(shape).places() {
            self.send_waiting(shape, Some(place), fx);
        }
        self.send_waiting(shape, None, fx);
        if self.owner.queue(shape).len() > 0 {
            self.ask_for_slots(shape, fx);
        } else {
            self.withdraw_requests(shape, fx);
            self.move_work_to_idle_slots(shape, fx);
        }
    }

    /// Sends what can be sent of the tasks that are for one worker, or for any.
    fn send_waiting(&mut self, shape: u32, at: Option<ProcessId>, fx: &mut Effects) {
        while let Some(seq) = self.owner.queue(shape).front(at) {
            let Some((template, suspect)) = self
                .table
                .get(seq)
                .filter(|r| r.state == State::Queued)
                .map(|r| (r.template, r.flags.suspect))
            else {
                self.owner.queue(shape).pop(at);
                continue;
            };
            let function = self.templates.spec(template).function;
            let Some(place) = self.lease_with_room(shape, at, self.templates.ahead(function), suspect) else {
                break;
            };
            self.owner.queue(shape).pop(at);
            // An argument may have been lost since.
            if self.arguments_here(seq, fx) {
                self.owner.queue(shape).moved = self.now;
                self.send(seq, place, fx);
            }
        }
    }

    /// A lease whose worker has a free slot for us, or else the least loaded that may be sent work ahead.
    /// Only that of worker `at`, if one is meant.
    fn lease_with_room(
        &mut self,
        shape: u32,
        at: Option<ProcessId>,
        ahead: u32,
        suspect: bool,
    ) -> Option<u32> {
        let me = self.me();
        let moves = self.now < self.owner.queue(shape).moved + APART;
        let mut best: Option<(u64, u32)> = None;
        for i in 0..self.owner.queue(shape).leases.len() {
            let place = self.owner.queue(shape).leases[i];
            let Some(lease) = self.owner.lease_ref(place) else { continue };
            if lease.slots == 0 || lease.is_worn() || at.is_some_and(|at| at != lease.peer) {
                continue;
            }
            // Two that may have killed a worker are kept apart, so that one does not spend the other's attempts; but not
            // for ever, since one may wait for the other.
            if suspect && lease.suspects > 0 && moves {
                continue;
            }
            // What waits for futures here has lent its slot.
            let lent = if lease.peer == me { self.worker.waiting_under(lease.id) } else { 0 };
            if lease.in_flight - lent.min(lease.in_flight) < lease.slots {
                return Some(place);
            }
            let limit = u64::from(lease.slots) * (1 + u64::from(ahead));
            let alone = suspect || lease.suspects > 0 || lease.peer == me || lease.stalled;
            if alone || u64::from(lease.in_flight) >= limit || lease.bytes > MOST_BYTES {
                continue;
            }
            let load = u64::from(lease.in_flight) * 1024 / u64::from(lease.slots);
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, place));
            }
        }
        best.map(|(_, place)| place)
    }

    pub(super) fn send(&mut self, seq: u64, place: u32, fx: &mut Effects) {
        let values = self.future_arguments(seq);
        let places = self.owner.lease_ref(place).map(|l| l.peer).zip(self.table.get(seq).map(|r| r.template));
        let Some(function) = places.map(|(peer, t)| self.function_for(peer, self.templates.spec(t).function))
        else {
            return;
        };
        let (ticket, checkpoint) = (self.ticket_of(seq), self.kept.get(seq));
        let now = self.now;
        let Some(record) = self.table.get_mut(seq) else { return };
        let Some(lease) = self.owner.lease(place) else { return };
        let idle = lease.in_flight == 0;
        if idle {
            (lease.moved, lease.stalled) = (now, false);
        }
        let number = lease.add(seq, record.arguments.len() as u64, record.flags.suspect);
        record.state = State::Sent { lease: place, number };
        record.attempt += 1;
        let run = Run {
            task: TaskName { lease: lease.id, number },
            seq,
            attempt: record.attempt,
            function,
            root: record.root.filter(|_| self.templates.spec(record.template).logs),
            arguments: record.arguments.in_message(),
            described: record.arguments.is_described(),
            futures: values.iter().map(FutureValue::on_the_wire).collect(),
        };
        let message = match (ticket, &checkpoint) {
            (Some(Ticket { number, below }), _) => Message::RunOnce { run, ticket: number, below },
            (None, Some(checkpoint)) => Message::RunFrom { run, checkpoint: Raw(checkpoint) },
            (None, None) => Message::Run(run),
        };
        let peer = lease.peer;
        self.peers.say(peer, &message, idle, fx);
        for value in &values {
            if let FutureValue::Stored { id, places, .. } = value {
                self.copy_expected(*id, places, peer);
            }
        }
    }

    /// The values of the futures among a task's arguments, all of which have ended well.
    pub(super) fn future_arguments(&self, seq: u64) -> Vec<FutureValue> {
        let Some(extra) = self.table.get(seq).and_then(|r| r.extra.as_ref()) else { return Vec::new() };
        extra.futures.iter().map(|id| self.future_argument(*id)).collect()
    }

    fn future_argument(&self, id: ObjectId) -> FutureValue {
        let stored = |len| FutureValue::Stored { id, places: self.places_of(id), len };
        if let Some((len, _)) = self.large(id) {
            return stored(len);
        }
        match self.outcome_of(id) {
            Some(Outcome::Value(payload)) => FutureValue::Here(payload),
            Some(Outcome::Stored { .. } | Outcome::Failed(_)) | None => stored(0),
        }
    }

    /// The worker answered that a task ended.
    pub(super) fn answered(
        &mut self,
        peer: ProcessId,
        task: TaskName,
        ran: u64,
        ending: Ending,
        fx: &mut Effects,
    ) {
        let Some(place) = self.owner.place_of(peer, task.lease) else {
            return self.discard(peer, task, ending, fx);
        };
        let Some(seq) = self.owner.lease(place).and_then(|l| l.answered(task.number)) else {
            return self.discard(peer, task, ending, fx);
        };
        self.account_answered(place, seq);
        self.note_idle(place);
        let now = self.now;
        if let Some(lease) = self.owner.lease(place) {
            (lease.moved, lease.stalled) = (now, false);
            let (shape, is_line) = (lease.shape, lease.line.is_some());
            if !is_line {
                self.owner.queue(shape).moved = now;
            }
            self.look_at(place);
        }
        self.end_lease_if_done(place);
        let current = State::Sent { lease: place, number: task.number };
        match self.table.get(seq).filter(|r| r.state == current).map(|r| r.template) {
            Some(template) => {
                self.tickets.done(seq);
                self.learn_run_time(template, ran);
                let ending = ending.naming(self.templates.spec(template).name);
                self.ended(seq, Some((peer, task)), ending, fx);
            }
            None => self.discard(peer, task, ending, fx),
        }
    }

    /// An attempt of the own task `seq` ended, at `from` or inline.
    pub(super) fn ended(
        &mut self,
        seq: u64,
        from: Option<(ProcessId, TaskName)>,
        ending: Ending,
        fx: &mut Effects,
    ) {
        match ending {
            Ending::Value(value, contained) => {
                self.adopt_contained(seq, from, contained, false, fx);
                // What ran on the stack of who awaits it is kept here like what a worker keeps.
                let kept = (from.is_none() && value.is_large(self.settings.inline)).then(|| self.me());
                if kept.is_some() {
                    let attempt = self.table.get(seq).map_or(0, |record| record.attempt);
                    let id = ObjectId { owner: self.me(), seq };
                    self.objects.stored.insert(id, value.clone(), attempt, fx);
                }
                self.settle(seq, Outcome::Value(value), kept, fx);
            }
            Ending::Stored(len, contained) => {
                self.adopt_contained(seq, from, contained, true, fx);
                self.settle(seq, Outcome::Stored { len }, from.map(|(peer, _)| peer), fx);
                self.fetch_if_asked(ObjectId { owner: self.me(), seq }, fx);
            }
            Ending::Failed(error) => {
                if !self.rest_before_retry(seq, &error) {
                    self.fail(seq, *error, fx);
                }
            }
        }
    }

    /// A worker could not start a task, because it could not get `object` from `holder`: the task waits until that is
    /// looked into.
    pub(super) fn missing(
        &mut self,
        peer: ProcessId,
        task: TaskName,
        object: ObjectId,
        holder: ProcessId,
        fx: &mut Effects,
    ) {
        let Some(place) = self.owner.place_of(peer, task.lease) else { return };
        let Some(seq) = self.owner.lease(place).and_then(|l| l.answered(task.number)) else { return };
        self.account_answered(place, seq);
        self.note_idle(place);
        self.look_at(place);
        self.end_lease_if_done(place);
        let current = State::Sent { lease: place, number: task.number };
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == current) else { return };
        record.attempt -= 1;
        record.state = State::Waiting;
        record.extra().missed += 1;
        if record.extra().missed > super::objects::TRIES {
            let why = format!("process {holder}, which should have it, did not deliver it");
            let error = Error::ObjectLost { object, why, passed: Default::default() };
            return self.fail_dependent(seq, &error, fx);
        }
        record.extra().missing = 1;
        if self.owns(object) {
            self.not_had_from(object.seq, holder, fx);
        } else if let Some(borrow) = self.borrows.get_mut(object) {
            borrow.wait(seq);
            return self.ask_owner_again(object, holder, fx);
        }
        if self.arguments_here(seq, fx) {
            self.enqueue(seq);
        }
    }

    /// An answer about an attempt that is not current: what the worker keeps for it may go.
    fn discard(&mut self, peer: ProcessId, task: TaskName, ending: Ending, fx: &mut Effects) {
        let (contained, stored) = match ending {
            Ending::Value(_, contained) => (contained, false),
            Ending::Stored(_, contained) => (contained, true),
            Ending::Failed(_) => return,
        };
        if stored || !contained.is_empty() {
            self.say(peer, &Message::Discarded { task }, fx);
        }
    }

    /// Learns from one run how many tasks of the function are worth sending ahead.
    pub(super) fn learn_run_time(&mut self, template: u32, ran: u64) {
        let timing = self.templates.timing_of(template);
        timing.learn(ran);
        let goal = u32::try_from(AHEAD / timing.average.max(1)).unwrap_or(MOST_AHEAD).min(MOST_AHEAD);
        timing.ahead = goal.min(timing.ahead * 2 + 1);
    }

    /// Asks workers for the slots that the queue of a shape could use, best first.
    fn ask_for_slots(&mut self, shape: u32, fx: &mut Effects) {
        for place in self.owner.queue(shape).places() {
            let waiting = self.owner.queue(shape).waiting(Some(place)) as u64;
            self.ask_one(shape, place, waiting, fx);
        }
        if self.owner.queue(shape).waiting(None) == 0 {
            return;
        }
        self.ask_myself(shape, fx);
        let now = self.now;
        let queue = self.owner.queue(shape);
        // A queue that grows call by call is looked at when it has doubled, or after a while.
        let (length, at) = queue.asked;
        let waiting = queue.waiting(None);
        if waiting < 2 * length && now < at + ASK_AGAIN {
            return;
        }
        queue.asked = (waiting, now);
        let (waiting, front, moved) = (waiting as u64, queue.front(None), queue.moved);
        let places = queue.places();
        let fresh = |r: &&super::lease::Request| now < r.at + ANSWER_EXPECTED && !places.contains(&r.peer);
        let asked: u64 = queue.requests.iter().filter(fresh).map(|r| u64::from(r.slots)).sum();
        let held: Vec<(ProcessId, u32)> = {
            let places = queue.leases.clone();
            places.iter().filter_map(|p| self.owner.lease_ref(*p)).map(|l| (l.peer, l.slots)).collect()
        };
        let slots: u64 = held.iter().map(|(_, slots)| u64::from(*slots)).sum();
        let function = front.and_then(|seq| self.table.get(seq)).map(|r| r.template);
        let average = function.map_or(0, |t| self.templates.timing_of(t).average);
        let moves = now < moved + 2 * DRAINS_SOON;
        if moves && slots > 0 && average > 0 && waiting * average / slots < DRAINS_SOON {
            return;
        }
        let mut wanted = waiting.saturating_sub(asked);
        for (peer, most) in self.candidates(shape, front) {
            if wanted == 0 {
                break;
            }
            let has: u32 = held.iter().filter(|(p, _)| *p == peer).map(|(_, slots)| slots).sum();
            // When nothing moves, what holds the slots may be waiting for futures, perhaps for what is queued here. Then
            // the worker has more to grant, one for each that waits, as soon as it does.
            let most = if moves { most } else { u32::MAX };
            if has < most {
                wanted -= u64::from(self.ask_for(shape, peer, most - has, wanted, fx));
            }
        }
    }

    /// Asks the one worker that so many tasks are for.
    fn ask_one(&mut self, shape: u32, place: ProcessId, waiting: u64, fx: &mut Effects) {
        if !self.peers.reachable(place, self.now) {
            return;
        }
        let needs = self.templates.shape(shape);
        let workers = self.peers.workers().find(|(id, _)| *id == place);
        let most = workers.map_or(0, |(_, capacity)| capacity.times(needs, MOST_SLOTS));
        // What holds its slots may wait for what is queued here; then it has more to grant.
        let moves = self.now < self.owner.queue(shape).moved + 2 * DRAINS_SOON;
        let most = if moves || most == 0 { most } else { u32::MAX };
        let (has, unused) = self.slots_at(shape, place);
        if has < most {
            self.ask_for(shape, place, most - has, waiting.saturating_sub(unused.into()), fx);
        }
    }

    /// Nested calls run here first, and their parents' slots are free for them: so this process is always asked.
    fn ask_myself(&mut self, shape: u32, fx: &mut Effects) {
        let most =
            self.settings.capacity.as_ref().map_or(0, |c| c.times(self.templates.shape(shape), MOST_SLOTS));
        let waiting = self.owner.queue(shape).waiting(None) as u64;
        let (_, unused) = self.slots_at(shape, self.me());
        if most > 0 {
            self.ask_for(shape, self.me(), most, waiting.saturating_sub(unused.into()), fx);
        }
    }

    /// Slots held at a worker, and those of them that nothing uses: suspects are kept apart, however many slots there
    /// are, and what needs nothing is always granted.
    fn slots_at(&self, shape: u32, peer: ProcessId) -> (u32, u32) {
        let leases = self.owner.leases_of(shape).filter_map(|lease| self.owner.lease_ref(lease));
        leases.filter(|lease| lease.peer == peer).fold((0, 0), |(all, unused), lease| {
            let lent = if peer == self.me() { self.worker.waiting_under(lease.id) } else { 0 };
            let busy = lease.in_flight.saturating_sub(lent);
            (all + lease.slots, unused + lease.slots.saturating_sub(busy))
        })
    }

    /// Asks one worker, unless an earlier question is open; gives how many slots that were.
    fn ask_for(&mut self, shape: u32, peer: ProcessId, most: u32, wanted: u64, fx: &mut Effects) -> u32 {
        let slots = u32::try_from(wanted).unwrap_or(u32::MAX).min(most);
        if slots == 0 || self.owner.queue(shape).requests.iter().any(|r| r.peer == peer) {
            return 0;
        }
        let request = self.owner.next_request();
        let at = self.now;
        self.owner.queue(shape).requests.push(super::lease::Request { request, peer, slots, at });
        let needs = self.templates.shape(shape).clone();
        self.say(peer, &Message::LeaseRequest { request, shape: needs, slots }, fx);
        slots
    }

    fn withdraw_requests(&mut self, shape: u32, fx: &mut Effects) {
        self.owner.queue(shape).asked = (0, 0);
        for request in std::mem::take(&mut self.owner.queue(shape).requests) {
            self.say(request.peer, &Message::LeaseWithdraw { request: request.request }, fx);
        }
    }
}

/// How an attempt ended, as the owner sees it.
#[derive(Debug)]
pub(super) enum Ending {
    Value(Payload, Vec<ObjectId>),
    Stored(u64, Vec<ObjectId>),
    Failed(Box<Error>),
}

impl Ending {
    /// A worker that lacks the function does not know what it is called.
    fn naming(self, function: &str) -> Self {
        match self {
            Ending::Failed(error) => match *error {
                Error::NotRegistered { worker, passed, .. } => {
                    let error = Error::NotRegistered { function: function.to_owned(), worker, passed };
                    Ending::Failed(Box::new(error))
                }
                // Nor what an actor's type is called.
                Error::Checkpoint { actor, why, .. } if actor.is_empty() => {
                    Ending::Failed(Box::new(Error::checkpoint(function, why)))
                }
                error => Ending::Failed(Box::new(error)),
            },
            ending => ending,
        }
    }
}

/// The value of an argument that was a future.
#[derive(Clone, Debug)]
pub(super) enum FutureValue {
    Here(Payload),
    Stored { id: ObjectId, places: Places, len: u64 },
}

impl FutureValue {
    fn on_the_wire(&self) -> FutureArgument<'_> {
        match self {
            FutureValue::Here(payload) if payload.is_described() => {
                FutureArgument::Described(payload.in_message())
            }
            FutureValue::Here(payload) => FutureArgument::Value(payload.in_message()),
            FutureValue::Stored { id, places, len } => {
                FutureArgument::Stored { id: *id, places: Cow::Borrowed(places), len: *len }
            }
        }
    }
}
