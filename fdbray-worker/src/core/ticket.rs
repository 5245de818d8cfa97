//! Tickets: numbers that a caller gives to its calls of lasting actors, one for all times that a call is sent.
//!
//! They count up over all actors and lines of the process, so that none is used twice. With each call the caller says which
//! of its tickets for this actor were the last that it will not use again.

use super::{Core, table::State};
use crate::{options::Checkpoints, registry::Role};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// The tickets of this process.
#[derive(Default)]
pub(super) struct Tickets {
    last: u64,
    /// By call, which is one that was not answered: its line and ticket.
    by_call: FxHashMap<u64, (u32, u64)>,
    /// By line, those of calls that were not answered.
    open: BTreeMap<u32, BTreeSet<u64>>,
}

/// What a call carries that is run once however often it is sent.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    pub number: u64,
    /// The caller is done with all tickets for this actor below this one.
    pub below: u64,
}

impl Tickets {
    /// That of the call `seq` over `line`, which is sent now, or again.
    fn of(&mut self, line: u32, seq: u64) -> Ticket {
        let last = &mut self.last;
        let (_, number) = *self.by_call.entry(seq).or_insert_with(|| {
            *last += 1;
            (line, *last)
        });
        let open = self.open.entry(line).or_default();
        open.insert(number);
        Ticket { number, below: open.first().copied().unwrap_or(number) }
    }

    /// The call was answered, or is of no use any more. Should it be attempted again, that is another call.
    pub fn done(&mut self, seq: u64) {
        if self.by_call.is_empty() {
            return;
        }
        let Some((line, number)) = self.by_call.remove(&seq) else { return };
        if let Entry::Occupied(mut open) = self.open.entry(line) {
            open.get_mut().remove(&number);
            if open.get().is_empty() {
                open.remove();
            }
        }
    }

    pub fn len(&self) -> usize {
        self.by_call.len()
    }
}

impl Core {
    /// The ticket of the own call `seq`, if it changes the state of a lasting actor.
    pub(super) fn ticket_of(&mut self, seq: u64) -> Option<Ticket> {
        let record = self.table.get(seq)?;
        let spec = self.templates.spec(record.template);
        if spec.checkpoints.is_none() || spec.role != Role::Exclusive {
            return None;
        }
        let line = record.line?.get() - 1;
        Some(self.tickets.of(line, seq))
    }

    /// Whether the own call `seq`, whose actor has ended or whose worker is gone, may be sent again. If it may have been
    /// `started` that spends an attempt; but not of what has an effect only once it is answered.
    pub(super) fn may_be_sent_again(&mut self, seq: u64, started: bool) -> bool {
        let Some(record) = self.table.get_mut(seq) else { return false };
        let spec = self.templates.spec(record.template);
        if spec.role == Role::Checkpoint {
            // The next incarnation has not become what was to be kept.
            return false;
        }
        if !started || (spec.role.is_method() && matches!(spec.checkpoints, Some(Checkpoints::Every(_)))) {
            return true;
        }
        record.died += 1;
        u32::from(record.died) <= spec.retries
    }

    /// Puts the own call `seq` back to where it waits to be sent.
    pub(super) fn send_again(&mut self, seq: u64, started: bool) {
        let Some(record) = self.table.get_mut(seq) else { return };
        record.attempt -= u32::from(!started);
        record.state = State::Queued;
        self.queue_up(seq, true);
    }
}
