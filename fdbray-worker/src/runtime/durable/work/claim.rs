//! Claims what there is room for, as long as something is ready.

use super::{
    super::{Durables, LOOK_AGAIN, lookout::Lookout},
    MOST, Worker,
};
use crate::{
    control::{
        durable::{Durable, DurableError, Room, ShapeId, Wants},
        members::Capacity,
    },
    core::shape::Resources,
    id::ProcessId,
    runtime::{Process, start::resources},
};
use futures_util::future;
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Quick work that is claimed ahead for each slot, by the measured run time of the function; what takes longer is not.
const AHEAD: u64 = 20_000_000;
/// A call that may have killed its last worker has not killed this one so quickly.
const TRIED: Duration = Duration::from_millis(200);
/// Who has not committed a beat for so long claims and completes nothing.
pub(super) const BEAT: Duration = Duration::from_secs(3);
/// How long is waited before a store that failed is asked again.
const PAUSE: Duration = Duration::from_millis(500);

impl Durables {
    /// Claims work as long as there is room and something to claim.
    pub(in crate::runtime::durable) async fn claim_work(self: Arc<Self>, worker: Arc<Worker>) {
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
                // Less than there is room for was all that there is, or what is left waits until something has ended.
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
            let quick_time = |place| {
                let time = (!worker.constructors.contains(&place)).then(|| core.run_time(place));
                time.filter(|time| (1..AHEAD).contains(time))
            };
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
}
