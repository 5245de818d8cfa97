//! Sends calls to the store: one transaction for all that came while the last one ran.

use super::{Attach, Durables, convert, future_id, object_id, store_error};
use crate::{
    cell::Outcome,
    control::durable::{Submission, Submitted},
    error::{Error, Result},
    id::ObjectId,
};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Calls that are sent together.
const MOST: usize = 2_000;

impl Durables {
    pub(super) async fn submit_all(self: Arc<Self>, mut calls: mpsc::UnboundedReceiver<Box<Submission>>) {
        let mut batch = Vec::new();
        while calls.recv_many(&mut batch, MOST).await > 0 {
            let mut submissions: Vec<Submission> = batch.drain(..).map(|s| *s).collect();
            self.name_futures(&mut submissions);
            let ids: Vec<ObjectId> = submissions.iter().map(|s| object_id(s.id)).collect();
            let sent = match self.durable().await {
                Ok(durable) => self.persist(|| durable.submit(submissions.clone())).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(results) => {
                    for (id, result) in ids.into_iter().zip(results) {
                        match result {
                            Ok(Submitted::New(_)) => self.committed(id),
                            Ok(Submitted::Existing(real)) => self.exists(id, object_id(real)),
                            Err(refused) => self.refused(id, convert::refused(refused)),
                        }
                    }
                }
                Err(error) => ids.into_iter().for_each(|id| self.refused(id, store_error(&error))),
            }
        }
    }

    /// Calls refer to futures by the ids of their handles, of which some stand for one that its key had already.
    pub(super) fn name_futures(&self, submissions: &mut [Submission]) {
        let state = self.state();
        if state.real.is_empty() {
            return;
        }
        for submission in submissions {
            submission.rename(|id| state.real.get(&object_id(id)).copied().map(future_id));
        }
    }

    fn committed(&self, id: ObjectId) {
        self.said(id, Ok(()));
    }

    /// The key had a future already: this one ends as that does.
    fn exists(&self, id: ObjectId, real: ObjectId) {
        {
            let mut state = self.state();
            state.expected.remove(&id);
            state.real.insert(id, real);
            state.aliases.entry(real).or_default().push(id);
            state.to_attach.push(Attach::of(real));
        }
        self.attaching.notify_one();
        self.said(id, Ok(()));
    }

    pub(super) fn refused(&self, id: ObjectId, error: Error) {
        self.state().expected.remove(&id);
        // First, since who waits for the submission asks then how it ended.
        if let Some(process) = self.process() {
            let outcome = Outcome::Failed(Arc::new(error.clone()));
            process.with_core(true, |core, fx| core.durable_ended(id, outcome, fx));
        }
        self.said(id, Err(error));
    }

    /// Tells those who wait for the submission. A refusal is kept for those who ask later.
    fn said(&self, id: ObjectId, ended: Result<()>) {
        let mut state = self.state();
        let Some(sender) = state.submitting.get(&id) else { return };
        let keep = ended.is_err();
        sender.send_replace(Some(ended));
        if !keep {
            state.submitting.remove(&id);
        }
    }
}
