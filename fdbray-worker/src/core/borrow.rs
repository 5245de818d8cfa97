//! Futures of other owners: registered with them while handles are here, and what their owners tell.
//!
//! Whoever brings a handle into a process keeps the object alive until its owner knows of the new borrower: the
//! submitter of a task holds what is in its arguments until the task has ended, a container holds what is in it, a worker
//! holds what is in a result until its owner has registered. So a process that reads a handle registers at once, and whatever
//! brought the handle is kept until the owner has acknowledged: the answer of the task, or the container. Where both go over one
//! session the order of frames is enough.

use super::{
    Core, Effects,
    clustered::has_failed,
    grant::TaskKey,
    message::{Message, Places, TaskName},
    table::Adopting,
};
use crate::{
    cell::{Cell, Outcome},
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// Futures of other owners with handles here.
#[derive(Default)]
pub(super) struct Borrows {
    all: BTreeMap<ObjectId, Borrow>,
    epoch: u64,
}

pub(super) struct Borrow {
    pub cell: Arc<Cell>,
    /// Own tasks and containers that need it.
    pub pins: u32,
    /// Who has the bytes of a stored value.
    pub places: Option<Places>,
    /// The owner counts on the bytes that came here.
    pub copied: bool,
    /// Counts up with every registration, so that a late release ends no later one.
    epoch: u64,
    registered: bool,
    /// What brought the handle, until the owner has acknowledged.
    sources: Vec<Held>,
    /// Own tasks that wait for it as an argument.
    dependents: Vec<u64>,
    wanted: bool,
    /// The owner was asked again, and has not answered.
    asking: bool,
    tries: u32,
    /// See [`Core::confirm`].
    pub confirm: bool,
}

/// What is kept until a registration is acknowledged.
enum Held {
    /// The answer of a task.
    Answer(TaskKey),
    /// A container.
    Object(ObjectId),
    /// What this worker keeps of the result of the own task, under the name that it has there.
    Result(u64, ProcessId, TaskName),
}

/// Where a handle was read.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// In the arguments of a task that runs here.
    Task(TaskKey),
    /// In the value of a future.
    Object(ObjectId),
    /// In bytes that this process made itself.
    Here,
}

impl Borrows {
    pub fn get(&self, id: ObjectId) -> Option<&Borrow> {
        self.all.get(&id)
    }

    pub fn get_mut(&mut self, id: ObjectId) -> Option<&mut Borrow> {
        self.all.get_mut(&id)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }
}

impl Borrow {
    /// The own task `seq` waits for what the owner says next.
    pub fn wait(&mut self, seq: u64) {
        self.dependents.push(seq);
    }

    /// The owner is asked again.
    pub fn ask_again(&mut self) {
        (self.wanted, self.asking) = (true, true);
    }

    /// The attempt that gave what this process was told of.
    pub fn attempt(&self) -> u32 {
        self.places.as_ref().map_or(0, |places| places.attempt)
    }
}

impl Core {
    /// A handle of `id` was read here: the future, with one handle more.
    pub fn adopt(&mut self, id: ObjectId, origin: Origin, fx: &mut Effects) -> Arc<Cell> {
        if self.owns(id) {
            let cell = self.table.get(id.seq).map(|r| r.cell.clone());
            return match cell {
                Some(cell) => {
                    cell.add_handle();
                    cell
                }
                None => match self.unknown(id) {
                    Outcome::Failed(error) => self.failed(Error::from(error)),
                    _ => self.failed(Error::Shutdown),
                },
            };
        }
        let held = match origin {
            Origin::Task(key) if self.worker.peer_of(key) != Some(id.owner) => Some(Held::Answer(key)),
            Origin::Object(container) if container.owner != id.owner => Some(Held::Object(container)),
            _ => None,
        };
        let cell = self.register(id, held, fx);
        cell.add_handle();
        self.turn(fx);
        cell
    }

