//! Completing: an attempt ends with a value or an error, and its future with it, unless the error is tried again.

use super::FutureId;
use super::claim::Token;
use super::error::DurableError;
use super::failure::Failure;
use super::record::{Failed, INLINE_VALUE, Realized, State, Value};
use super::transition::Durable;
use super::work::{Ahead, Work};
use crate::id::ProcessId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What one transaction completes, at most, about.
const BATCH_BYTES: usize = 1 << 20;
const BATCH: usize = 500;
/// The longest pause before an error is tried again, in ticks.
const LONGEST_PAUSE: u64 = 64;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this value, of at most [`INLINE_VALUE`] bytes.
    Value(Vec<u8>),
    /// With a value of so many bytes that [`Durable::write_value`] has written.
    Chunks(u64),
    /// With a value of so many bytes that this process keeps.
    Kept(u64),
    /// With an error of the function's, or a panic. It is tried again if the call's options say so.
    Error(Failure),
    /// With an error that trying again does not help: arguments that do not decode.
    Final(Failure),
}

/// What became of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// The future has ended with it.
    Settled,
    /// It will be attempted again: because of this outcome, or because its claim was given back before.
    Retried,
    /// The claim is not current any more: the outcome is discarded.
    Stale,
}

impl Durable {
    /// Ends attempts that were started, in as few transactions as they fit into. Each takes effect once.
    pub async fn complete(
        &self,
        by: ProcessId,
        outcomes: Vec<(Token, Outcome)>,
    ) -> Result<Vec<Completed>, DurableError> {
        self.complete_for(by, &[], outcomes).await
    }

    /// The same; it is quicker when the `waiters`, who are likely to be told, are known before.
    pub async fn complete_for(
        &self,
        by: ProcessId,
        waiters: &[ProcessId],
        outcomes: Vec<(Token, Outcome)>,
    ) -> Result<Vec<Completed>, DurableError> {
        let members: BTreeSet<ProcessId> = waiters.iter().copied().chain([by]).collect();
        let mut results = Vec::with_capacity(outcomes.len());
        let mut rest = outcomes.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some((token, outcome)) = rest.next_if(|_| bytes < BATCH_BYTES && batch.len() < BATCH) {
                outcome.check()?;
                bytes += 1000 + if let Outcome::Value(value) = &outcome { value.len() } else { 0 };
                batch.push((token, outcome));
            }
            let futures = batch.iter().map(|(token, _)| token.id).collect();
            let (batch, ahead) =
                (Arc::new(batch), Ahead { members: members.clone(), futures, ..Ahead::default() });
            let completed = self.transition_with(ahead, move |work| {
                let batch = batch.clone();
                Box::pin(async move {
                    work.require_member(by).await?;
                    work.load(batch.iter().map(|(token, _)| token.id)).await?;
                    let mut completed = Vec::with_capacity(batch.len());
                    for (token, outcome) in batch.iter() {
                        completed.push(work.complete(by, *token, outcome).await?);
                    }
                    Ok(completed)
                })
            });
            results.extend(completed.await?);
        }
        Ok(results)
    }
}

impl Outcome {
    /// Whether it fits into a record.
    pub(super) fn check(&self) -> Result<(), DurableError> {
        match self {
            Outcome::Value(value) if value.len() > INLINE_VALUE => Err(DurableError::TooLarge {
                what: "a value in a record",
                len: value.len(),
                limit: INLINE_VALUE,
                hint: "keep it, or write it in chunks",
            }),
            _ => Ok(()),
        }
    }
}

impl Work {
    async fn complete(
        &mut self,
        by: ProcessId,
        token: Token,
        outcome: &Outcome,
    ) -> Result<Completed, DurableError> {
        let id = token.id;
        let attempt = match self.current(by, token) {
            Ok((_, claim)) => claim.attempt,
            Err(DurableError::Stale(_)) => return Ok(self.completed_before(by, token)),
            Err(error) => return Err(error),
        };
        // Nothing ends that was not started: the claimer's mistake, which must not cost anybody an attempt.
        let Some(attempt) = attempt else { return Ok(Completed::Stale) };
        if let Outcome::Chunks(len) = outcome
            && !self.has_written(id, attempt, *len).await?
        {
            return Ok(Completed::Stale);
        }
        let at = self.now;
        let realized = |value| State::Realized(Realized { value, by, attempt, at });
        let end = match outcome {
            Outcome::Value(value) => realized(Value::Inline(value.clone())),
            Outcome::Chunks(len) => realized(Value::Chunks(*len)),
            Outcome::Kept(len) => realized(Value::Kept(*len)),
            Outcome::Error(failure) if self.try_again(id, attempt, failure)? => {
                return Ok(Completed::Retried);
            }
            Outcome::Error(failure) | Outcome::Final(failure) => {
                State::Failed(Failed { failure: failure.clone(), attempt: Some(attempt), at })
            }
        };
        self.settle(id, end, Some(by)).await?;
        Ok(Completed::Settled)
    }

    /// What an earlier run of this transaction did, if it took effect.
    fn completed_before(&self, by: ProcessId, token: Token) -> Completed {
        let Ok(Some(record)) = self.get(token.id) else { return Completed::Stale };
        // A claim has one attempt at most, and an ended future keeps the number of its last claim.
        let last = record.claims == token.claim;
        match &record.state {
            State::Realized(realized) if last && realized.by == by => Completed::Settled,
            State::Failed(failed) if last && failed.attempt.is_some() => Completed::Settled,
            State::Unclaimed { .. } if last && record.last_error.is_some() => Completed::Retried,
            _ => Completed::Stale,
        }
    }

    /// Puts a future back that failed, if its options say so.
    fn try_again(&mut self, id: FutureId, attempt: u32, failure: &Failure) -> Result<bool, DurableError> {
        let now = self.now;
        let spec = &self.expect(id)?.spec;
        if self.expect(id)?.failed >= spec.retry_errors {
            return Ok(false);
        }
        if spec.durable_value {
            self.clear(&self.keys.chunks(id, attempt))?;
        }
        let record = self.edit(id)?;
        // Doubles: at once, after 1 tick, 2, 4 and so on.
        let pause = match record.failed {
            0 => None,
            before => Some(1_u64.checked_shl(before - 1).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)),
        };
        record.failed += 1;
        record.suspect = false;
        record.last_error = Some(failure.clone());
        record.state =
            State::Unclaimed { since: now, not_before: pause.map(|ticks| now.saturating_add(ticks) + 1) };
        Ok(true)
    }
}
