//! The values that this process keeps, in the order of their last use, so that the least recently used can leave memory.
//!
//! What is kept lies in this process's shared memory until that is full. Then the value that was not used for longest among
//! those that nobody holds is *set aside*: the core gives up its own clones, and the runtime writes it to disk and brings it
//! back as if it were fetched from another process. Least recently used, since who would use a value and when is not known,
//! and what was used long ago is most often not used soon (P. J. Denning, "The Working Set Model for Program
//! Behavior", 1968). A value in use when its turn comes counts as used just then.

use super::{Core, Effects, Nanos, message::Places, objects::same_attempt};
use crate::{
    cell::{Cell, Outcome},
    id::{ObjectId, ProcessId},
    objects::Spilled,
    payload::Payload,
};
use std::{collections::BTreeMap, sync::Arc};

/// A value that was brought back stays for so long: whoever asked for it comes for it.
const AWAITED: Nanos = 50_000_000;
/// So many values are looked at under one lock.
const LOOKS: usize = 32;

/// What this process keeps.
#[derive(Default)]
pub(super) struct Stored {
    values: BTreeMap<ObjectId, Kept>,
    /// Those in memory by the number of their last use.
    order: BTreeMap<u64, ObjectId>,
    uses: u64,
}

struct Kept {
    place: Found,
    /// Which gave it; 0 if that is not known.
    attempt: u32,
    /// The same on disk, from when it was away: then it need not be written again.
    written: Option<Arc<Spilled>>,
    used: u64,
    /// It is not set aside before.
    awaited: Nanos,
}

/// Where a value is that this process keeps.
#[derive(Clone, Debug)]
pub enum Found {
    /// In memory.
    Here(Payload),
    /// On disk, or about to be.
    Away(Arc<Spilled>),
}

/// What became of the wish to set a value aside.
#[derive(Debug)]
pub enum SetAside {
    /// This one was, and is to be written.
    One(ObjectId, Arc<Spilled>),
    /// One was that is on disk already. What was parked can be dropped.
    Clean(Arc<Spilled>),
    /// So many were looked at, and all are in use.
    InUse(usize),
}

impl Stored {
    pub fn insert(&mut self, id: ObjectId, value: Payload, attempt: u32, fx: &mut Effects) {
        self.remove(id, fx);
        self.enter(id, Kept { place: Found::Here(value), attempt, written: None, used: 0, awaited: 0 });
    }

    fn enter(&mut self, id: ObjectId, kept: Kept) {
        self.values.insert(id, kept);
        self.used(id);
    }

    pub fn remove(&mut self, id: ObjectId, fx: &mut Effects) {
        let Some(kept) = self.values.remove(&id) else { return };
        self.order.remove(&kept.used);
        fx.spilled.extend(kept.written);
        match kept.place {
            Found::Here(value) => fx.drops.push(value),
            Found::Away(spilled) => fx.spilled.push(spilled),
        }
    }

    pub fn remove_all_of(&mut self, owner: ProcessId, fx: &mut Effects) {
        let first = ObjectId { owner, seq: 0 }..=ObjectId { owner, seq: u64::MAX };
        let ids: Vec<_> = self.values.range(first).map(|(id, _)| *id).filter(|id| !id.is_durable()).collect();
        for id in ids {
            self.remove(id, fx);
        }
    }

    /// The value that this attempt gave, which is used once more.
    pub fn get(&mut self, id: ObjectId, attempt: u32) -> Option<Found> {
        self.used(id);
        self.values.get(&id).filter(|kept| same_attempt(kept.attempt, attempt)).map(|kept| kept.place.clone())
    }

