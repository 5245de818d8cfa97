//! Places: in which process a future should run, or must. Decided in the transaction that makes it ready, and again in the
//! one that finds that process gone.

use super::FutureId;
use super::error::DurableError;
use super::failure::Cause;
use super::record::{Near, Place, Realized, State, Value};
use super::settle::{failed, failed_by};
use super::work::Work;
use crate::control::members::Role;
use std::collections::BTreeSet;

impl Work {
    /// Gives those that this transaction made ready their places, and takes from those it touched the places that are no
    /// workers any more. Their deaths conflict with this.
    pub(super) async fn place_ready(&mut self) -> Result<(), DurableError> {
        let mut placed = BTreeSet::new();
        // What cannot be placed ends or waits, which may make others ready or end them.
        loop {
            let unplaced: Vec<FutureId> = self.unplaced().filter(|id| !placed.contains(id)).collect();
            if unplaced.is_empty() {
                return Ok(());
            }
            self.placing = true;
            for id in unplaced {
                placed.insert(id);
                // One before it may have ended it.
                if matches!(self.expect(id)?.state, State::Unclaimed { .. }) {
                    self.place(id).await?;
                }
            }
        }
    }

    async fn place(&mut self, id: FutureId) -> Result<(), DurableError> {
        let spec = &self.expect(id)?.spec;
        let (near, before) = (spec.near, spec.place);
        if let Some(near) = near
            && !(self.was_ready(id) && self.is_worker(before).await?)
        {
            return self.place_near(id, near).await;
        }
        let Some(place) = before.filter(|place| place.hard) else {
            if !self.is_worker(before).await? {
                self.edit(id)?.spec.place = None;
            }
            return Ok(());
        };
        if self.is_worker(before).await? {
            return Ok(());
        }
        // No process comes back under its id, so there is nothing to wait for.
        let function = self.expect(id)?.spec.function.clone();
        let end = failed(Cause::PlaceGone { function, process: place.process }, self.now);
        self.settle(id, end, None).await
    }

    /// Where the value of another future is.
    async fn place_near(&mut self, id: FutureId, near: Near) -> Result<(), DurableError> {
        self.load([near.future]).await?;
        let there = match self.get(near.future) {
            Ok(Some(record)) => record.clone(),
            // Held while it is needed, so this was made by hand; and what cannot be read says nothing.
            Ok(None) | Err(DurableError::NewerRecord { .. }) => {
                self.edit(id)?.spec.place = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let State::Realized(Realized { by, value, .. }) = &there.state {
            let place = Some(Place { process: *by, hard: near.hard });
            if self.is_worker(place).await? {
                self.edit(id)?.spec.place = place;
                return Ok(());
            }
            if near.hard && matches!(value, Value::Kept(_)) {
                self.lose(near.future, *by).await?;
            }
        }
        self.edit(id)?.spec.place = None;
        if !near.hard {
            return Ok(());
        }
        let there = self.expect(near.future)?;
        if let Some(failure) = there.failure() {
            let end = failed_by(&failure, self.expect(id)?, self.now);
            return self.settle(id, end, None).await;
        }
        if !there.settled() {
            self.edit(near.future)?.dependents = true;
            self.edit(id)?.state = State::Waiting { missing: vec![near.future] };
        }
        // Otherwise its value is wholly in the store, and near to everybody.
        Ok(())
    }

    async fn is_worker(&self, place: Option<Place>) -> Result<bool, DurableError> {
        let Some(place) = place else { return Ok(false) };
        Ok(self.role(place.process).await? == Some(Role::Worker))
    }
}
