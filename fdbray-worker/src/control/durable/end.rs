//! What others than the claimer do to a future: cancel it, release its value, say that its value is lost.

use super::FutureId;
use super::error::DurableError;
use super::failure::Cause;
use super::record::{Record, State, Value};
use super::settle::{LOOK_AGAIN, failed};
use super::transition::Durable;
use super::work::Work;
use crate::id::ProcessId;
use futures_util::future::try_join_all;
use std::sync::Arc;

impl Durable {
    /// Cancels a future, unless it has ended. Who waits for it is told; who runs it too. Returns whether it has ended
    /// as cancelled.
    pub async fn cancel(&self, id: FutureId) -> Result<bool, DurableError> {
        self.transition(move |work| {
            Box::pin(async move {
                work.load([id]).await?;
                let at = work.now;
                let record = work.expect(id)?;
                if !record.settled() {
                    work.settle(id, State::Cancelled { at }, None).await?;
                }
                Ok(matches!(work.expect(id)?.state, State::Cancelled { .. }))
            })
        })
        .await
    }

    /// Ends retention: a future that has ended goes, as soon as none needs it as an argument; one that has not goes
    /// when it ends. Those that are gone already are left out.
    pub async fn release(&self, ids: Vec<FutureId>) -> Result<(), DurableError> {
        let ids = Arc::new(ids);
        self.transition(move |work| {
            let ids = ids.clone();
            Box::pin(async move {
                work.load(ids.iter().copied()).await?;
                let held = try_join_all(ids.iter().map(|id| work.held(*id))).await?;
                for (id, held) in ids.iter().zip(held) {
                    if let Ok(Some(_)) = work.get(*id) {
                        work.edit(*id)?.released = true;
                        work.expire(*id, held)?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// Says that the value of a future is lost because `holder`, which kept it, is gone. It is computed again, within
    /// its budget of retries. Returns the record as it is now: somebody else may have said so before.
    pub async fn lost(&self, id: FutureId, holder: ProcessId) -> Result<Record, DurableError> {
        self.transition(move |work| {
            Box::pin(async move {
                work.load([id]).await?;
                work.lose(id, holder).await?;
                Ok(work.expect(id)?.clone())
            })
        })
        .await
    }
}

impl Work {
    /// Whether others may need the value of a future.
    pub(super) async fn held(&self, id: FutureId) -> Result<bool, DurableError> {
        self.any(&self.keys.holds_on(id)).await
    }

    /// Removes a future that has ended, if nobody needs it; else has it looked at again later.
    pub(super) fn expire(&mut self, id: FutureId, held: bool) -> Result<(), DurableError> {
        let record = self.expect(id)?;
        if !record.settled() {
            return Ok(());
        }
        // Those that have not been told of its end hold it too.
        if held {
            let later = self.now + LOOK_AGAIN;
            self.edit(id)?.expires = Some(later);
            return Ok(());
        }
        self.remove(id)
    }

    /// Has the value of a future that `holder` kept computed again, unless somebody else saw to that.
    pub(super) async fn lose(&mut self, id: FutureId, holder: ProcessId) -> Result<(), DurableError> {
        let now = self.now;
        let State::Realized(realized) = &self.expect(id)?.state else { return Ok(()) };
        if realized.by != holder || !matches!(realized.value, Value::Kept(_)) {
            return Ok(());
        }
        let record = self.edit(id)?;
        record.died += 1;
        record.expires = None;
        // Those that have not been told wait on.
        record.spreading = false;
        record.state = State::Unclaimed { since: now, not_before: None };
        if record.died > record.spec.retries {
            let cause = Cause::Lost { function: record.spec.function.clone(), holder };
            self.settle(id, failed(cause, now), None).await?;
        }
        Ok(())
    }
}
