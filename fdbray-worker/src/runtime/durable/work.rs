//! The worker's side: claims what it has room for, runs it as calls of its own, completes it, in as few transactions as
//! that needs.

use super::{Durables, LOOK_AGAIN, State, convert, lookout::Lookout, object_id};
use crate::{
    cell::{Outcome as Ended, WaitSet},
    control::{
        durable::{
            Arguments, Claimed, Completed, Durable, DurableError, FutureId, INLINE_VALUE, Outcome, Record,
            Room, ShapeId, Token, Wants,
        },
        members::Capacity,
    },
    core::{
        Submission,
        shape::{Resources, TemplateSpec},
    },
    error::Error,
    handle::Handle,
    id::{ObjectId, ProcessId},
    payload::Payload,
    registry::Registry,
    runtime::{Process, news::News, start::resources},
};
use futures_util::{FutureExt, future};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Quick work that is claimed ahead for each slot, by the measured run time of the function; what takes longer is not.
const AHEAD: u64 = 20_000_000;
/// And at most so many in one transaction, or at once.
const MOST: usize = 500;
/// A call that may have killed its last worker has not killed this one so quickly.
const TRIED: Duration = Duration::from_millis(200);
/// Who has not committed a beat for so long claims and completes nothing.
const BEAT: Duration = Duration::from_secs(3);
/// How long is waited before a store that failed is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// A claimed call that runs here.
pub(super) struct Running {
    token: Token,
    shape: ShapeId,
    needs: Resources,
    place: u32,
    function: &'static str,
    durable_value: bool,
    attempt: u32,
    /// Who is likely to be told of its end.
    waiter: Option<ProcessId>,
    /// When it began, if it may have killed its last worker.
    suspect_since: Option<Instant>,
    handle: Handle,
    /// Its arguments.
    futures: Vec<Handle>,
}

