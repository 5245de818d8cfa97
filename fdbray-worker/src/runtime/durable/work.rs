//! The worker's side: claims what it has room for, runs it as calls of its own, completes it, in as few transactions as
//! that needs.

mod actor;
mod claim;
mod complete;
mod start;

use super::Durables;
use crate::{
    cell::WaitSet,
    control::{
        durable::{FutureId, ShapeId, Token},
        members::Capacity,
    },
    core::shape::Resources,
    handle::Handle,
    id::{ObjectId, ProcessId},
    registry::{Registry, Role},
};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The most calls in one transaction, or at once.
const MOST: usize = 500;

/// A claimed call that runs here.
pub(super) struct Running {
    token: Token,
    shape: ShapeId,
    needs: Resources,
    place: u32,
    function: &'static str,
    durable_value: bool,
    attempt: u32,
    /// It is an actor.
    actor: bool,
    /// An actor that has been made.
    lives: bool,
    /// And of which the store knows that.
    said: bool,
    /// Who is likely to be told of its end.
    waiter: Option<ProcessId>,
    /// When it began, if it may have killed its last worker.
    suspect_since: Option<Instant>,
    handle: Handle,
    /// Its arguments.
    futures: Vec<Handle>,
}
/// What a worker knows of its work.
pub(super) struct Worker {
    capacity: Capacity,
    /// By function: its place in the registry.
    places: BTreeMap<u64, u32>,
    kinds: Arc<BTreeSet<u64>>,
    /// By function and shape: its number in the core.
    templates: Mutex<FxHashMap<(u64, ShapeId), u32>>,
    /// Names the claim of which it is not known whether it took effect; zero if there is none.
    unsure: AtomicU64,
    /// Tells of claimed calls that have ended, by their numbers in the core.
    ends: Arc<WaitSet>,
    /// Places of constructors of actors, which take long whatever they take.
    constructors: BTreeSet<u32>,
}

impl Running {
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(super) fn has_argument(&self, id: ObjectId) -> bool {
        self.futures.iter().any(|future| future.id() == id)
    }
}

impl Worker {
    fn templates(&self) -> MutexGuard<'_, FxHashMap<(u64, ShapeId), u32>> {
        // Nothing that can panic runs under this lock.
        self.templates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(capacity: Capacity, registry: &Registry) -> Self {
        let places: BTreeMap<u64, u32> = registry.names().into_iter().zip(0..).collect();
        let kinds = Arc::new(places.keys().copied().collect());
        let roles = registry.roles().into_iter().zip(0..);
        let constructors = roles.filter(|(role, _)| *role == Role::Constructor).map(|(_, place)| place);
        Worker {
            constructors: constructors.collect(),
            capacity,
            places,
            kinds,
            templates: Mutex::default(),
            unsure: AtomicU64::new(0),
            ends: WaitSet::new(),
        }
    }
}

impl Durables {
    /// A claim was taken from this process.
    pub(super) fn revoked(&self, id: FutureId) {
        let running = self.state().running.remove(&id);
        if let Some(running) = running {
            tracing::debug!("durable future {id} is not wanted any more (attempt {})", running.attempt);
            if running.lives {
                let local = running.handle.id();
                self.state().local.remove(&local.seq);
                if let Some(process) = self.process() {
                    process.with_core(true, |core, fx| core.kill_actor(local, fx));
                }
            }
            running.handle.cancel();
            self.room.notify_one();
        }
    }

    /// Claims nothing more, and waits until what runs has been completed, or gives it back at `until`.
    pub async fn drain(self: Arc<Self>, until: Instant) {
        self.draining.store(true, Ordering::Release);
        tracing::info!("this worker claims no more durable work: it leaves the cluster");
        self.move_actors(until).await;
        let busy = || {
            let state = self.state();
            !state.running.is_empty() || state.completing > 0 || state.claiming
        };
        while busy() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
            // Some that were being made are there now.
            self.move_actors(until).await;
        }
        let left: Vec<Running> = self.state().running.drain().map(|(_, running)| running).collect();
        if let Some(process) = self.process() {
            process.with_core(true, |core, fx| {
                left.iter().filter(|r| r.lives).for_each(|r| core.kill_actor(r.handle.id(), fx));
            });
        }
        let left: Vec<_> = left.into_iter().map(|running| (running.token, Vec::new())).collect();
        if let (false, Ok(durable)) = (left.is_empty(), self.durable().await)
            && let Err(error) = durable.give_back(self.me, left).await
        {
            tracing::debug!("claims could not be given back: {error}");
        }
    }
}
