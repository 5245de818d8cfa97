//! Sharing a worker's capacity among owners and shapes: granting, asking back, forgetting.

use super::{
    Core, Effects,
    grant::{Grant, Pending, weight},
    message::Message,
    shape::Resources,
};
use crate::id::ProcessId;
use std::collections::VecDeque;

/// A lease is not asked back before its owner had this much of it.
const QUANTUM: super::Nanos = 50 * super::MILLISECOND;

impl Core {
    /// An owner asks for slots: what is free is granted at once, the rest waits.
    pub(super) fn requested(
        &mut self,
        peer: ProcessId,
        request: u32,
        shape: Resources,
        slots: u32,
        fx: &mut Effects,
    ) {
        if self.worker.draining && peer != self.me() {
            return;
        }
        self.worker.requests.push_back(Pending { peer, request, shape, slots, since: self.now });
        self.grant_waiting(fx);
    }

    pub(super) fn withdrawn(&mut self, peer: ProcessId, request: u32) {
        self.worker.requests.retain(|r| r.peer != peer || r.request != request);
    }

    /// An owner gives slots back.
    pub(super) fn returned(&mut self, peer: ProcessId, lease: u32, slots: u32, fx: &mut Effects) {
        if self.hosted.is_line(lease) {
            return self.line_returned(peer, lease);
        }
        let Some(grant) = self.worker.grants.get_mut(&lease).filter(|g| g.peer == peer) else { return };
        let slots = slots.min(grant.slots);
        grant.slots -= slots;
        self.worker.granted.take_many(&grant.shape, slots);
        // What was asked for may have been given back before of its own accord.
        grant.wanted = 0;
        self.return_unstartable(lease, fx);
        self.end_grant_if_done(lease);
        self.grant_waiting(fx);
    }

    /// Forgets a grant without slots under which nothing is left to be answered.
    pub(super) fn end_grant_if_done(&mut self, lease: u32) {
        let fetching = || self.worker.fetching.range((lease, 0)..=(lease, u32::MAX)).next().is_some();
        let done = |g: &Grant| g.slots == 0 && g.started == 0 && g.queue.is_empty();
        if self.worker.grants.get(&lease).is_some_and(done) && !fetching() {
            self.worker.grants.remove(&lease);
        }
    }

    /// Grants what is free to those who wait, one slot each in turn: first calls of this process, made by tasks that
    /// wait for them, then the first come. Who has had nothing for long, because it needs much, is not overtaken any more.
    pub(super) fn grant_waiting(&mut self, fx: &mut Effects) {
        if self.worker.requests.is_empty() {
            return;
        }
        let Some(mut free) = self.worker.grantable() else { return };
        if !self.worker.requests.iter().any(|r| free.fits(&r.shape)) {
            return;
        }
        let (me, now) = (self.me(), self.now);
        let mut requests: Vec<(bool, Pending)> = std::mem::take(&mut self.worker.requests)
            .into_iter()
            .map(|r| (now - r.since > 2 * QUANTUM && self.worker.slots_of(&r) == 0, r))
            .collect();
        requests.sort_by_key(|(starves, r)| (!starves, r.peer != me, r.since));
        let first_starves = requests.first().is_some_and(|(starves, r)| *starves && !free.fits(&r.shape));
        let mut granted = vec![0_u32; requests.len()];
        // One owner alone gets all at once; several share one by one.
        let step = if requests.len() == 1 { u32::MAX } else { 1 };
        let mut any = !first_starves;
        while std::mem::take(&mut any) {
            for ((_, pending), granted) in requests.iter().zip(&mut granted) {
                let more = free.times(&pending.shape, step.min(pending.slots - *granted));
                free.take_many(&pending.shape, more);
                *granted += more;
                any |= more > 0;
            }
        }
        for ((_, mut pending), slots) in requests.into_iter().zip(granted) {
            if slots > 0 {
                self.grant(&pending, slots, fx);
                pending.slots -= slots;
                pending.since = now;
            }
            if pending.slots > 0 {
                self.worker.requests.push_back(pending);
            }
        }
    }