    /// Whether it is among them, in memory or not.
    pub fn has(&self, id: ObjectId) -> bool {
        self.values.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    fn used(&mut self, id: ObjectId) {
        if let Some(kept) = self.values.get_mut(&id)
            && matches!(kept.place, Found::Here(_))
        {
            self.order.remove(&kept.used);
            self.uses += 1;
            kept.used = self.uses;
            self.order.insert(self.uses, id);
        }
    }

    /// Takes the value out, for it to be put in again.
    fn take(&mut self, id: ObjectId) -> Option<(Payload, u32, Option<Arc<Spilled>>)> {
        match self.values.remove(&id) {
            Some(Kept { place: Found::Here(value), attempt, used, written, .. }) => {
                self.order.remove(&used);
                Some((value, attempt, written))
            }
            Some(kept) => {
                self.values.insert(id, kept);
                None
            }
            None => None,
        }
    }

    /// Whether it is that one, set aside.
    fn is_away(&self, id: ObjectId, spilled: &Arc<Spilled>) -> bool {
        matches!(self.values.get(&id), Some(Kept { place: Found::Away(away), .. }) if Arc::ptr_eq(away, spilled))
    }
}

impl Core {
    /// Sets aside the value that was not used for longest, if `park` takes one of the next few: it is given a value of which
    /// the core holds nothing more, and gives it back if somebody else does.
    pub fn set_aside(
        &mut self,
        park: &mut dyn FnMut(Payload) -> Result<Arc<Spilled>, Payload>,
        fx: &mut Effects,
    ) -> SetAside {
        let next: Vec<ObjectId> = self.objects.stored.order.values().copied().take(LOOKS).collect();
        for id in &next {
            if self.objects.stored.values.get(id).is_some_and(|kept| kept.awaited > self.now) {
                self.objects.stored.used(*id);
                continue;
            }
            let Some((value, attempt, written)) = self.objects.stored.take(*id) else { continue };
            let cell = self.cell_of(*id);
            let shown = cell.as_ref().and_then(|cell| cell.withdraw());
            let was_shown = shown.is_some();
            fx.drops.extend(shown.filter(|shown| !shown.is_same(&value)));
            match park(value) {
                Ok(parked) => {
                    let clean = written.is_some();
                    let place = Found::Away(written.unwrap_or_else(|| parked.clone()));
                    let kept = Kept { place, attempt, written: None, used: 0, awaited: 0 };
                    self.objects.stored.values.insert(*id, kept);
                    if was_shown {
                        self.is_kept_here(*id);
                    }
                    return if clean { SetAside::Clean(parked) } else { SetAside::One(*id, parked) };
                }
                Err(value) => {
                    if let Some(cell) = cell.filter(|_| was_shown) {
                        fx.wake.append(cell.settle(Outcome::Value(value.clone())));
                    }
                    let kept = Kept { place: Found::Here(value), attempt, written, used: 0, awaited: 0 };
                    self.objects.stored.enter(*id, kept);
                }
            }
        }
        SetAside::InUse(next.len())
    }

    /// A value that was set aside is in memory again.
    pub fn came_back(&mut self, id: ObjectId, spilled: &Arc<Spilled>, value: Payload, fx: &mut Effects) {
        if self.objects.stored.is_away(id, spilled) {
            let written = Some(spilled.clone()).filter(|spilled| spilled.is_written());
            let attempt = self.objects.stored.values.get(&id).map_or(0, |kept| kept.attempt);
            self.objects.stored.remove(id, fx);
            let (place, awaited) = (Found::Here(value), self.now + AWAITED);
            self.objects.stored.enter(id, Kept { place, attempt, written, used: 0, awaited });
        }
    }

    /// The disk is full: gives up what is there of values that are in memory too.
    pub fn drop_written(&mut self) -> Vec<Arc<Spilled>> {
        self.objects.stored.values.values_mut().filter_map(|kept| kept.written.take()).collect()
    }

    /// A value that was set aside cannot be read any more: this process has it no longer.
    pub fn is_damaged(&mut self, id: ObjectId, spilled: &Arc<Spilled>, fx: &mut Effects) {
        if self.objects.stored.is_away(id, spilled) {
            self.objects.stored.remove(id, fx);
        }
    }

    /// Keeps a value that an attempt of a durable future gave, until [`Core::drop_kept`].
    pub fn keep(&mut self, id: ObjectId, value: Payload, attempt: u32, fx: &mut Effects) {
        self.objects.stored.insert(id, value, attempt, fx);
    }

    /// Ends [`Core::keep`].
    pub fn drop_kept(&mut self, id: ObjectId, fx: &mut Effects) {
        self.objects.stored.remove(id, fx);
    }

    /// How many values are kept in memory.
    pub fn kept_in_memory(&self) -> usize {
        self.objects.stored.order.len()
    }

    fn cell_of(&self, id: ObjectId) -> Option<Arc<Cell>> {
        if self.owns(id) {
            self.table.get(id.seq).map(|record| record.cell.clone())
        } else {
            self.borrows.get(id).map(|borrow| borrow.cell.clone())
        }
    }

    /// Whoever asks here for the value finds it here.
    fn is_kept_here(&mut self, id: ObjectId) {
        let me = self.me();
        if self.owns(id) {
            if let Some(record) = self.table.get_mut(id.seq) {
                record.extra().holder = Some(me);
            }
        } else if let Some(borrow) = self.borrows.get_mut(id) {
            let unknown = || Places { holder: me, copies: Vec::new(), attempt: 0 };
            borrow.places = Some(borrow.places.take().unwrap_or_else(unknown).led_by(me));
        }
    }
}
