//! Looking at the cluster: its members, its durable futures, and those that nobody can run.

use super::{calls::durables, future_id, object_id, store_error};
use crate::{
    control::{
        durable::{Filter, Record, Stage, State},
        members::{Capacity, Member},
    },
    error::Result,
    id::{ObjectId, ProcessId},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A durable future, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FutureInfo {
    /// Its id: what `RemoteFuture::attach` takes, as text.
    pub id: ObjectId,
    /// The key that it was submitted under.
    pub key: Option<String>,
    /// The function's stable name.
    pub function: String,
    /// How far it is.
    pub stage: Stage,
    /// Since its submission, in the cluster's time, whose seconds may be a little longer.
    pub age: Duration,
    /// The higher one is run first.
    pub priority: i32,
    /// How many attempts were started.
    pub attempts: u32,
    /// Who has claimed it.
    pub claimed_by: Option<ProcessId>,
    /// Why it failed, or why its last attempt did.
    pub error: Option<String>,
}

/// Some durable futures.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FuturePage {
    /// By id. There may be none though there are more.
    pub futures: Vec<FutureInfo>,
    /// Those that a newer program wrote, of which this one cannot say more.
    pub newer: Vec<ObjectId>,
    /// Where the next page begins; none at the end.
    pub next: Option<ObjectId>,
}

/// Durable futures that no worker of the cluster can ever run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnschedulableShape {
    /// What each needs.
    pub shape: Capacity,
    /// The one process in which they must run, if it is for that one that they cannot.
    pub place: Option<ProcessId>,
    /// How many there are; counted up to a thousand.
    pub futures: usize,
    /// One of them.
    pub example: ObjectId,
    /// The worker that lacks least, and what; of a place that one. None if there is no worker.
    pub closest: Option<(ProcessId, String)>,
}

/// The members of the cluster that this process knows of, itself among them.
///
/// # Errors
/// There is no cluster.
pub fn members() -> Result<BTreeMap<ProcessId, Arc<Member>>> {
    let (process, _) = durables()?;
    Ok(process.outside().and_then(|o| o.members()).map(|m| m.all()).unwrap_or_default())
}

/// Durable futures that the filter lets through, at most `limit`, from `after` on.
///
/// # Errors
/// There is no cluster, or the store does not answer.
pub async fn list(filter: Filter, after: Option<ObjectId>, limit: usize) -> Result<FuturePage> {
    let (_, durables) = durables()?;
    let failed = |e| store_error(&e);
    let durable = durables.durable().await.map_err(failed)?;
    let now = durables.persist(|| durable.now()).await.map_err(failed)?;
    let after = after.map(future_id);
    let page = durables.persist(|| durable.list(filter.clone(), after, limit)).await.map_err(failed)?;
    Ok(FuturePage {
        futures: page.futures.into_iter().map(|record| info(record, now)).collect(),
        newer: page.newer.into_iter().map(object_id).collect(),
        next: page.next.map(object_id),
    })
}

/// Durable futures that are ready and that no member can ever run, by what they need.
///
/// # Errors
/// There is no cluster, or the store does not answer.
pub async fn unschedulable() -> Result<Vec<UnschedulableShape>> {
    let (_, durables) = durables()?;
    let failed = |e| store_error(&e);
    let durable = durables.durable().await.map_err(failed)?;
    let members: Vec<Member> = members()?.values().map(|m| Member::clone(m)).collect();
    let found = durables.persist(|| durable.unschedulable(&members)).await.map_err(failed)?;
    let shape = |u: crate::control::durable::Unschedulable| UnschedulableShape {
        shape: u.shape,
        place: u.place,
        futures: u.futures,
        example: object_id(u.example),
        closest: u.closest,
    };
    Ok(found.into_iter().map(shape).collect())
}

fn info(record: Record, now: u64) -> FutureInfo {
    let said = match &record.state {
        State::Failed(failed) => Some(&failed.failure),
        _ => record.last_error.as_ref(),
    };
    FutureInfo {
        id: object_id(record.id),
        stage: record.state.stage(),
        claimed_by: match &record.state {
            State::Claimed(claim) => Some(claim.by),
            _ => None,
        },
        error: said.map(|failure| super::convert::error(object_id(record.id), failure.clone()).to_string()),
        key: record.spec.key,
        function: record.spec.function,
        age: Duration::from_secs(now.saturating_sub(record.submitted)),
        priority: record.spec.priority,
        attempts: record.attempts,
    }
}