    fn grant(&mut self, to: &Pending, slots: u32, fx: &mut Effects) {
        let held = |g: &&mut Grant| g.peer == to.peer && g.shape == to.shape && g.slots > 0;
        let (peer, request) = (to.peer, to.request);
        self.worker.granted.give_many(&to.shape, slots);
        let (lease, more) = match self.worker.grants.iter_mut().find(|(_, g)| held(g)) {
            Some((lease, grant)) => {
                grant.slots += slots;
                // What was sent ahead can start now.
                self.worker.changed = true;
                (*lease, true)
            }
            None => {
                self.worker.next_lease += 1;
                let grant = Grant {
                    peer,
                    shape: to.shape.clone(),
                    slots,
                    running: 0,
                    started: 0,
                    queue: VecDeque::new(),
                    since: self.now,
                    wanted: 0,
                };
                self.worker.grants.insert(self.worker.next_lease, grant);
                (self.worker.next_lease, false)
            }
        };
        self.say(peer, &Message::LeaseGrant { request, lease, slots, mark: lease, more }, fx);
    }

    /// Asks those who have had a lease for a while to give some of it back to those who wait.
    pub(super) fn want_leases_back(&mut self, fx: &mut Effects) {
        self.grant_waiting(fx);
        let now = self.now;
        for i in 0..self.worker.requests.len() {
            let pending = &self.worker.requests[i];
            let spare = |g: &Grant| g.slots.saturating_sub(g.wanted);
            let has = u64::from(self.worker.slots_of(pending)) * weight(&pending.shape);
            let other = |g: &Grant| g.peer != pending.peer || g.shape != pending.shape;
            let asked =
                self.worker.grants.iter_mut().filter(|(_, g)| other(g) && g.wanted == 0 && g.slots > 0);
            let Some((lease, grant)) = asked.max_by_key(|(_, g)| u64::from(spare(g)) * weight(&g.shape))
            else {
                continue;
            };
            if u64::from(spare(grant)) * weight(&grant.shape) <= has || now - grant.since < QUANTUM {
                continue;
            }
            let enough = weight(&pending.shape).div_ceil(weight(&grant.shape));
            let slots = u32::try_from(enough).unwrap_or(u32::MAX).min(spare(grant));
            grant.wanted += slots;
            grant.since = now;
            let (to, lease) = (grant.peer, *lease);
            self.say(to, &Message::LeaseWanted { lease, slots }, fx);
        }
    }

    /// An owner is gone, and with it everything that it had here.
    pub(super) fn owner_lost(&mut self, peer: ProcessId, fx: &mut Effects) {
        self.worker.requests.retain(|r| r.peer != peer);
        let leases: Vec<u32> =
            self.worker.grants.iter().filter(|(_, g)| g.peer == peer).map(|(l, _)| *l).collect();
        for lease in leases {
            if let Some(grant) = self.worker.grants.remove(&lease) {
                self.worker.granted.take_many(&grant.shape, grant.slots);
            }
            for key in self.worker.keys_of_lease(lease) {
                fx.abandon.push(key);
                let held = self.worker.active(key).filter(|a| a.charged).map(|a| a.shape.clone());
                held.iter().for_each(|shape| self.worker.orphaned.give(shape));
            }
            let waiting: Vec<_> =
                self.worker.fetching.range((lease, 0)..=(lease, u32::MAX)).map(|(k, _)| *k).collect();
            for key in waiting {
                self.worker.fetching.remove(&key);
            }
        }
        let transit: Vec<_> = self.worker.transit.keys().filter(|(p, _)| *p == peer).copied().collect();
        for key in transit {
            if let Some(transit) = self.worker.transit.remove(&key) {
                self.unpin_all(transit.pins);
            }
        }
        self.objects.free_all_of(peer, fx);
        self.hosted_lost(peer, fx);
        self.worker.changed = true;
        self.grant_waiting(fx);
    }
}
