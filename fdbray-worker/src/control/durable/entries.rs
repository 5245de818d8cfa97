//! The index entries of a record: a pure function of it, so that the index cannot disagree with the states.
//!
//! Transitions change records and nothing else. The [unit of work](super::work) compares the entries before and after
//! and writes the difference; the checker compares them with what is stored.

use super::FutureId;
use super::actors::Named;
use super::keys::{Keys, Ready, Timer};
use super::record::{Record, State};
use super::shape::ShapeId;
use crate::control::store::KeyValue;

/// For how many ticks a future that would rather run in a certain process is left to that.
pub(super) const LEFT_ALONE: u64 = 2;

/// Keys and values that are in the store because of this record, in no order.
pub(super) fn entries(keys: &Keys, record: &Record) -> Vec<KeyValue> {
    let (id, spec) = (record.id, &record.spec);
    let mut entries = Vec::with_capacity(4);
    let mut add = |key: crate::control::store::Key, value: &[u8]| entries.push((key.into(), value.to_vec()));
    match &record.state {
        State::Waiting { missing } => {
            for argument in missing {
                add(keys.waiting(*argument, id), b"");
            }
        }
        State::Unclaimed { not_before: Some(tick), .. } => add(keys.timer(*tick, Timer::Retry, id), b""),
        State::Unclaimed { since, not_before: None } => {
            add(keys.ready_entry(&ready(record, *since)), b"");
            if spec.place.is_some_and(|place| !place.hard) {
                add(keys.timer(since.saturating_add(LEFT_ALONE), Timer::Place, id), b"");
            }
        }
        State::Claimed(claim) => add(keys.claim(claim.by, id), &claim.nonce.to_le_bytes()),
        State::Realized(_) | State::Failed(_) | State::Cancelled { .. } => {}
    }
    if let Some(tick) = spec.deadline
        && !record.settled()
    {
        add(keys.timer(tick, Timer::Deadline, id), b"");
    }
    if let Some(tick) = record.expires {
        add(keys.timer(tick, Timer::Expiry, id), b"");
    }
    if !record.done() {
        for argument in spec.needs() {
            add(keys.hold(argument, id), b"");
        }
    }
    if record.spreading {
        add(keys.spreading(id), b"");
    }
    if let Some(key) = &spec.key {
        // The id, so that a reader of the key needs no parser for tuples.
        add(keys.name(key), id.to_string().as_bytes());
    }
    if !record.settled()
        && let Some(actor) = &spec.actor
        && let (Some(name), Some(named)) = (&actor.name, Named::of(id, Some(actor)))
    {
        add(keys.actor(name), &named.encode());
    }
    entries
}

/// Where a record that is ready since this tick stands in the index.
pub(super) fn ready(record: &Record, since: u64) -> Ready {
    Ready {
        shape: ShapeId::of(&record.spec.shape),
        place: record.spec.place.map(|place| place.process),
        priority: record.spec.priority,
        kind: record.kind(),
        since,
        id: record.id,
    }
}

/// Each once, in no order.
pub(super) fn distinct(futures: impl IntoIterator<Item = FutureId>) -> Vec<FutureId> {
    let mut distinct: Vec<FutureId> = futures.into_iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}
