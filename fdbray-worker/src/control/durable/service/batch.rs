//! Gathers requests into few transactions: at once when idle, together when many come.

use crate::control::durable::DurableError;
use crate::control::store::StoreError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// How many requests are handed on at once.
const MOST: usize = 500;
/// How long a request waits for a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Where requests go.
pub(super) struct Batcher<Q, A> {
    queue: mpsc::UnboundedSender<(Q, oneshot::Sender<Result<A, DurableError>>)>,
}

/// What becomes of a request. Dropping it changes nothing.
#[derive(Debug)]
pub struct Answer<T>(pub(super) oneshot::Receiver<Result<T, DurableError>>);

impl<Q: Clone + Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Runs `transact` for all requests that have gathered, in their order, one batch after the other. It answers each.
    pub(super) fn start<F, R>(mut transact: F) -> Self
    where
        F: FnMut(Vec<Q>) -> R + Send + 'static,
        R: Future<Output = Result<Vec<Result<A, DurableError>>, DurableError>> + Send,
    {
        let (queue, mut requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut gathered = Vec::new();
            // Ends with the last handle.
            while requests.recv_many(&mut gathered, MOST).await > 0 {
                let (batch, askers): (Vec<Q>, Vec<oneshot::Sender<_>>) = gathered.drain(..).unzip();
                let begun = Instant::now();
                let result = loop {
                    match transact(batch.clone()).await {
                        Err(error) if error.retryable() && begun.elapsed() < PATIENCE => sleep(PAUSE).await,
                        result => break result,
                    }
                };
                // Who has lost interest does not mind.
                match result {
                    Ok(answers) => {
                        for (asker, answer) in askers.into_iter().zip(answers) {
                            let _ = asker.send(answer);
                        }
                    }
                    Err(error) => {
                        for asker in askers {
                            let _ = asker.send(Err(error.clone()));
                        }
                    }
                }
            }
        });
        Batcher { queue }
    }

    pub(super) fn ask(&self, request: Q) -> Answer<A> {
        let (asker, answer) = oneshot::channel();
        // If the service has ended, the answer says so.
        let _ = self.queue.send((request, asker));
        Answer(answer)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, DurableError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(StoreError::Closed.into())))
    }
}
