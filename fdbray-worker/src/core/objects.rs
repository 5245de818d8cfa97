//! Values too large for a message: kept where they were made, fetched where they are needed.

use super::{
    Core, Effects, Fetch, Got,
    copies::Copies,
    grant::Fetched,
    message::{Message, Places, TaskName},
    stored::{Found, Stored},
    table::{Record, State},
};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::{collections::BTreeMap, sync::Arc};

/// How often a value is asked for again that could not be fetched from where its owner said.
pub(super) const TRIES: u32 = 3;

/// What this process keeps for others, and what it is fetching.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) stored: Stored,
    /// By attempt: a value that was computed again is another one.
    fetching: BTreeMap<(ObjectId, u32), Fetching>,
    pub(super) copies: Copies,
}

/// A value on its way here.
struct Fetching {
    places: Places,
    len: u64,
    tasks: Vec<TaskName>,
    /// Whether handles here wait for it, too.
    wanted: bool,
}

impl Objects {
    pub fn free(&mut self, id: ObjectId, fx: &mut Effects) {
        self.stored.remove(id, fx);
        fx.drops.extend(self.copies.take(id).map(|(value, _)| value));
    }

    pub fn free_all_of(&mut self, owner: ProcessId, fx: &mut Effects) {
        self.stored.remove_all_of(owner, fx);
        self.copies.free_all_of(owner, &mut fx.drops);
    }

    pub fn len(&self) -> usize {
        self.stored.len() + self.fetching.len() + self.copies.len()
    }
}

/// Whether these can be the same attempt: 0 stands for one that is not known, of a value that is only ever made once.
pub(super) fn same_attempt(one: u32, other: u32) -> bool {
    one == other || one == 0 || other == 0
}

impl Core {
    /// The bytes of an object that this process has, to serve them: those that this attempt gave, or any if that is 0.
    pub fn object(&mut self, id: ObjectId, attempt: u32) -> Option<Found> {
        if let Some(found) = self.objects.stored.get(id, attempt) {
            return Some(found);
        }
        match self.outcome_of(id) {
            Some(Outcome::Value(value)) if self.is_current(id, attempt) => Some(Found::Here(value)),
            _ => self.objects.copies.peek(id, attempt).map(Found::Here),
        }
    }

    /// Whether what is known here of the object is of this attempt, as far as both are known.
    fn is_current(&self, id: ObjectId, attempt: u32) -> bool {
        let current = if self.owns(id) {
            self.table.get(id.seq).map(|record| record.attempt)
        } else {
            self.borrows.get(id).and_then(|borrow| borrow.places.as_ref()).map(|places| places.attempt)
        };
        same_attempt(current.unwrap_or(0), attempt)
    }

    /// Has the value brought here, unless it is on its way already: for `task`, or for handles here.
    fn fetch(&mut self, id: ObjectId, places: &Places, len: u64, task: Option<TaskName>, fx: &mut Effects) {
        let fetching = self.objects.fetching.entry((id, places.attempt)).or_insert_with(|| {
            fx.fetch.push(Fetch { id, places: places.clone(), len });
            Fetching { places: places.clone(), len, tasks: Vec::new(), wanted: false }
        });
        fetching.wanted |= task.is_none();
        fetching.tasks.extend(task);
    }

    /// The value of an argument, or has it fetched for `task`.
    pub(super) fn here_or_fetch(
        &mut self,
        id: ObjectId,
        places: &Places,
        len: u64,
        task: TaskName,
        fx: &mut Effects,
    ) -> Fetched {
        if let Some(value) = self.objects.copies.get(id, places.attempt, self.now) {
            return Fetched::Here(value);
        }
        match self.object(id, places.attempt) {
            Some(Found::Here(value)) => return Fetched::Here(value),
            Some(Found::Away(_)) => {
                self.fetch(id, &places.clone().led_by(self.me()), len, Some(task), fx);
            }
            None => self.fetch(id, places, len, Some(task), fx),
        }
        Fetched::Coming(id)
    }

    /// A handle here wants the bytes of a stored value.
    pub(super) fn fetch_for_handles(&mut self, id: ObjectId, places: Places, len: u64, fx: &mut Effects) {
        let places = match self.objects.stored.get(id, places.attempt) {
            Some(Found::Here(value)) => return self.value_came(id, value, fx),
            Some(Found::Away(_)) => places.led_by(self.me()),
            None => places,
        };
        self.fetch(id, &places, len, None, fx);
    }