/// A claimed call that can start.
struct Prepared {
    token: Token,
    attempt: u32,
    record: Record,
    arguments: Vec<u8>,
    kind: u64,
    shape: ShapeId,
    place: u32,
    name: &'static str,
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
        Worker {
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
    /// Claims work as long as there is room and something to claim.
    pub(super) async fn claim_work(self: Arc<Self>, worker: Arc<Worker>) {
        let (mut said, mut lookout) = (false, Lookout::default());
        loop {
            if let Err(error) = self.claim_round(&worker, &mut lookout).await {
                lookout = Lookout::default();
                self.state().claiming = false;
                let passes = error.retryable() || matches!(error, DurableError::NotMember(_));
                if !passes && !std::mem::replace(&mut said, true) {
                    tracing::error!("this worker claims no durable work: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
            if self.draining.load(Ordering::Acquire) {
                return;
            }
        }
    }

    async fn claim_round(
        self: &Arc<Self>,
        worker: &Worker,
        lookout: &mut Lookout,
    ) -> Result<(), DurableError> {
        let Some(process) = self.process() else { return future::pending().await };
        let durable = self.durable().await?;
        let room_changed = self.room.notified();
        tokio::pin!(room_changed);
        room_changed.as_mut().enable();
        // At once, since somebody may wait for what woke this worker.
        let mut full = self.claim_all(&process, worker, durable, lookout).await?;
        // And once more after watching again, so that nothing comes unseen in between.
        if lookout.renew(durable, &worker.capacity).await? {
            full = self.claim_all(&process, worker, durable, lookout).await?;
        }
        if self.tries_suspect() {
            // As soon as that has ended, or for long enough not, there is room for another.
            tokio::select! {
                () = room_changed => {}
                () = tokio::time::sleep(TRIED) => {}
            }
            return Ok(());
        }
        if !self.has_beat(&process) {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        tokio::select! {
            () = lookout.fired() => {}
            () = room_changed, if full => {}
            () = tokio::time::sleep(LOOK_AGAIN) => *lookout = Lookout::default(),
        }
        Ok(())
    }

    /// Claims of these shapes until there is nothing or no room. Returns whether room was what lacked.
    async fn claim_all(
        self: &Arc<Self>,
        process: &Arc<Process>,
        worker: &Worker,
        durable: &Durable,
        lookout: &mut Lookout,
    ) -> Result<bool, DurableError> {
        let mut full = false;
        let mut left: VecDeque<_> = lookout.shapes.iter().cloned().collect();
        left.rotate_left(ProcessId::random().get() as usize % left.len().max(1));
        while let Some(shape) = left.pop_front() {
            // Who drains waits for this to end.
            self.state().claiming = true;
            if self.draining.load(Ordering::Acquire) || !self.has_beat(process) {
                break;
            }
            let (room, quick) = self.room_for(process, worker, &shape);
            if room.all == 0 {
                full = true;
                continue;
            }
            let unsure = worker.unsure.load(Ordering::Relaxed);
            let most = room.all.min(MOST);
            let wants = Wants {
                most,
                shapes: vec![(shape.0, room)],
                start: MOST,
                kinds: worker.kinds.clone(),
                quick: Arc::new(quick),
                suspects: usize::from(!self.tries_suspect()),
                nonce: if unsure == 0 { ProcessId::random().get() } else { unsure },
                held_back: Arc::default(),
                again: unsure != 0,
            };
            let held_back = wants.held_back.clone();
            worker.unsure.store(wants.nonce, Ordering::Relaxed);
            let (claimed, watches) = durable.claim_and_watch(self.me, wants).await?;
            lookout.watch(watches);
            worker.unsure.store(0, Ordering::Relaxed);
            full |= held_back.load(Ordering::Relaxed);
            if !claimed.is_empty() {
                self.waiting.notify_one();
                // Less than there is room for was all that there is.
                let more = claimed.len() == most;
                self.begin(process, worker, durable, claimed).await;
                if more {
                    left.push_back(shape);
                }
            }
        }
        self.state().claiming = false;
        Ok(full)
    }

    fn tries_suspect(&self) -> bool {
        let state = self.state();
        state.running.values().any(|r| r.suspect_since.is_some_and(|since| since.elapsed() < TRIED))
    }

    fn has_beat(&self, process: &Process) -> bool {
        let members = process.outside().and_then(|o| o.members());
        members.is_some_and(|members| members.since_last_beat() < BEAT)
    }

    /// How many more of a shape this process takes on: what it can run at once, and of quick functions, which are named
    /// too, some more. What is quick does not keep a slot from others for long, so that only the rest counts.
    fn room_for(
        &self,
        process: &Arc<Process>,
        worker: &Worker,
        (id, shape): &(ShapeId, Capacity),
    ) -> (Room, BTreeSet<u64>) {
        let ran =
            worker.templates().keys().filter(|(_, s)| s == id).map(|(kind, _)| *kind).collect::<Vec<_>>();
        let mut runs: FxHashMap<(u32, ShapeId), (u32, Resources)> = FxHashMap::default();
        for running in self.state().running.values() {
            let same = runs.entry((running.place, running.shape));
            same.or_insert_with(|| (0, running.needs.clone())).0 += 1;
        }
        let mut have = resources(worker.capacity.clone());
        let mut free = have.clone();
        let (mut slowest, mut waiting, mut quick) = (0, 0, BTreeSet::new());
        process.with_core(false, |core, _| {
            // What is not known yet may take long.
            let quick_time = |place| Some(core.run_time(place)).filter(|time| (1..AHEAD).contains(time));
            for kind in ran {
                if let Some(time) = worker.places.get(&kind).and_then(|place| quick_time(*place)) {
                    slowest = slowest.max(time);
                    quick.insert(kind);
                }
            }
            for ((place, shape), (count, needs)) in runs {
                free.take_many(&needs, count);
                match quick_time(place) {
                    Some(_) if shape == *id => waiting += count as usize,
                    Some(_) => {}
                    None => have.take_many(&needs, count),
                }
            }
        });
        let [slots, now] =
            [have, free].map(|have| have.times(&resources(shape.clone()), MOST as u32) as usize);
        // What may kill this process should not take much with it.
        let ahead = if quick.is_empty() || self.tries_suspect() { 0 } else { (AHEAD / slowest) as usize };
        let all = slots.saturating_mul(1 + ahead).min(MOST).saturating_sub(waiting);
        (Room { all, slow: slots.min(all), now }, quick)
    }

    /// Starts what was claimed, in one turn of the core. What cannot run here is given back.
    async fn begin(
        self: &Arc<Self>,
        process: &Arc<Process>,
        worker: &Worker,
        durable: &Durable,
        claimed: Vec<Claimed>,
    ) {
        let (mut calls, mut unwanted) = (Vec::with_capacity(claimed.len()), Vec::new());
        for claimed in claimed {
            let token = claimed.token;
            match self.prepare(process, worker, durable, claimed).await {
                Some(call) => calls.push(call),
                None => unwanted.push((token, Vec::new())),
            }
        }
        self.start_calls(process, worker, calls);
        if !unwanted.is_empty()
            && let Err(error) = self.insist(|| durable.give_back(self.me, unwanted.clone())).await
        {
            tracing::debug!("claims could not be given back: {error}");
        }
    }

    /// What it takes to start a call, unless another worker should have it.
    async fn prepare(
        &self,
        process: &Process,
        worker: &Worker,
        durable: &Durable,
        Claimed { token, attempt, mut record }: Claimed,
    ) -> Option<Prepared> {
        let attempt = attempt?;
        let kind = record.kind();
        let place = *worker.places.get(&kind)?;
        let name = (process.registry().get(place)?.name)();
        let arguments = match std::mem::replace(&mut record.spec.arguments, Arguments::Dropped) {
            Arguments::Inline(bytes) => bytes,
            Arguments::Chunks(_) => match self.persist(|| durable.arguments(record.id)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!("the arguments of durable future {} cannot be read: {error}", record.id);
                    return None;
                }
            },
            Arguments::Dropped => return None,
        };
        let shape = ShapeId::of(&record.spec.shape);
        Some(Prepared { token, attempt, record, arguments, kind, shape, place, name })
    }

    fn start_calls(&self, process: &Arc<Process>, worker: &Worker, calls: Vec<Prepared>) {
        // One may start before it is known here which future it is for.
        let beginning = self.beginning();
        let begun: Vec<_> = process.with_core(false, |core, fx| {
            let mut templates = worker.templates();
            let mut begin = |call: &Prepared| {
                let spec = &call.record.spec;
                let template = *templates.entry((call.kind, call.shape)).or_insert_with(|| {
                    core.template(TemplateSpec {
                        function: call.place,
                        name: call.name,
                        shape: resources(spec.shape.clone()),
                        retries: 0,
                        retry_errors: 0,
                        logs: false,
                        here: true,
                    })
                });
                let futures: Vec<_> = spec.futures.iter().map(|id| object_id(*id)).collect();
                let held: Vec<_> = futures.iter().map(|id| core.durable(*id, fx)).collect();
                let submission = Submission {
                    gate: None,
                    template,
                    arguments: &call.arguments,
                    described: true,
                    futures,
                    contained: Vec::new(),
                    deadline: None,
                    parent: None,
                };
                (core.submit(submission, fx), held)
            };
            calls.iter().map(&mut begin).collect()
        });
        let mut watched = Vec::with_capacity(begun.len());
        let mut state = self.state();
        for (Prepared { token, attempt, record, shape, place, name, .. }, (cell, held)) in
            calls.into_iter().zip(begun)
        {
            let handle = Handle::counted(cell);
            let running = Running {
                token,
                shape,
                needs: resources(record.spec.shape),
                place,
                function: name,
                durable_value: record.spec.durable_value,
                attempt,
                waiter: record.waiter,
                suspect_since: record.suspect.then(Instant::now),
                handle: handle.clone(),
                futures: held.into_iter().map(Handle::counted).collect(),
            };
            state.running.insert(record.id, running);
            state.local.insert(handle.id().seq, record.id);
            watched.push(handle);
        }
        drop((state, beginning));
        for handle in watched {
            handle.watch(&worker.ends, handle.id().seq);
        }
    }

    /// Completes what has ended, all that there is at once.
    pub(super) async fn complete_work(self: Arc<Self>, worker: Arc<Worker>) {
        let set = &worker.ends;
        loop {
            let first = future::poll_fn(|cx| set.poll_next(cx)).await;
            let mut ended = vec![first];
            while ended.len() < MOST
                && let Some(next) = future::poll_fn(|cx| set.poll_next(cx)).now_or_never()
            {
                ended.push(next);
            }
            let (Some(process), Ok(durable)) = (self.process(), self.durable().await) else { return };
            // What was revoked is not there any more.
            let ended: Vec<Running> = {
                let State { running, local, completing, .. } = &mut *self.state();
                let ended: Vec<_> = ended.iter().filter_map(|n| running.remove(&local.remove(n)?)).collect();
                *completing += ended.len();
                ended
            };
            let count = ended.len();
            let mut outcomes = Vec::with_capacity(ended.len());
            let mut waiters: Vec<ProcessId> = ended.iter().filter_map(|running| running.waiter).collect();
            waiters.sort_unstable();
            waiters.dedup();
            let mut large = Vec::new();
            for running in ended {
                match value_of(&process, &running).await {
                    Ok(value) if !value.is_large(INLINE_VALUE) => {
                        outcomes.push((running.token, Outcome::Value(value.head().to_vec())));
                    }
                    Ok(value) => large.push((running, value)),
                    // Its claim goes with this process.
                    Err(Error::Shutdown) if process.has_ended() => {}
                    Err(error) if convert::is_final(&error) => {
                        outcomes.push((running.token, Outcome::Final(convert::failure(&error))));
                    }
                    Err(error) => outcomes.push((running.token, Outcome::Error(convert::failure(&error)))),
                }
            }
            self.room.notify_one();
            if !outcomes.is_empty() {
                self.complete(durable, &waiters, outcomes).await;
            }
            self.state().completing -= count - large.len();
            for (running, value) in large {
                let durables = self.clone();
                self.io.spawn(async move {
                    durables.complete_large(running, value).await;
                    durables.state().completing -= 1;
                });
            }
        }
    }

    /// Writes a large value ahead, or keeps it here, and completes its future.
    async fn complete_large(&self, running: Running, value: Payload) {
        let Ok(durable) = self.durable().await else { return };
        let (token, len) = (running.token, value.len() as u64);
        let outcome = if running.durable_value {
            match self.insist(|| durable.write_value(self.me, token, value.in_message())).await {
                Ok(()) => Outcome::Chunks(len),
                Err(error @ DurableError::TooLarge { .. }) => {
                    let what = format!("the result of `{}`", running.function);
                    Outcome::Final(convert::failure(&Error::encode(what, error)))
                }
                Err(error) => {
                    return tracing::warn!(
                        "the value of durable future {} is not written: {error}",
                        token.id
                    );
                }
            }
        } else {
            self.keep(object_id(token.id), Payload::Described(value.contiguous()));
            Outcome::Kept(len)
        };
        let settled = self.complete(durable, running.waiter.as_slice(), vec![(token, outcome)]).await;
        if !settled {
            self.keep_no_more(object_id(token.id));
        }
        drop(running);
    }

    /// Whether all of them took effect.
    async fn complete(
        &self,
        durable: &Durable,
        waiters: &[ProcessId],
        outcomes: Vec<(Token, Outcome)>,
    ) -> bool {
        let count = outcomes.len();
        match self.insist(|| durable.complete_for(self.me, waiters, outcomes.clone())).await {
            Ok(completed) => {
                self.say_there_is_mail(waiters);
                completed.iter().all(|c| !matches!(c, Completed::Stale))
            }
            Err(error) => {
                tracing::warn!("{count} durable futures that ran here could not be completed: {error}");
                false
            }
        }
    }

    /// Those with whom a session stands hear of their mail sooner than from the store.
    fn say_there_is_mail(&self, waiters: &[ProcessId]) {
        let process = self.process();
        let Some(outside) = process.as_ref().and_then(|process| process.outside()) else { return };
        for waiter in waiters {
            if *waiter == self.me { self.has_mail() } else { outside.tell(*waiter, &News::Mail) }
        }
    }

    /// A claim was taken from this process.
    pub(super) fn revoked(&self, id: FutureId) {
        let running = self.state().running.remove(&id);
        if let Some(running) = running {
            tracing::debug!("durable future {id} is not wanted any more (attempt {})", running.attempt);
            running.handle.cancel();
            self.room.notify_one();
        }
    }

    /// Claims nothing more, and waits until what runs has been completed, or gives it back at `until`.
    pub async fn drain(self: Arc<Self>, until: Instant) {
        self.draining.store(true, Ordering::Release);
        tracing::info!("this worker claims no more durable work: it leaves the cluster");
        let busy = || {
            let state = self.state();
            !state.running.is_empty() || state.completing > 0 || state.claiming
        };
        while busy() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let left: Vec<_> = self.state().running.drain().map(|(_, r)| (r.token, Vec::new())).collect();
        if let (false, Ok(durable)) = (left.is_empty(), self.durable().await)
            && let Err(error) = durable.give_back(self.me, left).await
        {
            tracing::debug!("claims could not be given back: {error}");
        }
    }
}

/// The encoded value, if there is one.
async fn value_of(process: &Arc<Process>, running: &Running) -> Result<Payload, Error> {
    match running.handle.cell().outcome() {
        Some(Ended::Value(value)) => Ok(value),
        Some(Ended::Failed(error)) => Err(Error::from(error)),
        // It ran here, so its value is here.
        Some(Ended::Stored { .. }) => process.object_here(running.handle.id()).await.ok_or(Error::Shutdown),
        None => Err(Error::Shutdown),
    }
}
