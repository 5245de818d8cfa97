//! The ownership table: a record for each future that this process owns.

use crate::{
    cell::Cell,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::{num::NonZero, sync::Arc};
use thin_vec::ThinVec;

use super::{Nanos, message::TaskName, placement};

/// A future that this process owns, from submission until nothing refers to it.
pub(super) struct Record {
    pub cell: Arc<Cell>,
    pub state: State,
    pub template: u32,
    /// Attempts made, or being made.
    pub attempt: u32,
    /// Attempts that ended with their worker.
    pub died: u16,
    /// Attempts that ended with an error of the user's code.
    pub failed: u16,
    /// Pending tasks, containers and registrations of this process that need the value.
    pub pins: u32,
    /// The line over which it goes, counted from one, if it calls an actor.
    pub line: Option<NonZero<u32>>,
    /// How often the actor was made again, if it is one.
    pub restarts: u16,
    pub flags: Flags,
    /// The encoded arguments, kept until no attempt can need them.
    pub arguments: Payload,
    /// Where the output of the task is shown; with it also what nested calls inherit.
    pub root: Option<ProcessId>,
    /// What most records do not have.
    pub extra: Option<Box<Extra>>,
}

/// Where the work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For arguments.
    Waiting,
    /// In the queue of its shape.
    Queued,
    /// For the time of another attempt.
    Resting,
    /// With a worker, under a lease (by its place in `Owner::leases`).
    Sent { lease: u32, number: u32 },
    /// On the stack of the task that awaits it.
    Inline,
    /// Ended with a value that somebody could not fetch: this process tries itself.
    Checking,
    /// Ended.
    Settled,
}

/// Yes-or-no facts of a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// Made by a task: runs before what came from outside, the newest first.
    pub nested: bool,
    /// An attempt may have killed its worker: sent alone from now on.
    pub suspect: bool,
    /// Counted in the budget of pending calls.
    pub pending: bool,
    /// It cannot be computed again: its arguments are gone, or it was never computed.
    pub forgotten: bool,
}

/// The rarer parts of a record.
#[derive(Default)]
pub(super) struct Extra {
    /// The futures among the arguments, in order.
    pub futures: Box<[ObjectId]>,
    /// How many of them have not ended.
    pub missing: u32,
    /// Futures inside the arguments, held until the task has ended.
    pub inside_arguments: ThinVec<ObjectId>,
    /// Futures inside the value, held until the record is freed.
    pub inside_value: ThinVec<ObjectId>,
    /// Own tasks that wait for this as an argument.
    pub dependents: ThinVec<u64>,
    /// Other processes that hold handles, with their last registration.
    pub borrowers: ThinVec<(ProcessId, u64)>,
    /// Other processes that want to be told.
    pub wanted_by: ThinVec<ProcessId>,
    /// Who keeps the value, when this process does not.
    pub holder: Option<ProcessId>,
    /// Who has a copy of it, or was sent a task that needs one; the last at the end.
    pub copies: ThinVec<ProcessId>,
    pub deadline: Option<NonZero<Nanos>>,
    /// How often a worker could not get an argument.
    pub missed: u32,
    pub adopting: Option<Box<Adopting>>,
    pub place: Option<Box<Placing>>,
}

/// Where a call is to run.
pub(super) struct Placing {
    pub place: placement::Place,
    /// When it was first left to that process.
    pub since: Option<Nanos>,
    /// That process has had its time: whoever has room may run it.
    pub given_up: bool,
}

/// A result of another process whose futures are being registered.
pub(super) struct Adopting {
    /// Who holds them until then, for which task.
    pub from: (ProcessId, TaskName),
    /// Registrations that are not acknowledged.
    pub missing: u32,
}

impl Record {
    /// A record of a future that has ended already.
    pub fn settled(cell: Arc<Cell>) -> Self {
        Record {
            cell,
            state: State::Settled,
            template: 0,
            attempt: 0,
            died: 0,
            failed: 0,
            pins: 0,
            line: None,
            restarts: 0,
            flags: Flags { forgotten: true, ..Flags::default() },
            arguments: Payload::copy_from(b""),
            root: None,
            extra: None,
        }
    }

    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Whether nothing refers to it any more.
    pub fn is_free(&self) -> bool {
        self.pins == 0
            && self.state == State::Settled
            && self.cell.handles() == 0
            && self.extra.as_ref().is_none_or(|x| x.borrowers.is_empty() && x.adopting.is_none())
    }
}

/// Records by number. A number is a place and how often the place was used before, so none is ever used twice.
#[derive(Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    records: usize,
}

struct Place {
    used: u32,
    record: Option<Record>,
}

impl Table {
    /// The number that the next record will get.
    pub fn next_seq(&mut self) -> u64 {
        if self.free.is_empty() {
            self.free.push(self.places.len() as u32);
            self.places.push(Place { used: 1, record: None });
        }
        let place = *self.free.last().unwrap_or(&0);
        seq_of(place, self.places[place as usize].used)
    }

    /// Puts `record` at the number that [`Table::next_seq`] told.
    pub fn insert(&mut self, record: Record) -> u64 {
        let seq = self.next_seq();
        self.free.pop();
        self.records += 1;
        self.places[place_of(seq)].record = Some(record);
        seq
    }

    pub fn get(&self, seq: u64) -> Option<&Record> {
        self.places.get(place_of(seq)).filter(|p| p.used == used_of(seq))?.record.as_ref()
    }

    pub fn get_mut(&mut self, seq: u64) -> Option<&mut Record> {
        self.places.get_mut(place_of(seq)).filter(|p| p.used == used_of(seq))?.record.as_mut()
    }

    pub fn remove(&mut self, seq: u64) -> Option<Record> {
        let place = self.places.get_mut(place_of(seq)).filter(|p| p.used == used_of(seq))?;
        let record = place.record.take()?;
        self.records -= 1;
        // A place that was used so often that its count would reach the bit of durable futures is left alone for ever.
        if place.used < 1 << 31 {
            place.used += 1;
            self.free.push(place_of(seq) as u32);
        }
        Some(record)
    }

    pub fn len(&self) -> usize {
        self.records
    }

    /// All numbers in use.
    pub fn seqs(&self) -> Vec<u64> {
        let used = |(i, p): (usize, &Place)| p.record.as_ref().map(|_| seq_of(i as u32, p.used));
        self.places.iter().enumerate().filter_map(used).collect()
    }
}

/// The place is in the low half, so that numbers are short on the wire as long as places are used for the first time.
fn seq_of(place: u32, used: u32) -> u64 {
    (u64::from(used - 1) << 32) | (u64::from(place) + 1)
}

fn place_of(seq: u64) -> usize {
    (seq as u32).wrapping_sub(1) as usize
}

fn used_of(seq: u64) -> u32 {
    ((seq >> 32) as u32).wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::settled(Cell::pending(ObjectId { owner: ProcessId::new(1).unwrap(), seq: 1 }))
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let mut table = Table::default();
        let first = table.insert(record());
        assert_eq!((first, table.next_seq()), (1, 2));
        assert!(table.remove(first).is_some() && table.remove(first).is_none());
        let second = table.insert(record());
        assert_ne!(first, second);
        assert!(table.get(first).is_none() && table.get(second).is_some());
        assert!(table.get(0).is_none() && table.get(u64::MAX).is_none());
        assert_eq!(table.seqs(), [second]);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Place>() <= 128, "{}", size_of::<Place>());
        assert!(size_of::<Extra>() <= 104, "{}", size_of::<Extra>());
    }
}