    /// A stored result came in for which a handle here had asked before.
    pub(super) fn fetch_if_asked(&mut self, id: ObjectId, fx: &mut Effects) {
        let Some(record) = self.table.get(id.seq) else { return };
        if let (true, Some(Outcome::Stored { len })) = (record.cell.was_asked(), record.cell.outcome()) {
            let places = self.places_of(id);
            self.fetch_for_handles(id, places, len, fx);
        }
    }

    /// A fetch of what an attempt gave ended.
    pub fn fetched(&mut self, id: ObjectId, attempt: u32, got: Got, fx: &mut Effects) {
        let Some(fetching) = self.objects.fetching.remove(&(id, attempt)) else { return };
        let Fetching { places, len, tasks, wanted } = fetching;
        if let Got::Value { value, copied } = &got {
            self.copy_came(id, value, *copied, attempt, !tasks.is_empty(), fx);
        }
        for task in tasks {
            self.argument_fetched(task, id, places.holder, &got, fx);
        }
        match got {
            // Whoever has it computed again asks for what that gives.
            _ if !wanted || !self.is_current(id, attempt) => {}
            Got::Value { value, .. } => self.value_came(id, value, fx),
            Got::Nothing => self.fetch_failed(id, places.holder, len, fx),
            Got::NoRoom(error) => self.no_room_for(id, error, fx),
        }
        self.turn(fx);
    }

    fn argument_fetched(
        &mut self,
        task: TaskName,
        id: ObjectId,
        from: ProcessId,
        got: &Got,
        fx: &mut Effects,
    ) {
        let key = (task.lease, task.number);
        let Some(queued) = self.worker.fetching.get_mut(&key) else { return };
        let value = match got {
            Got::Value { value, .. } => value,
            Got::Nothing => {
                self.worker.fetching.remove(&key);
                return self.refuse_accepted(task, id, from, fx);
            }
            Got::NoRoom(error) => {
                self.worker.fetching.remove(&key);
                return self.fail_accepted(task, error.clone(), fx);
            }
        };
        for future in &mut queued.futures {
            if matches!(future, Fetched::Coming(coming) if *coming == id) {
                *future = Fetched::Here(value.clone());
            }
        }
        let ready = queued.futures.iter().all(|f| matches!(f, Fetched::Here(_)));
        if let Some(queued) = ready.then(|| self.worker.fetching.remove(&key)).flatten() {
            self.queue_accepted(task.lease, queued, fx);
        }
    }

    fn value_came(&mut self, id: ObjectId, value: Payload, fx: &mut Effects) {
        if self.owns(id) {
            match self.table.get(id.seq).map(|r| r.state) {
                Some(State::Settled) => {
                    if let Some(record) = self.table.get(id.seq) {
                        fx.wake.append(record.cell.settle(Outcome::Value(value)));
                    }
                    self.forget_arguments(id.seq, fx);
                }
                Some(State::Checking) => {
                    let holder = self.holder_of(id);
                    self.settle(id.seq, Outcome::Value(value), holder, fx);
                }
                // It is being computed again.
                _ => {}
            }
        } else if let Some(borrow) = self.borrows.get(id) {
            fx.wake.append(borrow.cell.settle(Outcome::Value(value)));
        }
    }

    /// A value could not be had from `from` nor from those that were said to have a copy of what that had.
    fn fetch_failed(&mut self, id: ObjectId, from: ProcessId, len: u64, fx: &mut Effects) {
        if self.fetch_from_another(id, from, len, fx) {
            return;
        }
        if !self.owns(id) {
            return self.ask_owner_again(id, from, fx);
        }
        // If it has the value after all, it need not keep it.
        if self.holder_of(id) == Some(from) {
            self.free_at(from, id.seq, fx);
        }
        self.value_lost(id.seq, from, fx);
        // There may be another copy.
        self.fetch_from_another(id, from, len, fx);
    }

    /// Fetches a value that was not to be had from `from`, if it is known to be elsewhere: it may have been computed again
    /// meanwhile, or have been copied.
    fn fetch_from_another(&mut self, id: ObjectId, from: ProcessId, len: u64, fx: &mut Effects) -> bool {
        let checking = self.owns(id) && self.table.get(id.seq).is_some_and(|r| r.state == State::Checking);
        let len = match self.outcome_of(id) {
            Some(Outcome::Stored { len }) => len,
            None if checking => len,
            _ => return false,
        };
        if self.holder_of(id).is_none_or(|holder| holder == from) {
            return false;
        }
        let places = self.places_of(id);
        self.fetch_for_handles(id, places, len, fx);
        true
    }

