//! The handle: what the runtime asks of the service.

use super::batch::{Answer, Batcher};
use super::keeper;
use super::mailbox::Mailbox;
use super::worker::{self, Executor};
use crate::control::durable::{
    Completed, Durable, DurableError, FutureId, Outcome, Record, Refused, Submission, Submitted, Target,
    Token,
};
use crate::id::ProcessId;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// Durable futures, for one process that is a member. A cheap clone. When the last one is dropped the service ends; what
/// it has claimed is given back when the process leaves or dies.
#[derive(Clone)]
pub struct DurableHandle {
    shared: Arc<Shared>,
}

struct Shared {
    durable: Durable,
    me: ProcessId,
    mailbox: Arc<Mailbox>,
    submissions: Batcher<Submission, Result<Submitted, Refused>>,
    attachments: Batcher<(Target, Option<u64>), Record>,
    starts: Batcher<Token, Option<u32>>,
    completions: Batcher<(Token, Outcome), Completed>,
    releases: Batcher<FutureId, ()>,
    room: Arc<Notify>,
    tasks: Vec<AbortHandle>,
}

/// A future that was submitted, or attached to.
#[derive(Debug)]
pub struct Pending {
    /// When that is committed: which future it is.
    pub submitted: oneshot::Receiver<Result<FutureId, SubmitError>>,
    /// When it has ended: its record. Fails if the submission does.
    pub settled: Answer<Record>,
}