    /// A durable future, with one handle more.
    pub fn durable(&mut self, id: ObjectId, fx: &mut Effects) -> Arc<Cell> {
        let cell = self.register(id, None, fx);
        cell.add_handle();
        cell
    }

    /// How a durable future ended, as the store tells.
    pub fn durable_ended(&mut self, id: ObjectId, outcome: Outcome, fx: &mut Effects) {
        self.end_borrowed(id, outcome, fx);
        self.turn(fx);
    }

    /// Makes this process a borrower of `id`, if it is not, and keeps `held` until the owner knows.
    fn register(&mut self, id: ObjectId, held: Option<Held>, fx: &mut Effects) -> Arc<Cell> {
        let Borrows { all, epoch } = &mut self.borrows;
        let borrow = match all.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                *epoch += 1;
                // What the cluster owns has its record in the store, and stays there without us.
                if !id.is_durable() {
                    self.peers.meet(id.owner, fx);
                    self.peers.say(id.owner, &Message::Borrow { seq: id.seq, epoch: *epoch }, true, fx);
                }
                new.insert(Borrow {
                    cell: Cell::pending(id),
                    pins: 0,
                    places: None,
                    copied: false,
                    epoch: *epoch,
                    registered: id.is_durable(),
                    sources: Vec::new(),
                    dependents: Vec::new(),
                    wanted: false,
                    asking: false,
                    tries: 0,
                    confirm: false,
                })
            }
        };
        let cell = borrow.cell.clone();
        if borrow.registered {
            return cell;
        }
        match held {
            None => {}
            Some(Held::Answer(key)) => {
                if let Some(active) = self.worker.active(key) {
                    active.unregistered += 1;
                    borrow.sources.push(Held::Answer(key));
                }
            }
            Some(Held::Object(container)) => {
                borrow.sources.push(Held::Object(container));
                self.pin(container);
            }
            Some(Held::Result(seq, peer, task)) => {
                if let Some(record) = self.table.get_mut(seq)
                    && let Some(adopting) = &mut record.extra().adopting
                {
                    adopting.missing += 1;
                    borrow.sources.push(Held::Result(seq, peer, task));
                }
            }
        }
        cell
    }

    /// The futures inside the result of the own task `seq`, which `from` has until they are held here.
    pub(super) fn adopt_contained(
        &mut self,
        seq: u64,
        from: Option<(ProcessId, TaskName)>,
        contained: Vec<ObjectId>,
        stored: bool,
        fx: &mut Effects,
    ) {
        if contained.is_empty() && !stored {
            return;
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        record.extra().adopting = from.map(|from| Box::new(Adopting { from, missing: 1 }));
        for id in &contained {
            if !self.owns(*id) {
                let held = from.filter(|(worker, _)| *worker != id.owner);
                self.register(*id, held.map(|(peer, task)| Held::Result(seq, peer, task)), fx);
            }
            self.pin(*id);
        }
        // There is an older value if that was lost.
        if let Some(record) = self.table.get_mut(seq) {
            let older = std::mem::replace(&mut record.extra().inside_value, contained.into());
            self.unpin_all(older);
        }
        if let Some(from) = from {
            self.one_adopted(seq, from, fx);
        }
    }

    fn one_adopted(&mut self, seq: u64, of: (ProcessId, TaskName), fx: &mut Effects) {
        let Some(extra) = self.table.get_mut(seq).and_then(|r| r.extra.as_mut()) else { return };
        let Some(adopting) = extra.adopting.as_mut().filter(|a| a.from == of) else { return };
        adopting.missing -= 1;
        if adopting.missing > 0 {
            return;
        }
        let (peer, task) = of;
        extra.adopting = None;
        self.unreferenced.push(ObjectId { owner: self.settings.me, seq });
        self.say(peer, &Message::Adopted { task }, fx);
    }

    /// An owner acknowledged a registration, or does not know the object.
    pub(super) fn borrow_known(
        &mut self,
        owner: ProcessId,
        seq: u64,
        epoch: u64,
        known: bool,
        fx: &mut Effects,
    ) {
        let id = ObjectId { owner, seq };
        let Some(borrow) = self.borrows.all.get_mut(&id).filter(|b| b.epoch == epoch) else { return };
        borrow.registered = true;
        let sources = std::mem::take(&mut borrow.sources);
        self.end_sources(sources, fx);
        if !known {
            let outcome = self.unknown(id);
            self.end_borrowed(id, outcome, fx);
        }
        self.confirm_if_asked(id, fx);
    }

    fn end_sources(&mut self, sources: Vec<Held>, fx: &mut Effects) {
        for source in sources {
            match source {
                Held::Answer(key) => self.one_registered(key, fx),
                Held::Object(container) => self.unpin(container),
                Held::Result(seq, peer, task) => self.one_adopted(seq, (peer, task), fx),
            }
        }
    }

    /// Nothing here refers to the future any more: its owner is told. A registration that is not acknowledged is
    /// waited for, because something is kept for it.
    pub(super) fn free_borrow(&mut self, id: ObjectId, fx: &mut Effects) {
        let free = |b: &Borrow| b.pins == 0 && b.cell.handles() == 0;
        if !self.borrows.get(id).is_some_and(free) {
            return;
        }
        let Some(borrow) = self.borrows.all.remove(&id) else { return };
        if borrow.confirm {
            fx.confirmed.push((id, false));
        }
        self.end_line(id, fx);
        if let Some(places) = borrow.places.filter(|_| borrow.copied) {
            self.copy_dropped(id, places.attempt, fx);
        }
        if id.is_durable() {
            fx.detach.push(id);
        } else {
            self.say(id.owner, &Message::Release { seq: id.seq, epoch: borrow.epoch }, fx);
        }
        self.end_sources(borrow.sources, fx);
    }

    /// How a borrowed future ended, or makes the own task `seq` wait for it.
    pub(super) fn borrowed_ended_or_wait(
        &mut self,
        id: ObjectId,
        seq: u64,
        fx: &mut Effects,
    ) -> Option<Result<(), Arc<Error>>> {
        let Some(borrow) = self.borrows.all.get_mut(&id) else {
            let error = Error::OwnerDied { object: id, passed: Default::default() };
            return Some(Err(Arc::new(error)));
        };
        if let Some(ended) = borrow.cell.ended() {
            return Some(ended);
        }
        borrow.dependents.push(seq);
        self.want(id, fx);
        None
    }

    /// Somebody here wants the value of a future.
    pub fn ask(&mut self, id: ObjectId, bytes: bool, fx: &mut Effects) {
        if !self.owns(id) {
            self.want(id, fx);
        }
        if bytes && let Some(Outcome::Stored { len }) = self.outcome_of(id) {
            let places = self.places_of(id);
            self.fetch_for_handles(id, places, len, fx);
        }
        self.turn(fx);
    }

    fn want(&mut self, id: ObjectId, fx: &mut Effects) {
        let Some(borrow) = self.borrows.all.get_mut(&id) else { return };
        if !borrow.wanted && !borrow.cell.is_settled() {
            borrow.wanted = true;
            if id.is_durable() {
                fx.attach.push(id);
            } else {
                self.say(id.owner, &Message::Want { seq: id.seq, not_from: None }, fx);
            }
        }
    }

    /// The bytes could not be had from `from`: the owner may know better.
    pub(super) fn ask_owner_again(&mut self, id: ObjectId, from: ProcessId, fx: &mut Effects) {
        let Some(borrow) = self.borrows.all.get_mut(&id).filter(|b| !b.asking) else { return };
        borrow.tries += 1;
        let tries = super::objects::TRIES;
        if borrow.tries > tries {
            let why = format!("process {from}, which should have it, did not deliver it {tries} times");
            let error = Error::ObjectLost { object: id, why, passed: Default::default() };
            return self.end_borrowed(id, Outcome::Failed(Arc::new(error)), fx);
        }
        borrow.asking = true;
        let not_from = Some((from, borrow.attempt()));
        self.say(id.owner, &Message::Want { seq: id.seq, not_from }, fx);
    }

    pub(super) fn told_value(&mut self, owner: ProcessId, seq: u64, value: Payload, fx: &mut Effects) {
        self.end_borrowed(ObjectId { owner, seq }, Outcome::Value(value), fx);
    }

    pub(super) fn told_failed(&mut self, owner: ProcessId, seq: u64, error: Error, fx: &mut Effects) {
        self.end_borrowed(ObjectId { owner, seq }, Outcome::Failed(Arc::new(error)), fx);
    }

    pub(super) fn told_stored(
        &mut self,
        owner: ProcessId,
        seq: u64,
        places: Places,
        len: u64,
        fx: &mut Effects,
    ) {
        let id = ObjectId { owner, seq };
        let Some(borrow) = self.borrows.all.get_mut(&id) else { return };
        // Bytes that are here stay those of the attempt that they were fetched as.
        if !matches!(borrow.cell.outcome(), Some(Outcome::Value(_))) {
            borrow.places = Some(places.clone());
        }
        let asked = borrow.cell.was_asked();
        self.end_borrowed(id, Outcome::Stored { len }, fx);
        if asked {
            self.fetch_for_handles(id, places, len, fx);
        }
    }

    pub(super) fn end_borrowed(&mut self, id: ObjectId, outcome: Outcome, fx: &mut Effects) {
        let Some(borrow) = self.borrows.all.get_mut(&id) else { return };
        borrow.asking = false;
        fx.wake.append(borrow.cell.settle(outcome));
        for dependent in std::mem::take(&mut borrow.dependents) {
            self.argument_ended(dependent, id, fx);
        }
        self.lines.hear_of(id);
        self.unreferenced.push(id);
    }

    /// The owner `of`, or every owner, is gone: its futures end with [`Error::OwnerDied`] where they have not ended.
    pub(super) fn fail_borrowed(&mut self, of: Option<ProcessId>, fx: &mut Effects) {
        let concerned = |id: &&ObjectId| of.is_none_or(|p| p == id.owner && !id.is_durable());
        let all: Vec<ObjectId> = self.borrows.all.keys().filter(concerned).copied().collect();
        for id in all {
            let error = match of {
                Some(_) => Error::OwnerDied { object: id, passed: Default::default() },
                None => Error::Shutdown,
            };
            if let Some(borrow) = self.borrows.all.get_mut(&id) {
                // Its owner cannot acknowledge any more, and nobody has to be kept waiting for it.
                borrow.registered = true;
                let sources = std::mem::take(&mut borrow.sources);
                self.end_sources(sources, fx);
            }
            self.end_borrowed(id, Outcome::Failed(Arc::new(error)), fx);
            self.confirm_if_asked(id, fx);
        }
    }

    /// See [`Core::confirm`]: what was known of an actor when its handle came may have changed since, so its owner is asked.
    pub(super) fn confirm_borrowed(&mut self, id: ObjectId, fx: &mut Effects) {
        let Borrows { all, epoch } = &mut self.borrows;
        let Some(borrow) = all.get_mut(&id).filter(|borrow| !has_failed(&borrow.cell) && !self.ended) else {
            return fx.confirmed.push((id, false));
        };
        borrow.confirm = true;
        if std::mem::take(&mut borrow.registered) {
            *epoch += 1;
            borrow.epoch = *epoch;
            self.peers.meet(id.owner, fx);
            self.peers.say(id.owner, &Message::Borrow { seq: id.seq, epoch: borrow.epoch }, true, fx);
        }
    }

    fn confirm_if_asked(&mut self, id: ObjectId, fx: &mut Effects) {
        if let Some(borrow) = self.borrows.get_mut(id).filter(|borrow| borrow.confirm) {
            borrow.confirm = false;
            fx.confirmed.push((id, !has_failed(&borrow.cell)));
        }
    }
}