    /// Handles here want a value for which there is no room.
    fn no_room_for(&mut self, id: ObjectId, error: Error, fx: &mut Effects) {
        let outcome = Outcome::Failed(Arc::new(error));
        if !self.owns(id) {
            return self.end_borrowed(id, outcome, fx);
        }
        let holder = self.holder_of(id);
        match self.table.get(id.seq).map(|r| (r.state, r.cell.clone())) {
            Some((State::Settled, cell)) => fx.wake.append(cell.settle(outcome)),
            Some((State::Checking, _)) => self.settle(id.seq, outcome, holder, fx),
            _ => {}
        }
    }

    /// Somebody could not get the value of the own future `seq` from `holder`. This process tries itself: then it has
    /// the value for all who ask, or knows that it is lost.
    pub(super) fn not_had_from(&mut self, seq: u64, holder: ProcessId, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == State::Settled) else { return };
        if record.extra.as_ref().is_none_or(|x| x.holder != Some(holder)) {
            return;
        }
        if let Some(Outcome::Stored { len }) = record.cell.outcome() {
            record.cell.reopen();
            record.state = State::Checking;
            let id = ObjectId { owner: self.settings.me, seq };
            let places = self.places_of(id);
            self.fetch_for_handles(id, places, len, fx);
        }
    }

    /// The process that has the value of a future that has one, as far as is known here.
    pub fn whereabouts(&self, id: ObjectId) -> ProcessId {
        self.holder_of(id).unwrap_or(self.me())
    }

    /// The owner of an object does not need it any more: what this process has of it goes.
    pub(super) fn free_here(&mut self, id: ObjectId, fx: &mut Effects) {
        self.objects.free(id, fx);
        self.end_hosted(id, fx);
    }

    /// The process that keeps the value of the own future `seq` need not do so any more.
    pub(super) fn free_at(&mut self, holder: ProcessId, seq: u64, fx: &mut Effects) {
        let me = self.me();
        if holder == me {
            self.free_here(ObjectId { owner: me, seq }, fx);
        } else {
            self.say(holder, &Message::Free { seq }, fx);
        }
    }

    /// Who keeps the bytes of a stored value, as far as this process knows.
    pub(super) fn holder_of(&self, id: ObjectId) -> Option<ProcessId> {
        if self.owns(id) {
            self.table.get(id.seq)?.extra.as_ref()?.holder
        } else {
            self.borrows.get(id)?.places.as_ref().map(|places| places.holder)
        }
    }

    /// A process is gone, with the values that it kept for this one.
    /// `unsure`: or it lives, and cannot be reached.
    pub(super) fn values_lost(&mut self, holder: ProcessId, unsure: bool, fx: &mut Effects) {
        for seq in self.table.seqs() {
            if self.table.get(seq).is_some_and(|r| r.extra.as_ref().is_some_and(|x| x.holder == Some(holder)))
            {
                if self.is_actor(seq) {
                    self.actor_lost(seq, holder, unsure, fx);
                } else {
                    self.value_lost(seq, holder, fx);
                }
            }
        }
    }

    /// The value of the own future `seq` is gone from `holder`. Unless the bytes came here before, or there is a copy, its
    /// task runs again if it may.
    pub(super) fn value_lost(&mut self, seq: u64, holder: ProcessId, fx: &mut Effects) {
        let ended = |r: &&mut Record| matches!(r.state, State::Settled | State::Checking);
        let Some(record) = self.table.get_mut(seq).filter(ended) else { return };
        let extra = record.extra();
        if extra.holder != Some(holder) {
            return;
        }
        extra.holder = None;
        if matches!(record.cell.outcome(), Some(Outcome::Value(_) | Outcome::Failed(_))) {
            return;
        }
        if self.keep_elsewhere(seq, fx) {
            return;
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        // The worker need not keep the futures inside a value that is gone.
        if let Some(adopting) = record.extra().adopting.take() {
            let (peer, task) = adopting.from;
            self.say(peer, &Message::Adopted { task }, fx);
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        record.cell.reopen();
        record.state = State::Checking;
        record.died += 1;
        let id = ObjectId { owner: self.settings.me, seq };
        if record.flags.forgotten {
            let why = format!(
                "process {holder}, which kept it, cannot read it any more, and nothing computes it again"
            );
            let lost = Error::ObjectLost { object: id, why, passed: Default::default() };
            return self.fail(seq, lost, fx);
        }
        let spec = self.templates.spec(record.template);
        if u32::from(record.died) > spec.retries {
            let why = format!(
                "worker {holder}, which kept it, is gone, and all attempts of `{}` are spent",
                spec.name
            );
            let lost = Error::ObjectLost { object: id, why, passed: Default::default() };
            return self.fail(seq, lost, fx);
        }
        // While the holder lives the cause may last.
        let died = record.died;
        if self.peers.reaches(holder) { self.rest(seq, died) } else { self.enqueue(seq) }
    }
}
