//! The owner's side of borrowing: who has handles of its futures, and who wants to be told of their end.

use super::{Core, Effects, message::Message};
use crate::{
    cell::Outcome,
    id::{ObjectId, ProcessId},
};

impl Core {
    pub(super) fn borrowed_by(&mut self, peer: ProcessId, seq: u64, epoch: u64, fx: &mut Effects) {
        let known = match self.table.get_mut(seq) {
            Some(record) => {
                let borrowers = &mut record.extra().borrowers;
                match borrowers.iter_mut().find(|(p, _)| *p == peer) {
                    Some((_, last)) => *last = epoch,
                    None => borrowers.push((peer, epoch)),
                }
                true
            }
            None => false,
        };
        // Who looked an actor up by its name hears at once that it has ended.
        let ended = self.table.get(seq).is_some_and(|r| matches!(r.cell.outcome(), Some(Outcome::Failed(_))));
        if ended && self.is_actor(seq) {
            self.tell_outcome(seq, peer, fx);
        }
        self.say(peer, &Message::Borrowed { seq, epoch, known }, fx);
    }

    pub(super) fn released_by(&mut self, peer: ProcessId, seq: u64, epoch: u64) {
        if let Some(extra) = self.table.get_mut(seq).and_then(|r| r.extra.as_mut()) {
            extra.borrowers.retain(|(p, last)| *p != peer || *last > epoch);
            let still = extra.borrowers.iter().any(|(p, _)| *p == peer);
            extra.wanted_by.retain(|p| *p != peer || still);
            self.unreferenced.push(ObjectId { owner: self.settings.me, seq });
        }
    }

    pub(super) fn wanted_by(
        &mut self,
        peer: ProcessId,
        seq: u64,
        not_from: Option<(ProcessId, u32)>,
        fx: &mut Effects,
    ) {
        if self.table.get(seq).is_none() {
            let id = ObjectId { owner: self.settings.me, seq };
            if let Outcome::Failed(error) = self.unknown(id) {
                self.say(peer, &Message::ValueFailed { seq, error: Box::new((*error).clone()) }, fx);
            }
            return;
        }
        if let Some((holder, attempt)) = not_from {
            if self.is_actor(seq) {
                // It may have been made again meanwhile, in the same process.
                if self.table.get(seq).is_some_and(|r| r.attempt == attempt) {
                    self.actor_lost(seq, holder, false, fx);
                }
            } else {
                self.not_had_from(seq, holder, fx);
            }
        }
        let Some(record) = self.table.get_mut(seq) else { return };
        if record.cell.is_settled() {
            self.tell_outcome(seq, peer, fx);
        } else if !record.extra().wanted_by.contains(&peer) {
            record.extra().wanted_by.push(peer);
        }
    }

    /// Tells a borrower how the own future `seq` ended.
    pub(super) fn tell_outcome(&mut self, seq: u64, peer: ProcessId, fx: &mut Effects) {
        let Some(outcome) = self.table.get(seq).and_then(|r| r.cell.outcome()) else { return };
        match outcome {
            Outcome::Value(value) if !value.is_large(self.settings.inline) => {
                self.say(peer, &Message::Value { seq, value: value.in_message() }, fx);
            }
            Outcome::Value(value) => {
                let (places, len) = (self.places_of(ObjectId { owner: self.me(), seq }), value.len() as u64);
                self.say(peer, &Message::ValueStored { seq, places, len }, fx);
            }
            Outcome::Stored { len } => {
                let places = self.places_of(ObjectId { owner: self.me(), seq });
                self.say(peer, &Message::ValueStored { seq, places, len }, fx);
            }
            Outcome::Failed(error) => {
                self.say(peer, &Message::ValueFailed { seq, error: Box::new((*error).clone()) }, fx);
            }
        }
    }

    /// A borrower is gone, and a worker that kept results for us or copies of them.
    pub(super) fn registrations_lost(&mut self, peer: ProcessId) {
        for seq in self.table.seqs() {
            let Some(extra) = self.table.get_mut(seq).and_then(|r| r.extra.as_mut()) else { continue };
            let before = extra.borrowers.len();
            extra.borrowers.retain(|(p, _)| *p != peer);
            extra.wanted_by.retain(|p| *p != peer);
            extra.copies.retain(|p| *p != peer);
            let adopting = extra.adopting.as_ref().is_some_and(|a| a.from.0 == peer);
            if adopting {
                extra.adopting = None;
            }
            if adopting || extra.borrowers.len() < before {
                self.unreferenced.push(ObjectId { owner: self.settings.me, seq });
            }
        }
    }
}
