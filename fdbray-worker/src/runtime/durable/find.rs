//! Where actors are that the cluster owns: found out in the store for calls and for who waits until one has been made.

use super::{
    AFTER_FAILURE, Durables, LOOK_AGAIN, actors::ended, calls::durables, convert, future_id, store_error,
};
use crate::{
    cell::Outcome,
    control::durable::{DurableError, Whereabouts},
    error::{Error, Result},
    id::ObjectId,
};
use std::sync::Arc;

/// Waits until an actor that the cluster owns has been made.
pub(crate) async fn made(id: ObjectId) -> Result<()> {
    let (_, durables) = durables()?;
    durables.locate(id).await.map(drop)
}

impl Durables {
    /// Tells the core where an actor is that the cluster owns, once it is somewhere, unless nobody wants to know any more.
    pub(super) async fn find(self: Arc<Self>, id: ObjectId) {
        let found = tokio::select! {
            found = self.locate(id) => found,
            () = self.until_unwanted(id) => return,
        };
        // Before it is told: who asks after that is told of another search.
        self.state().finding.remove(&id);
        let Some(process) = self.process() else { return };
        process.with_core(true, |core, fx| match found {
            Ok(there) => core.actor_found(id, there.owner, there, fx),
            Err(error @ Error::Control { .. }) => core.actor_not_found(id, &error, fx),
            Err(error) => core.durable_ended(id, Outcome::Failed(Arc::new(error)), fx),
        });
    }

    /// Until no call here waits for the actor to be found.
    async fn until_unwanted(&self, id: ObjectId) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            // First, so that who asks from now on begins another search.
            self.state().finding.remove(&id);
            let Some(process) = self.process() else { return };
            if !process.with_core(false, |core, _| core.looks_for(id)) {
                return;
            }
            self.state().finding.insert(id);
        }
    }

    /// Where an actor is that the cluster owns, once it is somewhere; or how it ended.
    pub(super) async fn locate(&self, id: ObjectId) -> Result<ObjectId> {
        self.until_submitted(id).await;
        loop {
            if let Some(Outcome::Failed(error)) = self.outcome(id) {
                return Err(Error::from(error));
            }
            let durable = self.durable().await.map_err(|e| store_error(&e))?;
            match self.persist(|| durable.whereabouts(future_id(id))).await {
                Ok((Whereabouts::At(owner, seq), _)) => return Ok(ObjectId { owner, seq }),
                Ok((Whereabouts::Nowhere, changed)) => {
                    tokio::select! {
                        changed = changed => if changed.is_err() {
                            tokio::time::sleep(AFTER_FAILURE).await;
                        },
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                }
                Ok((Whereabouts::Ended { failure: Some(failure), .. }, _)) => {
                    return Err(convert::error(id, failure));
                }
                Ok((Whereabouts::Ended { function, failure: None }, _)) => {
                    return Err(ended(function, "it was killed"));
                }
                Err(DurableError::NoSuchFuture(_)) => {
                    return Err(ended("a constructor".into(), "nothing is known of it any more"));
                }
                Err(error) => return Err(store_error(&error)),
            }
        }
    }

    fn outcome(&self, id: ObjectId) -> Option<Outcome> {
        self.process()?.with_core(false, |core, _| core.outcome(id))
    }
}