/// Why a submission or an attachment failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The transaction failed, for one of the reasons that it gives.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl DurableHandle {
    /// Starts the service of the member `me`, on the current tokio runtime. With an executor it also claims work.
    pub fn start(durable: Durable, me: ProcessId, executor: Option<Arc<dyn Executor>>) -> Self {
        let attachments = {
            let durable = durable.clone();
            Batcher::start(move |targets| {
                let durable = durable.clone();
                async move { durable.attach(targets, me).await }
            })
        };
        let submissions = {
            let durable = durable.clone();
            Batcher::start(move |calls| {
                let durable = durable.clone();
                async move { submit(&durable, calls).await }
            })
        };
        let starts = {
            let durable = durable.clone();
            Batcher::start(move |tokens| {
                let durable = durable.clone();
                async move { Ok(durable.start(me, tokens).await?.into_iter().map(Ok).collect()) }
            })
        };
        let completions = {
            let durable = durable.clone();
            Batcher::start(move |outcomes| {
                let durable = durable.clone();
                async move { Ok(durable.complete(me, outcomes).await?.into_iter().map(Ok).collect()) }
            })
        };
        let releases = {
            let durable = durable.clone();
            Batcher::start(move |ids: Vec<FutureId>| {
                let durable = durable.clone();
                async move {
                    let released = ids.iter().map(|_| Ok(())).collect();
                    durable.release(ids).await?;
                    Ok(released)
                }
            })
        };
        let mailbox = Arc::new(Mailbox::default());
        let room = Arc::new(Notify::new());
        let mut tasks = vec![
            tokio::spawn(mailbox.clone().run(durable.clone(), me, executor.clone())).abort_handle(),
            tokio::spawn(keeper::run(durable.clone(), me)).abort_handle(),
        ];
        if let Some(executor) = executor {
            let work = worker::run(durable.clone(), me, executor, room.clone());
            tasks.push(tokio::spawn(work).abort_handle());
        }
        let shared = Shared {
            durable,
            me,
            mailbox,
            submissions,
            attachments,
            starts,
            completions,
            releases,
            room,
            tasks,
        };
        DurableHandle { shared: Arc::new(shared) }
    }

    /// The futures themselves, for what is rare: cancelling, releasing, listing, values in chunks.
    pub fn durable(&self) -> &Durable {
        &self.shared.durable
    }

    /// The process.
    pub fn me(&self) -> ProcessId {
        self.shared.me
    }

    /// Submits a call. In order with the submissions before it, so that those may be arguments.
    pub fn submit(&self, mut call: Submission) -> Pending {
        call.waiter = Some(self.shared.me);
        let id = call.id;
        // Before it is submitted: its end may come at once.
        let settled = self.shared.mailbox.expect(id);
        let answer = self.shared.submissions.ask(call);
        let handle = self.clone();
        let (told, submitted) = oneshot::channel();
        tokio::spawn(async move {
            let result = match answer.await {
                Ok(Ok(Submitted::New(id))) => Ok(id),
                Ok(Ok(Submitted::Existing(existing))) => {
                    handle.shared.mailbox.follow(id, existing);
                    handle.attach_waiting(Target::Id(existing), None).await.map(|record| record.id)
                }
                Ok(Err(refused)) => Err(refused.into()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &result {
                handle.shared.mailbox.fail(id, error);
            }
            // Nobody may want to know.
            let _ = told.send(result);
        });
        Pending { submitted, settled }
    }

    /// Waits for a future of somebody else. A type, if given, has to be the hash of its result's.
    pub fn attach(&self, target: Target, returns: Option<u64>) -> Pending {
        let handle = self.clone();
        let (told, submitted) = oneshot::channel();
        let (end, settled) = oneshot::channel();
        tokio::spawn(async move {
            let found = match &target {
                Target::Id(id) => Ok(*id),
                Target::Key(_) => {
                    handle.attach_waiting(target.clone(), returns).await.map(|record| record.id)
                }
            };
            let attached = match found {
                Ok(id) => {
                    handle.shared.mailbox.add(id, end);
                    // A second time for keys: only now is somebody here who hears the end.
                    let attached = handle.attach_waiting(Target::Id(id), returns).await;
                    if let Err(error) = &attached {
                        handle.shared.mailbox.fail(id, error);
                    }
                    attached.map(|record| record.id)
                }
                Err(error) => {
                    let _ = end.send(Err(durable_error(&error)));
                    Err(error)
                }
            };
            let _ = told.send(attached);
        });
        Pending { submitted, settled: Answer(settled) }
    }

    /// Starts an attempt, which spends it: its number, or none if the claim is not current any more.
    pub fn start_attempt(&self, token: Token) -> Answer<Option<u32>> {
        self.shared.starts.ask(token)
    }

    /// Ends an attempt. A value above [`INLINE_VALUE`](super::super::INLINE_VALUE) bytes is an error of the caller.
    pub fn complete(&self, token: Token, outcome: Outcome) -> Answer<Completed> {
        match outcome.check() {
            Ok(()) => self.shared.completions.ask((token, outcome)),
            Err(error) => {
                let (asker, answer) = oneshot::channel();
                let _ = asker.send(Err(error));
                Answer(answer)
            }
        }
    }

    /// Ends the retention of a future. See [`Durable::release`].
    pub fn release(&self, id: FutureId) -> Answer<()> {
        self.shared.releases.ask(id)
    }

    /// Says that the executor has room again.
    pub fn room_changed(&self) {
        self.shared.room.notify_one();
    }

    /// Ends the service: nothing is claimed, heard or kept any more.
    pub fn stop(&self) {
        self.shared.tasks.iter().for_each(AbortHandle::abort);
    }

    /// Clears up after a process that left or was declared dead. What fails is done later, by whoever comes by.
    pub async fn gone(&self, process: ProcessId) {
        if let Err(error) = self.shared.durable.recover(process).await {
            tracing::debug!(%error, %process, "somebody will clear up after a process later");
        }
    }

    /// Attaches, and settles what has ended already.
    async fn attach_waiting(&self, target: Target, returns: Option<u64>) -> Result<Record, SubmitError> {
        let record = self.shared.attachments.ask((target, returns)).await?;
        if record.settled() {
            self.shared.mailbox.settle(&record);
        }
        Ok(record)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Submits a batch; large arguments first.
async fn submit(
    durable: &Durable,
    calls: Vec<Submission>,
) -> Result<Vec<Result<Result<Submitted, Refused>, DurableError>>, DurableError> {
    let mut failed = Vec::with_capacity(calls.len());
    let mut batch = Vec::with_capacity(calls.len());
    for call in calls {
        match durable.write_ahead(&call).await {
            Err(error) if error.retryable() => return Err(error),
            Err(error) => failed.push(Some(error)),
            Ok(()) => {
                failed.push(None);
                batch.push(call);
            }
        }
    }
    let mut submitted = durable.submit_written(batch).await?.into_iter();
    let answers = failed.into_iter().filter_map(|failed| match failed {
        Some(error) => Some(Err(error)),
        None => submitted.next().map(Ok),
    });
    Ok(answers.collect())
}

/// What those who wait for the end are told of a submission that failed.
pub(super) fn durable_error(error: &SubmitError) -> DurableError {
    match error {
        SubmitError::Durable(error) => error.clone(),
        SubmitError::Refused(refused) => DurableError::Refused(refused.clone()),
    }
}
