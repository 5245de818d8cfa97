//! Small questions between the processes of a host, beside the core's frames: one is asked, answered, and that is all.
//!
//! They go over the control lane of a session on a Unix socket, where nothing but an end breaks a connection, so that none is
//! repeated: a question that has no answer when its session ends has none.

use super::{frame::Own, link::Link};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// The questions of a session that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Asks(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    answers: BTreeMap<u64, oneshot::Sender<Option<Bytes>>>,
    ended: bool,
}

impl Link {
    /// Asks the peer. No answer: it has none, or the session is over.
    pub async fn ask(self: &Arc<Self>, question: Bytes) -> Option<Bytes> {
        let (number, answer) = self.asks().begin()?;
        let _forget = Forget { asks: self.asks(), number };
        self.send_own(&Own::Ask(number, question));
        self.flush();
        answer.await.ok().flatten()
    }

    /// Answers the peer's question once the answer is there. Other questions do not wait for it.
    pub(crate) fn answer_later(self: &Arc<Self>, number: u64, answer: oneshot::Receiver<Option<Bytes>>) {
        let link = self.clone();
        tokio::spawn(async move {
            link.send_own(&Own::Answer(number, answer.await.ok().flatten()));
            link.flush();
        });
    }

    /// Tells the peer something, if the session stands.
    pub fn tell(&self, news: Bytes) {
        self.send_own(&Own::Tell(news));
    }
}

impl Asks {
    fn begin(&self) -> Option<(u64, oneshot::Receiver<Option<Bytes>>)> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.ended {
            return None;
        }
        waiting.last += 1;
        let number = waiting.last;
        waiting.answers.insert(number, sender);
        Some((number, receiver))
    }

    pub(crate) fn answered(&self, number: u64, answer: Option<Bytes>) {
        let asked = self.lock().answers.remove(&number);
        if let Some(asked) = asked {
            // Who asked may have lost interest.
            let _ = asked.send(answer);
        }
    }

    /// The session is over: nobody answers any more.
    pub(crate) fn end(&self) {
        let unanswered = {
            let mut waiting = self.lock();
            waiting.ended = true;
            std::mem::take(&mut waiting.answers)
        };
        drop(unanswered);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic happens under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a question whose asker is gone.
struct Forget<'a> {
    asks: &'a Asks,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.asks.lock().answers.remove(&self.number);
    }
}
