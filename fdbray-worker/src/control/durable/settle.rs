//! How a future ends, and what follows for those that wait for it.

use super::FutureId;
use super::error::DurableError;
use super::failure::{Cause, Failure};
use super::inbox::Notice;
use super::record::{Arguments, Failed, Record, Retention, State, Value};
use super::work::Work;
use crate::control::store::Range;
use crate::id::ProcessId;
use std::collections::BTreeSet;

/// How often a future that is to go, but is needed by others still, is looked at again, in ticks.
pub(super) const LOOK_AGAIN: u64 = 60;

impl Record {
    /// Whether there may be chunks of it.
    pub(super) fn has_chunks(&self) -> bool {
        let value =
            matches!(&self.state, State::Realized(realized) if matches!(realized.value, Value::Chunks(_)));
        value || self.spec.durable_value || matches!(self.spec.arguments, Arguments::Chunks(_))
    }
}

impl Work {
    /// Ends a future that was loaded, and tells everybody who waits for it. What was claimed is taken from its
    /// claimer, who is told, unless it is `by` itself.
    pub(super) async fn settle(
        &mut self,
        id: FutureId,
        end: State,
        by: Option<ProcessId>,
    ) -> Result<(), DurableError> {
        let mut ended = vec![(id, end)];
        while let Some((id, end)) = ended.pop() {
            // Two of its arguments may have failed at once.
            if self.expect(id)?.settled() {
                continue;
            }
            self.end(id, end, by).await?;
            if self.expect(id)?.dependents {
                ended.extend(self.tell_dependents(id).await?);
            }
        }
        Ok(())
    }

    /// Goes on telling those that wait for a future that has ended. Returns whether all of them know.
    pub(super) async fn spread(&mut self, id: FutureId) -> Result<bool, DurableError> {
        self.load([id]).await?;
        if !self.get(id)?.is_some_and(|record| record.spreading) {
            return Ok(true);
        }
        for (dependent, end) in self.tell_dependents(id).await? {
            self.settle(dependent, end, None).await?;
        }
        Ok(!self.expect(id)?.spreading)
    }

    /// Changes the record itself.
    async fn end(&mut self, id: FutureId, end: State, by: Option<ProcessId>) -> Result<(), DurableError> {
        let now = self.now;
        let record = self.edit(id)?;
        if let State::Claimed(claim) = &record.state
            && by != Some(claim.by)
        {
            let claimer = claim.by;
            self.notify(claimer, Notice::Revoked(id));
        }
        let record = self.edit(id)?;
        record.state = end;
        record.suspect = false;
        record.last_error = None;
        record.expires = match record.spec.retention {
            _ if record.released => Some(now),
            Retention::Ticks(ticks) => Some(now.saturating_add(ticks)),
            Retention::Forever => None,
        };
        let waiter = record.waiter.take();
        let waiters = std::mem::take(&mut record.waiters);
        let (done, chunks) = (record.done(), record.has_chunks());
        if done {
            record.spec.arguments = Arguments::Dropped;
        }
        let actor = record.spec.actor.is_some();
        let kept = match &record.state {
            State::Realized(realized) if matches!(realized.value, Value::Chunks(_)) => Some(realized.attempt),
            _ => None,
        };
        if done && chunks {
            // The arguments, and what other attempts may have left behind.
            self.clear_chunks_but(id, kept)?;
        }
        if actor {
            self.forget_checkpoint(id)?;
        }
        if let Some(waiter) = waiter {
            self.notify(waiter, Notice::Settled(id));
        }
        if waiters {
            let all = self.tx.range(Range::children(&self.keys.waiters(id))).await?;
            for (key, _) in &all {
                let waiter =
                    self.keys.rest(key).last().and_then(|last| last.as_u64()).and_then(ProcessId::new);
                if let Some(waiter) = waiter {
                    self.notify(waiter, Notice::Settled(id));
                }
            }
            self.clear(&self.keys.waiters(id))?;
        }
        Ok(())
    }

    fn clear_chunks_but(&self, id: FutureId, kept: Option<u32>) -> Result<(), DurableError> {
        let Some(kept) = kept else { return self.clear(&self.keys.chunks_of(id)) };
        let (first, last) = self.keys.chunks_of(id).children();
        self.tx.clear_range(first, self.keys.chunks(id, kept))?;
        self.tx.clear_range(self.keys.chunks(id, kept).children().1, last)?;
        Ok(())
    }

    /// Tells as many dependents as the budget has room for. Returns those that end because of this one's failure.
    async fn tell_dependents(&mut self, id: FutureId) -> Result<Vec<(FutureId, State)>, DurableError> {
        let limit = self.budget;
        let range = Range::children(&self.keys.waiting_for(id)).limit(limit + 1);
        let waiting = self.tx.range(range).await?;
        let parse = |key: &Vec<u8>| FutureId::from_elements(&self.keys.rest(key));
        let mut dependents: Vec<FutureId> = waiting.iter().filter_map(|(key, _)| parse(key)).collect();
        if self.placing {
            let known: BTreeSet<FutureId> = dependents.iter().copied().collect();
            dependents.extend(self.waiting_here(id).filter(|waiting| !known.contains(waiting)));
        }
        let more = dependents.len() > limit;
        let (now, failure) = (self.now, self.expect(id)?.failure());
        self.load(dependents.iter().copied().take(limit)).await?;
        let (mut failed, mut newer) = (Vec::new(), false);
        for dependent in dependents.into_iter().take(limit) {
            self.budget -= 1;
            let record = match self.edit(dependent) {
                Ok(record) => record,
                // Left to a process that can read it.
                Err(DurableError::NewerRecord { .. }) => {
                    newer = true;
                    continue;
                }
                // Ended and removed in this transaction.
                Err(DurableError::NoSuchFuture(_)) => continue,
                Err(error) => return Err(error),
            };
            let State::Waiting { missing } = &mut record.state else { continue };
            if !missing.contains(&id) {
                continue;
            }
            if let Some(failure) = &failure {
                failed.push((dependent, failed_by(failure, record, now)));
                continue;
            }
            missing.retain(|argument| *argument != id);
            if missing.is_empty() {
                record.state = State::Unclaimed { since: now, not_before: None };
            }
        }
        let record = self.edit(id)?;
        record.spreading = more || newer;
        record.dependents = record.spreading;
        if more {
            self.unspread.push(id);
        }
        Ok(failed)
    }
}

/// The end of a future whose argument failed.
pub(super) fn failed_by(failure: &Failure, dependent: &Record, at: u64) -> State {
    let failure = failure.clone().passed_to(&dependent.spec.function);
    State::Failed(Failed { failure, attempt: None, at })
}

/// The end of a future that nobody's error ended.
pub(super) fn failed(cause: Cause, at: u64) -> State {
    State::Failed(Failed { failure: cause.into(), attempt: None, at })
}
