//! What this process waits for, and the inbox that tells of it.

use super::Answer;
use super::handle::{SubmitError, durable_error};
use super::worker::Executor;
use crate::control::durable::{Durable, DurableError, FutureId, Notice, Record, Target};
use crate::id::ProcessId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How often the inbox is read although its bell was not heard.
const LOOK: Duration = Duration::from_secs(30);
/// After how long a silence handled notices are removed.
const IDLE: Duration = Duration::from_secs(2);
/// After how many readings they are removed in any case.
const UNREMOVED: u32 = 50;
/// Between two tries when the store does not answer.
const PAUSE: Duration = Duration::from_millis(500);

type Waiting = oneshot::Sender<Result<Record, DurableError>>;

/// Who waits here for the end of which future.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: Mutex<BTreeMap<FutureId, Vec<Waiting>>>,
}

impl Mailbox {
    pub(super) fn expect(&self, id: FutureId) -> Answer<Record> {
        let (end, settled) = oneshot::channel();
        self.add(id, end);
        Answer(settled)
    }

    pub(super) fn add(&self, id: FutureId, end: Waiting) {
        self.lock().entry(id).or_default().push(end);
    }

    /// Who waits for one future waits for another instead.
    pub(super) fn follow(&self, id: FutureId, other: FutureId) {
        let mut waiting = self.lock();
        if let Some(moved) = waiting.remove(&id) {
            waiting.entry(other).or_default().extend(moved);
        }
    }

    pub(super) fn fail(&self, id: FutureId, error: &SubmitError) {
        self.tell(id, &Err(durable_error(error)));
    }

    pub(super) fn settle(&self, record: &Record) {
        self.tell(record.id, &Ok(record.clone()));
    }

    /// Reads the inbox whenever there is something in it, until this process is no member any more.
    pub(super) async fn run(
        self: Arc<Self>,
        durable: Durable,
        me: ProcessId,
        executor: Option<Arc<dyn Executor>>,
    ) {
        let (mut handled, mut unremoved) = (None, 0);
        loop {
            let mail = match durable.mail(me, handled.clone()).await {
                Ok(mail) => mail,
                Err(error) if error.retryable() => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "nothing is heard of durable futures any more");
                    let all: Vec<FutureId> = self.lock().keys().copied().collect();
                    all.into_iter().for_each(|id| self.tell(id, &Err(error.clone())));
                    return;
                }
            };
            if !mail.notices.is_empty() {
                if self.handle(&durable, me, executor.as_deref(), &mail.notices).await {
                    handled = mail.handled;
                    unremoved += 1;
                } else {
                    // Read again: nothing counts as handled.
                    sleep(PAUSE).await;
                }
            }
            // Not on the way of each future: removing is a commit.
            let patience = if unremoved > 0 { IDLE } else { LOOK };
            let idle = mail.notices.is_empty() && timeout(patience, mail.watch).await.is_err();
            if let Some(handled) = handled.clone()
                && (unremoved >= UNREMOVED || (idle && unremoved > 0))
                && durable.clear_mail(me, handled).await.is_ok()
            {
                unremoved = 0;
            }
        }
    }

    /// Does what notices say. False if the store did not answer.
    async fn handle(
        &self,
        durable: &Durable,
        me: ProcessId,
        executor: Option<&dyn Executor>,
        notices: &[Notice],
    ) -> bool {
        let mut ended = Vec::new();
        for notice in notices {
            match notice {
                Notice::Settled(id) if self.lock().contains_key(id) => ended.push(*id),
                Notice::Settled(_) => {}
                Notice::Revoked(id) => {
                    if let Some(executor) = executor {
                        executor.revoked(*id);
                    }
                }
            }
        }
        let Ok(records) = durable.records(ended.clone()).await else { return false };
        let mut again = Vec::new();
        for (id, record) in ended.into_iter().zip(records) {
            match record {
                Some(record) if record.settled() => self.settle(&record),
                // Its value was lost meanwhile.
                Some(_) => again.push((Target::Id(id), None)),
                None => self.tell(id, &Err(DurableError::NoSuchFuture(id.to_string()))),
            }
        }
        if again.is_empty() {
            return true;
        }
        let Ok(attached) = durable.attach(again, me).await else { return false };
        for record in attached.into_iter().flatten().filter(Record::settled) {
            self.settle(&record);
        }
        true
    }

    fn tell(&self, id: FutureId, end: &Result<Record, DurableError>) {
        let waiting = self.lock().remove(&id).unwrap_or_default();
        for waiting in waiting {
            // Nobody may wait any more.
            let _ = waiting.send(end.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FutureId, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
