//! The cluster's clock: a key that counts ticks, and what is due when it moves.
//!
//! No machine's clock is believed. Who has seen the key unchanged for one second of its own moves it, so that ticks
//! are never quicker than seconds; and who has moved it does what has become due.

use super::FutureId;
use super::entries::LEFT_ALONE;
use super::error::DurableError;
use super::failure::Cause;
use super::keys::{Keys, Timer};
use super::record::State;
use super::settle::failed;
use super::transition::Durable;
use super::work::{Work, number, tick};
use crate::control::store::Range;

/// How many timers one transaction looks at. Few in tests, so that they see more than one.
const AT_ONCE: usize = if cfg!(test) { 3 } else { 100 };

/// What became of moving the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Where it is.
    pub now: u64,
    /// Whether it was this that moved it. If somebody else did, that one does what is due.
    pub moved: bool,
    /// Whether something is due: to be done with [`Durable::sweep`].
    pub due: bool,
}

impl Durable {
    /// The tick.
    pub async fn now(&self) -> Result<u64, DurableError> {
        self.look(|tx, keys| Box::pin(tick(tx, keys))).await
    }

    /// Moves the clock, unless it moved since it was `seen`.
    pub async fn tick(&self, seen: u64) -> Result<Tick, DurableError> {
        let keys = self.keys.clone();
        let moved = self.store.transact_idempotent(move |tx| {
            let keys = keys.clone();
            async move {
                let now = tx.get(keys.clock()).await?.map_or(0, |value| number(&value));
                if now != seen {
                    return Ok::<_, DurableError>(Tick { now, moved: false, due: false });
                }
                let now = now + 1;
                tx.set(keys.clock(), now.to_le_bytes())?;
                let tx = tx.snapshot();
                let timers = tx.range(due(&keys, now).limit(1)).await?;
                let spreading = tx.range(Range::children(&keys.all_spreading()).limit(1)).await?;
                Ok(Tick { now, moved: true, due: !timers.is_empty() || !spreading.is_empty() })
            }
        });
        moved.await
    }

    /// Does what is due, and what somebody left undone. What this program cannot read is left to one that can.
    pub async fn sweep(&self) -> Result<(), DurableError> {
        let mut after = None;
        loop {
            let from = after.clone();
            let sweep = self.transition(move |work| {
                let from = from.clone();
                Box::pin(async move { work.sweep(from).await })
            });
            after = sweep.await?;
            if after.is_none() {
                break;
            }
        }
        let mut after = None;
        loop {
            let unspread = self.look(move |tx, keys| {
                Box::pin(async move {
                    let mut range = Range::children(&keys.all_spreading()).limit(AT_ONCE);
                    if let Some(after) = after {
                        range = range.after(keys.spreading(after));
                    }
                    let marks = tx.snapshot().range(range).await?;
                    Ok(marks
                        .iter()
                        .filter_map(|(key, _)| FutureId::from_elements(&keys.rest(key)))
                        .collect::<Vec<_>>())
                })
            });
            let unspread = unspread.await?;
            for id in &unspread {
                self.spread(*id).await?;
            }
            after = unspread.last().copied();
            if unspread.len() < AT_ONCE {
                return Ok(());
            }
        }
    }
}

impl Work {
    /// Does what is due behind a key. Returns the key behind which to go on.
    async fn sweep(&mut self, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, DurableError> {
        let mut range = due(&self.keys, self.now).limit(AT_ONCE);
        if let Some(after) = after {
            range = range.after(after);
        }
        let due = self.tx.snapshot().range(range).await?;
        let timers: Vec<_> = due.iter().filter_map(|(key, _)| self.keys.parse_timer(key)).collect();
        self.load(timers.iter().map(|(_, id)| *id)).await?;
        for (timer, id) in timers {
            match self.get(id) {
                Ok(Some(_)) => self.due(timer, id).await?,
                Ok(None) | Err(DurableError::NewerRecord { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let more = due.len() == AT_ONCE;
        Ok(due.into_iter().next_back().map(|(key, _)| key).filter(|_| more))
    }

    async fn due(&mut self, timer: Timer, id: FutureId) -> Result<(), DurableError> {
        let now = self.now;
        let record = self.expect(id)?;
        match timer {
            Timer::Deadline if !record.settled() && record.spec.deadline.is_some_and(|tick| tick <= now) => {
                let cause = Cause::DeadlineExceeded { function: record.spec.function.clone() };
                self.settle(id, failed(cause, now), None).await?;
            }
            Timer::Retry if matches!(record.state, State::Unclaimed { not_before: Some(tick), .. } if tick <= now) =>
            {
                self.edit(id)?.state = State::Unclaimed { since: now, not_before: None };
            }
            Timer::Place => {
                let waited = matches!(record.state, State::Unclaimed { since, not_before: None } if since + LEFT_ALONE <= now);
                if waited && record.spec.place.is_some_and(|place| !place.hard) {
                    // Anybody may have it now.
                    self.edit(id)?.spec.place = None;
                }
            }
            Timer::Expiry if record.settled() && record.expires.is_some_and(|tick| tick <= now) => {
                let held = self.held(id).await?;
                self.expire(id, held)?;
            }
            // It was changed earlier in this transaction.
            Timer::Deadline | Timer::Retry | Timer::Expiry => {}
        }
        Ok(())
    }
}

/// The timers that are due at a tick.
fn due(keys: &Keys, now: u64) -> Range {
    Range::new(keys.timers().children().0, keys.timers_at(now + 1))
}
