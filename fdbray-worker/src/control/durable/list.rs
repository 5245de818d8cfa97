//! Looking at what there is: futures in pages, and those that nobody can run.

use super::FutureId;
use super::error::DurableError;
use super::keys::{Keys, Ready};
use super::record::{Record, State};
use super::shape::{self, ShapeId, lacks};
use super::transition::Durable;
use super::work::tick;
use crate::control::members::{Capacity, Member, Role};
use crate::control::store::{Range, Transaction};
use crate::id::ProcessId;
use std::sync::Arc;

/// How many records one transaction looks at.
const SCANNED: usize = 500;
/// Up to how many futures of one shape are counted.
const COUNTED: usize = 1000;

/// Which futures to list. Everything that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// How far it is.
    pub state: Option<Stage>,
    /// The stable name of its function.
    pub function: Option<String>,
    /// Submitted so many ticks ago or longer.
    pub older_than: Option<u64>,
    /// Submitted fewer ticks ago.
    pub younger_than: Option<u64>,
}

/// How far a future is, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// See [`State::Waiting`].
    Waiting,
    /// See [`State::Unclaimed`].
    Unclaimed,
    /// See [`State::Claimed`].
    Claimed,
    /// See [`State::Realized`].
    Realized,
    /// See [`State::Failed`].
    Failed,
    /// See [`State::Cancelled`].
    Cancelled,
}

/// Some of the futures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Those that were found, by id. There may be none although there are more.
    pub futures: Vec<Record>,
    /// Those that a newer program wrote, which this one cannot read. Whether they match is not known.
    pub newer: Vec<FutureId>,
    /// Behind which one the next page begins; none at the end.
    pub next: Option<FutureId>,
}

/// Ready futures that no worker can ever run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// What they need.
    pub shape: Capacity,
    /// The one process in which they must run, if it is for that one that nobody can.
    pub place: Option<ProcessId>,
    /// How many there are; counted up to a thousand.
    pub futures: usize,
    /// One of them.
    pub example: FutureId,
    /// The worker that lacks least, and what, for a person; of a place that one. None if there is no worker.
    pub closest: Option<(ProcessId, String)>,
}

impl State {
    /// Its name.
    pub fn stage(&self) -> Stage {
        match self {
            State::Waiting { .. } => Stage::Waiting,
            State::Unclaimed { .. } => Stage::Unclaimed,
            State::Claimed(_) => Stage::Claimed,
            State::Realized(_) => Stage::Realized,
            State::Failed(_) => Stage::Failed,
            State::Cancelled { .. } => Stage::Cancelled,
        }
    }
}

impl Filter {
    fn matches(&self, record: &Record, now: u64) -> bool {
        let age = now.saturating_sub(record.submitted);
        self.state.is_none_or(|stage| record.state.stage() == stage)
            && self.function.as_ref().is_none_or(|function| record.spec.function == *function)
            && self.older_than.is_none_or(|ticks| age >= ticks)
            && self.younger_than.is_none_or(|ticks| age < ticks)
    }
}

impl Durable {
    /// Lists futures, those of one submitter in the order of their numbers. Each page is as of one moment.
    pub async fn list(
        &self,
        filter: Filter,
        after: Option<FutureId>,
        limit: usize,
    ) -> Result<Page, DurableError> {
        let filter = Arc::new(filter);
        self.look(move |tx, keys| {
            let filter = filter.clone();
            Box::pin(async move {
                let now = tick(tx, keys).await?;
                let mut range = Range::children(&keys.futures()).limit(SCANNED);
                if let Some(after) = after {
                    range = range.after(keys.future(after));
                }
                let scanned = tx.range(range).await?;
                let mut page = Page { futures: Vec::new(), newer: Vec::new(), next: None };
                for (number, (key, value)) in scanned.iter().enumerate() {
                    let Some(id) = FutureId::from_elements(&keys.rest(key)) else { continue };
                    match Record::decode(id, value) {
                        Ok(record) if filter.matches(&record, now) => page.futures.push(record),
                        Ok(_) => {}
                        Err(DurableError::NewerRecord { .. }) => page.newer.push(id),
                        Err(error) => return Err(error),
                    }
                    let more = number + 1 < scanned.len() || scanned.len() == SCANNED;
                    if page.futures.len() == limit || number + 1 == scanned.len() {
                        page.next = more.then_some(id);
                        break;
                    }
                }
                Ok(page)
            })
        })
        .await
    }

