//! Completes what has ended, all that there is at once.

use super::{
    super::{Durables, State, convert, object_id},
    MOST, Running, Worker,
};
use crate::{
    cell::Outcome as Ended,
    control::durable::{Completed, Durable, DurableError, INLINE_VALUE, Outcome, Token},
    error::Error,
    id::ProcessId,
    payload::Payload,
    runtime::{Process, news::News},
};
use futures_util::{FutureExt, future};
use std::sync::Arc;

impl Durables {
    /// Completes what has ended, all that there is at once.
    pub(in crate::runtime::durable) async fn complete_work(self: Arc<Self>, worker: Arc<Worker>) {
        let set = &worker.ends;
        loop {
            let first = future::poll_fn(|cx| set.poll_next(cx)).await;
            let mut ended = vec![first];
            while ended.len() < MOST
                && let Some(next) = future::poll_fn(|cx| set.poll_next(cx)).now_or_never()
            {
                ended.push(next);
            }
            let (Some(process), Ok(durable)) = (self.process(), self.durable().await) else { return };
            // What was revoked is not there any more.
            let ended: Vec<Running> = {
                let State { running, local, completing, .. } = &mut *self.state();
                let ended: Vec<_> = ended.iter().filter_map(|n| running.remove(&local.remove(n)?)).collect();
                *completing += ended.len();
                ended
            };
            let (count, mut kept) = (ended.len(), 0);
            let mut outcomes = Vec::with_capacity(ended.len());
            let mut waiters: Vec<ProcessId> = ended.iter().filter_map(|running| running.waiter).collect();
            waiters.sort_unstable();
            waiters.dedup();
            let mut large = Vec::new();
            for running in ended {
                if running.actor && !matches!(running.handle.cell().outcome(), Some(Ended::Failed(_)) | None)
                {
                    self.io.spawn(self.clone().keep_actor(process.clone(), running));
                    kept += 1;
                    continue;
                }
                match value_of(&process, &running).await {
                    Ok(value) if !value.is_large(INLINE_VALUE) => {
                        outcomes.push((running.token, Outcome::Value(value.head().to_vec())));
                    }
                    Ok(value) => large.push((running, value)),
                    // Its claim goes with this process.
                    Err(Error::Shutdown) if process.has_ended() => {}
                    Err(error) if convert::is_final(&error) => {
                        outcomes.push((running.token, Outcome::Final(convert::failure(&error))));
                    }
                    Err(error) => outcomes.push((running.token, Outcome::Error(convert::failure(&error)))),
                }
            }
            self.room.notify_one();
            if !outcomes.is_empty() {
                self.complete(durable, &waiters, outcomes).await;
            }
            self.state().completing -= count - large.len() - kept;
            for (running, value) in large {
                let durables = self.clone();
                self.io.spawn(async move {
                    durables.complete_large(running, value).await;
                    durables.state().completing -= 1;
                });
            }
        }
    }

    /// Writes a large value ahead, or keeps it here, and completes its future.
    async fn complete_large(&self, running: Running, value: Payload) {
        let Ok(durable) = self.durable().await else { return };
        let (token, len) = (running.token, value.len() as u64);
        let outcome = if running.durable_value {
            match self.insist(|| durable.write_value(self.me, token, value.in_message())).await {
                Ok(()) => Outcome::Chunks(len),
                Err(error @ DurableError::TooLarge { .. }) => {
                    let what = format!("the result of `{}`", running.function);
                    Outcome::Final(convert::failure(&Error::encode(what, error)))
                }
                Err(error) => {
                    return tracing::warn!(
                        "the value of durable future {} is not written: {error}",
                        token.id
                    );
                }
            }
        } else {
            self.keep(object_id(token.id), Payload::Described(value.contiguous()), running.attempt);
            Outcome::Kept(len)
        };
        let settled = self.complete(durable, running.waiter.as_slice(), vec![(token, outcome)]).await;
        if !settled {
            self.keep_no_more(object_id(token.id));
        }
        drop(running);
    }

    /// Whether all of them took effect.
    async fn complete(
        &self,
        durable: &Durable,
        waiters: &[ProcessId],
        outcomes: Vec<(Token, Outcome)>,
    ) -> bool {
        match self.insist(|| durable.complete_for(self.me, waiters, outcomes.clone())).await {
            Ok(completed) => {
                self.say_there_is_mail(waiters);
                completed.iter().all(|c| !matches!(c, Completed::Stale))
            }
            // This process is out: its claims go with it.
            Err(DurableError::NotMember(_)) => false,
            // It is about one of them. The others have nothing to do with that.
            Err(_) if outcomes.len() > 1 => {
                let mut all = true;
                for outcome in outcomes {
                    all &= Box::pin(self.complete(durable, waiters, vec![outcome])).await;
                }
                all
            }
            Err(error) => {
                let Some((token, outcome)) = outcomes.into_iter().next() else { return true };
                tracing::warn!(
                    "durable future {}, which ran here, could not be completed: {error}",
                    token.id
                );
                // No wait without end: those who await it are told why.
                if !matches!(outcome, Outcome::Final(_)) {
                    let why = Outcome::Final(convert::failure(&Error::control(error)));
                    Box::pin(self.complete(durable, waiters, vec![(token, why)])).await;
                }
                false
            }
        }
    }

    /// Those with whom a session stands hear of their mail sooner than from the store.
    fn say_there_is_mail(&self, waiters: &[ProcessId]) {
        let process = self.process();
        let Some(outside) = process.as_ref().and_then(|process| process.outside()) else { return };
        for waiter in waiters {
            if *waiter == self.me { self.has_mail() } else { outside.tell(*waiter, &News::Mail) }
        }
    }
}

/// The encoded value, if there is one.
async fn value_of(process: &Arc<Process>, running: &Running) -> Result<Payload, Error> {
    match running.handle.cell().outcome() {
        Some(Ended::Value(value)) => Ok(value),
        Some(Ended::Failed(error)) => Err(Error::from(error)),
        // It ran here, so its value is here.
        Some(Ended::Stored { .. }) => {
            process.object_here(running.handle.id(), 0).await.ok_or(Error::Shutdown)
        }
        None => Err(Error::Shutdown),
    }
}
