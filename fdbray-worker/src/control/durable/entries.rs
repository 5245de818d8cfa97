//! The index entries of a record: a pure function of it, so that the index cannot disagree with the states.
//!
//! Transitions change records and nothing else. The [unit of work](super::work) compares the entries before and after
//! and writes the difference; the checker compares them with what is stored.

use super::FutureId;
use super::keys::{Keys, Ready, Timer};
use super::record::{Record, State};
use super::shape::ShapeId;
use crate::control::store::KeyValue;

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
            add(keys.ready_entry(&ready(record, *since)), soft(record))
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
        for argument in distinct(&spec.futures) {
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
pub(super) fn distinct(futures: &[FutureId]) -> Vec<FutureId> {
    let mut distinct = futures.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// What says that others may take a placed future.
pub(super) const SOFT: &[u8] = b"soft";

fn soft(record: &Record) -> &'static [u8] {
    match record.spec.place {
        Some(place) if !place.hard => SOFT,
        _ => b"",
    }
}
