//! What is done by whoever is there: moving the cluster's clock, and clearing up after the dead.

use super::{Durables, LOOK_AGAIN, object_id};
use crate::{
    control::{durable::DurableError, members::Member},
    id::ProcessId,
    runtime::start::resources,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A tick that stood still for so long is moved on.
const TICK: Duration = Duration::from_secs(1);

impl Durables {
    pub(super) async fn keep_up(self: Arc<Self>) {
        let (mut seen, mut looked) = (None, None);
        loop {
            if looked.is_none_or(|at: Instant| at.elapsed() > LOOK_AGAIN) {
                looked = Some(Instant::now());
                report(self.clear_up().await, "what the dead left behind cannot be cleared up");
                report(self.say_unschedulable().await, "what no worker can run cannot be listed");
            }
            let moved = self.move_clock(seen).await;
            seen = moved.as_ref().ok().copied();
            report(moved.map(drop), "the cluster's clock cannot be moved");
            tokio::time::sleep(TICK).await;
        }
    }

    /// Moves the clock if it stands where it was `seen` a second ago; gives where it stands.
    async fn move_clock(&self, seen: Option<u64>) -> Result<u64, DurableError> {
        let durable = self.durable().await?;
        let now = durable.now().await?;
        if Some(now) != seen {
            return Ok(now);
        }
        let tick = durable.tick(now).await?;
        if tick.moved && tick.due {
            durable.sweep().await?;
        }
        Ok(tick.now)
    }

    /// Looks for processes that are no members any more and have left something, and drops values that nobody needs.
    async fn clear_up(&self) -> Result<(), DurableError> {
        let durable = self.durable().await?;
        for dead in durable.left_behind().await? {
            durable.recover(dead).await?;
        }
        durable.forget_shapes().await?;
        let kept: Vec<_> = self.state().kept.iter().copied().collect();
        for ids in kept.chunks(100) {
            let records = durable.records(ids.iter().map(|id| super::future_id(*id)).collect()).await?;
            let needed: Vec<_> = records.into_iter().flatten().map(|r| object_id(r.id)).collect();
            ids.iter().filter(|id| !needed.contains(id)).for_each(|id| self.keep_no_more(*id));
        }
        Ok(())
    }

    /// Who waits for something that nobody can run is told.
    async fn say_unschedulable(&self) -> Result<(), DurableError> {
        if self.state().expected.is_empty() {
            return Ok(());
        }
        let members = self.process().and_then(|p| Some(p.outside()?.members()?.all()));
        let members: Vec<Member> =
            members.iter().flat_map(|m| m.values()).map(|m| Member::clone(m)).collect();
        for found in self.durable().await?.unschedulable(&members).await? {
            if self.state().said.insert(found.example) {
                let closest = match (&found.closest, found.place) {
                    (Some((worker, lacks)), None) => format!("the closest, {worker}, {lacks}"),
                    (Some((worker, lacks)), Some(_)) => {
                        format!("they have to run in {worker}, which {lacks}")
                    }
                    (None, Some(place)) => format!("they have to run in {place}, which is gone"),
                    (None, None) => "there is none".to_owned(),
                };
                tracing::warn!(
                    "no worker can run {} durable futures, such as {}, which need {}: {closest}; they wait for one",
                    found.futures,
                    object_id(found.example),
                    resources(found.shape),
                );
            }
        }
        Ok(())
    }

    /// A process is dead: what it had claimed is for others.
    pub fn died(self: &Arc<Self>, dead: ProcessId) {
        let durables = self.clone();
        self.io.spawn(async move {
            let recovered = match durables.durable().await {
                Ok(durable) => durables.persist(|| durable.recover(dead)).await,
                Err(error) => Err(error),
            };
            report(recovered, "what a dead process left behind cannot be cleared up now");
        });
    }
}

fn report(ended: Result<(), DurableError>, what: &str) {
    match ended {
        Ok(()) => {}
        Err(error) if error.retryable() => tracing::debug!("{what}: {error}"),
        Err(error) => tracing::warn!("{what}: {error}"),
    }
}
