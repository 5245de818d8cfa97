//! Where the records of durable futures are. The table is in the module's documentation.

use super::FutureId;
use super::shape::ShapeId;
use crate::control::store::key::Element;
use crate::control::store::{Key, Range, StampedKey};
use crate::id::ProcessId;

/// Over how many parts of the index the ready futures of one kind are spread.
const SHARDS: u64 = 16;

/// Where fewer are ready than this, a claim sees all of them in one read. Few in tests.
pub(super) const FIRST: usize = if cfg!(test) { 3 } else { 16 };

#[derive(Clone)]
pub(super) struct Keys {
    root: Key,
}

/// Where a ready future stands in the index, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) shape: ShapeId,
    pub(super) place: Option<ProcessId>,
    pub(super) priority: i32,
    pub(super) kind: u64,
    pub(super) since: u64,
    pub(super) id: FutureId,
}

/// What is due at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Deadline,
    Retry,
    Place,
    Expiry,
}

impl Keys {
    pub(super) fn new(cluster: &str) -> Self {
        Keys { root: Key::new().str("fdbray").str(cluster).str("durable") }
    }

    fn below(&self, kind: &str) -> Key {
        self.root.clone().str(kind)
    }

    /// The elements of a key behind the name of its kind.
    pub(super) fn rest(&self, key: &[u8]) -> Vec<Element> {
        let inner = key.get(self.root.as_ref().len()..).unwrap_or_default();
        let mut elements = Key::elements(inner).unwrap_or_default();
        elements.drain(..elements.len().min(1));
        elements
    }

    pub(super) fn format(&self) -> Key {
        self.below("format")
    }

    pub(super) fn clock(&self) -> Key {
        self.below("clock")
    }

    pub(super) fn futures(&self) -> Key {
        self.below("future")
    }

    pub(super) fn future(&self, id: FutureId) -> Key {
        id.append(self.futures())
    }

    pub(super) fn named(&self) -> Key {
        self.below("key")
    }

    pub(super) fn name(&self, key: &str) -> Key {
        self.named().str(key)
    }

    pub(super) fn actors(&self) -> Key {
        self.below("actor")
    }

    pub(super) fn actor(&self, name: &str) -> Key {
        self.actors().str(name)
    }

    pub(super) fn checkpoints(&self) -> Key {
        self.below("checkpoint")
    }

    pub(super) fn checkpoint(&self, id: FutureId) -> Key {
        id.append(self.checkpoints())
    }

    pub(super) fn checkpoint_chunks(&self, id: FutureId, claim: u32, version: u64) -> Key {
        self.checkpoint(id).u64(claim.into()).u64(version)
    }

    pub(super) fn checkpoint_chunk(&self, id: FutureId, claim: u32, version: u64, number: u64) -> Key {
        self.checkpoint_chunks(id, claim, version).u64(number)
    }

    pub(super) fn all_namings(&self) -> Key {
        self.below("naming")
    }

    /// The names of actors that a process owns.
    pub(super) fn namings_of(&self, process: ProcessId) -> Key {
        self.all_namings().u64(process.get())
    }

    pub(super) fn naming(&self, process: ProcessId, name: &str) -> Key {
        self.namings_of(process).str(name)
    }

    pub(super) fn ready(&self) -> Key {
        self.below("ready")
    }

    pub(super) fn ready_shape(&self, shape: ShapeId) -> Key {
        self.ready().u64(shape.0)
    }

    pub(super) fn ready_place(&self, shape: ShapeId, place: Option<ProcessId>) -> Key {
        self.ready_shape(shape).u64(place.map_or(0, ProcessId::get))
    }

    /// The first ready futures of one shape and place, by priority and kind.
    pub(super) fn first_ready(&self, shape: ShapeId, place: Option<ProcessId>) -> Range {
        Range::children(&self.ready_place(shape, place)).limit(FIRST)
    }

    /// All ready futures of one shape, place, priority and kind.
    pub(super) fn ready_group(&self, ready: &Ready) -> Key {
        // The highest priority comes first.
        self.ready_place(ready.shape, ready.place).i64(-i64::from(ready.priority)).u64(ready.kind)
    }

    /// Where shard number `shard` of a group begins.
    pub(super) fn ready_shard(&self, ready: &Ready, shard: u64) -> Key {
        self.ready_group(ready).u64(shard % SHARDS)
    }

    pub(super) fn ready_entry(&self, ready: &Ready) -> Key {
        let shard = ready.id.process.get() ^ ready.id.seq;
        ready.id.append(self.ready_shard(ready, shard).u64(ready.since))
    }

    /// The entry that a key of the index is.
    pub(super) fn parse_ready(&self, key: &[u8]) -> Option<Ready> {
        let rest = self.rest(key);
        let [shape, place, Element::Int(priority), kind, _shard, since, ..] = &rest[..] else { return None };
        Some(Ready {
            shape: ShapeId(shape.as_u64()?),
            place: ProcessId::new(place.as_u64()?),
            priority: i32::try_from(-*priority).ok()?,
            kind: kind.as_u64()?,
            since: since.as_u64()?,
            id: FutureId::from_elements(&rest)?,
        })
    }

    /// Whether a key is one of the index of ready futures.
    pub(super) fn is_ready(&self, key: &[u8]) -> bool {
        let (begin, end) = self.ready().children();
        (&begin[..]..&end[..]).contains(&key)
    }

    pub(super) fn claims(&self) -> Key {
        self.below("claim")
    }

    pub(super) fn claims_of(&self, by: ProcessId) -> Key {
        self.claims().u64(by.get())
    }

    pub(super) fn claim(&self, by: ProcessId, id: FutureId) -> Key {
        id.append(self.claims_of(by))
    }