    /// Shapes of ready futures, for those who look after them, and a watch that fires when there is a new one.
    pub async fn shapes(
        &self,
    ) -> Result<(Vec<(ShapeId, Capacity)>, crate::control::store::Watch), DurableError> {
        self.look(|tx, keys| {
            Box::pin(async move {
                let watch = tx.watch(keys.shapes_changed())?;
                Ok((shape::all(tx, keys).await?, watch))
            })
        })
        .await
    }

    /// A watch that fires when futures of this shape become ready. A hint: to be on the safe side, look each 30 s.
    pub async fn watch_shape(&self, shape: ShapeId) -> Result<crate::control::store::Watch, DurableError> {
        self.look(move |tx, keys| Box::pin(async move { Ok(tx.watch(keys.signal(shape))?) })).await
    }

    /// Removes shapes of which nothing is ready, so that those who look after them need not. They come back with the
    /// next future that has them.
    pub async fn forget_shapes(&self) -> Result<(), DurableError> {
        self.transition(|work| {
            Box::pin(async move {
                let mut removed = false;
                for (id, _) in shape::all(&work.tx.snapshot(), &work.keys).await? {
                    if !work.any(&work.keys.ready_shape(id)).await? {
                        // Conflicts with who just read that it is there.
                        work.tx.clear(work.keys.shape(id))?;
                        work.tx.clear(work.keys.signal(id))?;
                        removed = true;
                    }
                }
                if removed {
                    work.tx.add(work.keys.shapes_changed(), 1)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Ready futures that none of these members can ever run, by shape.
    pub async fn unschedulable(&self, members: &[Member]) -> Result<Vec<Unschedulable>, DurableError> {
        let workers = members.iter().filter(|member| member.role == Role::Worker);
        let workers: Arc<Vec<_>> =
            Arc::new(workers.map(|worker| (worker.id, worker.capacity.clone())).collect());
        self.look(move |tx, keys| {
            let workers = workers.clone();
            Box::pin(async move {
                let mut found = Vec::new();
                for (id, shape) in shape::all(tx, keys).await? {
                    let (mut cursor, end) = keys.ready_shape(id).children();
                    // One seek for each place.
                    while let Some((key, _)) = tx.range(Range::new(cursor, end.clone()).limit(1)).await?.pop()
                    {
                        let Some(Ready { place, id: example, .. }) = keys.parse_ready(&key) else { break };
                        let there = Range::children(&keys.ready_place(id, place));
                        cursor = there.end.clone();
                        let candidates =
                            workers.iter().filter(|(worker, _)| place.is_none_or(|place| place == *worker));
                        let lacking = candidates.map(|(worker, has)| (*worker, lacks(has, &shape)));
                        // The one about which there is least to say.
                        let closest = lacking.min_by_key(|(_, lacks)| lacks.len());
                        let fits = closest.as_ref().is_some_and(|(_, lacks)| lacks.is_empty());
                        if fits || (place.is_some() && !must_run_there(tx, keys, example).await?) {
                            continue;
                        }
                        let futures = tx.range(there.limit(COUNTED)).await?.len();
                        found.push(Unschedulable { shape: shape.clone(), place, futures, example, closest });
                    }
                }
                Ok(found)
            })
        })
        .await
    }
}

/// Whether a future that has a place would not run elsewhere after a while.
async fn must_run_there(tx: &Transaction, keys: &Keys, id: FutureId) -> Result<bool, DurableError> {
    let record = tx.get(keys.future(id)).await?.map(|record| Record::decode(id, &record));
    match record {
        Some(Ok(record)) => Ok(record.spec.place.is_some_and(|place| place.hard)),
        // Who can read it says so.
        Some(Err(DurableError::NewerRecord { .. })) | None => Ok(false),
        Some(Err(error)) => Err(error),
    }
}
