//! Copies of values of other owners: kept for a moment after tasks wanted them, since the next tasks often want the same; and
//! known to the owner, so that others can fetch them too, and one of them can take the place of a value that is gone.
//!
//! What an owner knows of copies is a hint. Who asks one that is gone asks the next; only who was told to
//! [keep](super::message::Message::Keep) one does so until the owner frees it.

use super::{
    Core, Effects, Nanos,
    message::{Message, Places},
    objects::same_attempt,
    table::State,
};
use crate::{
    cell::Outcome,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::collections::{BTreeMap, VecDeque};

/// How long a value that was fetched is kept after a task last wanted it.
const KEPT: Nanos = 2_000_000_000;

/// The same for one that is read in another process's memory: it costs less to look at it again.
const VIEWED: Nanos = 100_000_000;

/// Whom a process that wants a value is told of, besides who keeps it.
const MOST_TOLD: usize = 8;

/// The values.
#[derive(Default)]
pub(super) struct Copies {
    values: BTreeMap<ObjectId, Copy>,
    /// Each once, by when it is looked at next.
    looks: VecDeque<(Nanos, ObjectId)>,
}

struct Copy {
    value: Payload,
    attempt: u32,
    used: Nanos,
    idle: Nanos,
}

impl Copies {
    /// Adds one. What it takes the place of is for the caller to drop.
    fn add(&mut self, id: ObjectId, copy: Copy) -> Option<Payload> {
        let look = copy.used + VIEWED;
        let before = self.values.insert(id, copy);
        if before.is_none() {
            self.looks.push_back((look, id));
        }
        before.map(|copy| copy.value)
    }

    /// The value that this attempt gave, which is wanted once more.
    pub fn get(&mut self, id: ObjectId, attempt: u32, now: Nanos) -> Option<Payload> {
        let copy = self.values.get_mut(&id).filter(|copy| same_attempt(copy.attempt, attempt))?;
        copy.used = now;
        Some(copy.value.clone())
    }

    /// The value that this attempt gave, for somebody else.
    pub fn peek(&self, id: ObjectId, attempt: u32) -> Option<Payload> {
        self.values.get(&id).filter(|copy| same_attempt(copy.attempt, attempt)).map(|copy| copy.value.clone())
    }

    /// Gives one up, and the attempt that it is of.
    pub fn take(&mut self, id: ObjectId) -> Option<(Payload, u32)> {
        self.values.remove(&id).map(|copy| (copy.value, copy.attempt))
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn free_all_of(&mut self, owner: ProcessId, drops: &mut Vec<Payload>) {
        let freed = self.values.extract_if(.., |id, _| id.owner == owner);
        drops.extend(freed.map(|(_, copy)| copy.value));
    }

    /// Takes out what nobody has wanted for a while.
    fn take_idle(&mut self, now: Nanos) -> Vec<(ObjectId, Payload, u32)> {
        let mut idle = Vec::new();
        while let Some((_, id)) = self.looks.pop_front_if(|(at, _)| *at <= now) {
            // It may have been freed, and come again.
            match self.values.get(&id).map(|copy| copy.used + copy.idle) {
                Some(again) if again > now => self.looks.push_back((now + VIEWED, id)),
                _ => idle.extend(self.take(id).map(|(value, attempt)| (id, value, attempt))),
            }
        }
        idle
    }

    /// Gives up everything, at the end.
    pub fn clear(&mut self, drops: &mut Vec<Payload>) {
        self.looks.clear();
        drops.extend(std::mem::take(&mut self.values).into_values().map(|copy| copy.value));
    }
}

/// Here.
impl Core {
    /// A value of an attempt was fetched, for tasks or for handles. `copied`: into this process's memory.
    pub(super) fn copy_came(
        &mut self,
        id: ObjectId,
        value: &Payload,
        copied: bool,
        attempt: u32,
        for_tasks: bool,
        fx: &mut Effects,
    ) {
        // What this process keeps itself needs no second reason to be here, which would hold it in memory.
        if for_tasks && !self.objects.stored.has(id) {
            let idle = if copied { KEPT } else { VIEWED };
            let copy = Copy { value: value.clone(), attempt, used: self.now, idle };
            fx.drops.extend(self.objects.copies.add(id, copy));
            self.plan_rounds();
        }
        if copied && !id.is_durable() && !self.owns(id) {
            if let Some(borrow) = self.borrows.get_mut(id).filter(|b| b.places.is_some()) {
                borrow.copied = true;
            }
            self.say(id.owner, &Message::Copied { seq: id.seq, attempt, has: true }, fx);
        }
    }

    /// Gives up the copies that nobody has wanted for a while.
    pub(super) fn drop_idle_copies(&mut self, fx: &mut Effects) {
        for (id, value, attempt) in self.objects.copies.take_idle(self.now) {
            fx.drops.push(value);
            self.copy_dropped(id, attempt, fx);
        }
    }

    /// Gives up all copies that are here for tasks to come: memory is wanted.
    pub fn drop_copies(&mut self, fx: &mut Effects) {
        for id in self.objects.copies.values.keys().copied().collect::<Vec<_>>() {
            if let Some((value, attempt)) = self.objects.copies.take(id) {
                fx.drops.push(value);
                self.copy_dropped(id, attempt, fx);
            }
        }
    }

    /// One reason to have a copy is gone; with the last one its owner is told.
    pub(super) fn copy_dropped(&mut self, id: ObjectId, attempt: u32, fx: &mut Effects) {
        if !id.is_durable() && !self.owns(id) && self.object(id, 0).is_none() {
            self.say(id.owner, &Message::Copied { seq: id.seq, attempt, has: false }, fx);
        }
    }

    /// The owner counts on this process's copy from now on.
    pub(super) fn keep_copy(&mut self, id: ObjectId, attempt: u32, fx: &mut Effects) {
        let in_handle = || {
            let borrow = self.borrows.get(id)?;
            match borrow.cell.outcome() {
                Some(Outcome::Value(value)) => Some((value, borrow.places.as_ref()?.attempt)),
                _ => None,
            }
        };
        let found = in_handle().or_else(|| self.objects.copies.take(id));
        match found.filter(|(_, of)| *of == attempt) {
            Some((value, _)) => self.objects.stored.insert(id, value, attempt, fx),
            None => self.say(id.owner, &Message::Copied { seq: id.seq, attempt, has: false }, fx),
        }
    }
}

/// At the owner.
impl Core {
    /// Who has the bytes of a stored value, as far as this process knows.
    pub(super) fn places_of(&self, id: ObjectId) -> Places {
        let here = self.large(id).is_some_and(|(_, here)| here);
        let mut places = if self.owns(id) {
            let record = self.table.get(id.seq);
            let extra = record.and_then(|r| r.extra.as_ref());
            let holder = extra.and_then(|x| x.holder).unwrap_or(self.me());
            let copies = extra.map_or_else(Vec::new, |x| x.copies.iter().rev().copied().collect());
            Places { holder, copies, attempt: record.map_or(0, |r| r.attempt) }
        } else {
            let unknown = || Places { holder: id.owner, copies: Vec::new(), attempt: 0 };
            self.borrows.get(id).and_then(|b| b.places.clone()).unwrap_or_else(unknown)
        };
        if here {
            places = places.led_by(self.me());
        }
        places.copies.retain(|place| *place != places.holder);
        places.copies.truncate(MOST_TOLD);
        places
    }

    /// `peer` was sent a task that needs the value: it will have a copy, as likely as not. So those who are sent the next
    /// ones can wait for that one where it is on their host.
    pub(super) fn copy_expected(&mut self, id: ObjectId, places: &Places, peer: ProcessId) {
        if self.owns(id) && peer != self.me() && places.all().all(|place| place != peer) {
            self.note_copy(id.seq, peer);
        }
    }

    fn note_copy(&mut self, seq: u64, peer: ProcessId) {
        let Some(record) = self.table.get_mut(seq) else { return };
        let extra = record.extra();
        if extra.holder != Some(peer) && !extra.copies.contains(&peer) {
            extra.copies.push(peer);
        }
    }

    /// A process has a copy of a value of this one, or none any more.
    pub(super) fn copied_by(&mut self, peer: ProcessId, seq: u64, attempt: u32, has: bool, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq) else {
            if has {
                self.say(peer, &Message::Free { seq }, fx);
            }
            return;
        };
        let ended = matches!(record.state, State::Settled | State::Checking);
        // Of a value that was lost, and is or was computed again, nothing is wanted any more.
        if !ended || record.attempt != attempt {
            return;
        }
        if has {
            return self.note_copy(seq, peer);
        }
        let extra = record.extra();
        extra.copies.retain(|p| *p != peer);
        self.value_lost(seq, peer, fx);
    }

    /// Who kept the value of the own future `seq` is gone: somebody who has a copy keeps that instead. Whether there is one.
    pub(super) fn keep_elsewhere(&mut self, seq: u64, fx: &mut Effects) -> bool {
        let Some(record) = self.table.get_mut(seq) else { return false };
        let attempt = record.attempt;
        let extra = record.extra();
        // The first has it the longest, and has said so if anybody has.
        while !extra.copies.is_empty() {
            let peer = extra.copies.remove(0);
            if self.peers.reaches(peer) {
                extra.holder = Some(peer);
                self.say(peer, &Message::Keep { seq, attempt }, fx);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(n: u64, idle: Nanos) -> Copy {
        Copy { value: Payload::copy_from(&[n as u8]), attempt: 1, used: 0, idle }
    }

    #[test]
    fn a_copy_stays_as_long_as_it_is_wanted_again_and_again() {
        let owner = ProcessId::new(1).unwrap();
        let ids = [1, 2, 3].map(|seq| ObjectId { owner, seq });
        let mut copies = Copies::default();
        for (id, idle) in ids.iter().zip([VIEWED, VIEWED, KEPT]) {
            assert!(copies.add(*id, copy(id.seq, idle)).is_none());
        }
        for now in (1..10).map(|n| n * VIEWED / 2) {
            assert!(copies.get(ids[0], 1, now).is_some());
            copies.take_idle(now);
            assert_eq!(copies.peek(ids[1], 1).is_none(), now >= VIEWED);
            assert!(copies.peek(ids[2], 1).is_some());
        }
        assert!(
            copies.add(ids[2], copy(9, KEPT)).is_some_and(|before| before.head() == [3]),
            "is given back"
        );
        assert_eq!(copies.take_idle(2 * KEPT).len(), 2);
        assert_eq!((copies.is_empty(), copies.looks.len()), (true, 0));
    }
}