    pub(super) fn timers(&self) -> Key {
        self.below("timer")
    }

    pub(super) fn timers_at(&self, tick: u64) -> Key {
        self.timers().u64(tick)
    }

    pub(super) fn timer(&self, tick: u64, timer: Timer, id: FutureId) -> Key {
        let timer = match timer {
            Timer::Deadline => "deadline",
            Timer::Retry => "retry",
            Timer::Place => "place",
            Timer::Expiry => "expiry",
        };
        id.append(self.timers_at(tick).str(timer))
    }

    /// Which timer of which future a key is.
    pub(super) fn parse_timer(&self, key: &[u8]) -> Option<(Timer, FutureId)> {
        let rest = self.rest(key);
        let timer = match rest.get(1)? {
            Element::Str(timer) if timer == "deadline" => Timer::Deadline,
            Element::Str(timer) if timer == "retry" => Timer::Retry,
            Element::Str(timer) if timer == "place" => Timer::Place,
            Element::Str(timer) if timer == "expiry" => Timer::Expiry,
            _ => return None,
        };
        Some((timer, FutureId::from_elements(&rest)?))
    }

    pub(super) fn all_waiting(&self) -> Key {
        self.below("waiting")
    }

    /// Those that wait for `argument`.
    pub(super) fn waiting_for(&self, argument: FutureId) -> Key {
        argument.append(self.all_waiting())
    }

    pub(super) fn waiting(&self, argument: FutureId, dependent: FutureId) -> Key {
        dependent.append(self.waiting_for(argument))
    }

    pub(super) fn all_holds(&self) -> Key {
        self.below("hold")
    }

    /// Those that may still need the value of `argument`.
    pub(super) fn holds_on(&self, argument: FutureId) -> Key {
        argument.append(self.all_holds())
    }

    pub(super) fn hold(&self, argument: FutureId, dependent: FutureId) -> Key {
        dependent.append(self.holds_on(argument))
    }

    pub(super) fn all_spreading(&self) -> Key {
        self.below("spread")
    }

    pub(super) fn spreading(&self, id: FutureId) -> Key {
        id.append(self.all_spreading())
    }

    pub(super) fn all_waiters(&self) -> Key {
        self.below("waiter")
    }

    pub(super) fn waiters(&self, id: FutureId) -> Key {
        id.append(self.all_waiters())
    }

    pub(super) fn waiter(&self, id: FutureId, waiter: ProcessId) -> Key {
        self.waiters(id).u64(waiter.get())
    }

    pub(super) fn inboxes(&self) -> Key {
        self.below("inbox")
    }

    pub(super) fn inbox(&self, of: ProcessId) -> Key {
        self.inboxes().u64(of.get())
    }

    pub(super) fn next_notices(&self, of: ProcessId, number: u16) -> StampedKey {
        self.inbox(of).next_stamp(number)
    }

    pub(super) fn bells(&self) -> Key {
        self.below("bell")
    }

    pub(super) fn bell(&self, of: ProcessId) -> Key {
        self.bells().u64(of.get())
    }

    pub(super) fn shapes(&self) -> Key {
        self.below("shape")
    }

    pub(super) fn shape(&self, shape: ShapeId) -> Key {
        self.shapes().u64(shape.0)
    }

    pub(super) fn shapes_changed(&self) -> Key {
        self.below("shapes")
    }

    pub(super) fn signal(&self, shape: ShapeId) -> Key {
        self.below("signal").u64(shape.0)
    }

    pub(super) fn all_chunks(&self) -> Key {
        self.below("chunk")
    }

    pub(super) fn chunks_of(&self, id: FutureId) -> Key {
        id.append(self.all_chunks())
    }

    pub(super) fn chunks(&self, id: FutureId, attempt: u32) -> Key {
        self.chunks_of(id).u64(attempt.into())
    }

    pub(super) fn chunk(&self, id: FutureId, attempt: u32, number: u64) -> Key {
        self.chunks(id, attempt).u64(number)
    }

    pub(super) fn all_staged(&self) -> Key {
        self.below("staged")
    }

    pub(super) fn staged(&self, id: FutureId) -> Key {
        id.append(self.all_staged())
    }

    /// What a process wrote ahead of its submissions.
    pub(super) fn staged_by(&self, process: ProcessId) -> Key {
        self.all_staged().u64(process.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(priority: i32, kind: u64, since: u64) -> Ready {
        let id = FutureId::new(ProcessId::new(9).unwrap(), 7);
        Ready { shape: ShapeId(1), place: None, priority, kind, since, id }
    }

    #[test]
    fn the_index_is_ordered_by_priority_then_by_age_and_entries_parse() {
        let keys = Keys::new("demo");
        let order = [ready(5, 9, 9), ready(0, 1, 1), ready(0, 1, 300), ready(-1, 0, 0)];
        let entries: Vec<Key> = order.iter().map(|ready| keys.ready_entry(ready)).collect();
        assert!(entries.is_sorted());
        for (key, ready) in entries.iter().zip(order) {
            assert_eq!(keys.parse_ready(key.as_ref()), Some(ready));
            let (begin, end) = keys.ready_group(&ready).children();
            assert!(begin[..] < *key.as_ref() && *key.as_ref() < end[..]);
        }
    }

    #[test]
    fn timers_parse_and_the_due_ones_are_a_range() {
        let keys = Keys::new("demo");
        let id = ready(0, 0, 0).id;
        let key = keys.timer(300, Timer::Retry, id);
        assert_eq!(keys.parse_timer(key.as_ref()), Some((Timer::Retry, id)));
        assert!(keys.timers_at(300) < key && key < keys.timers_at(301));
    }
}
