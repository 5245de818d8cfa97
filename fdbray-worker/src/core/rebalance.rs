//! Work that was sent and would start sooner elsewhere: asked back from the worker where it waits.

use super::{Core, Effects, message::Message};

/// What waits at a worker for longer than this is worth moving to an idle slot.
const WORTH_MOVING: u64 = 5_000_000;
/// A lease over which nothing was answered for so long has something long on every slot.
const STALLED: u64 = 100_000_000;

impl Core {
    /// Takes back what was sent ahead to a worker and waits there behind something that takes long, when it could run
    /// elsewhere.
    pub(super) fn move_work_from_stalled_leases(&mut self, fx: &mut Effects) {
        let (me, now) = (self.me(), self.now);
        for place in self.owner.places() {
            let Some(lease) = self.owner.lease_ref(place).filter(|lease| lease.line.is_none()) else {
                continue;
            };
            let ahead = lease.in_flight.saturating_sub(lease.slots);
            let stands = now > lease.moved + STALLED && !lease.stalled && !lease.recalling;
            if lease.peer == me || lease.slots == 0 || ahead == 0 || !stands {
                continue;
            }
            let (peer, id, shape) = (lease.peer, lease.id, lease.shape);
            let needs = self.templates.shape(shape);
            if !self.peers.workers().any(|(other, capacity)| other != peer && capacity.fits(needs)) {
                continue;
            }
            if let Some(lease) = self.owner.lease(place) {
                (lease.stalled, lease.recalling) = (true, true);
            }
            self.say(peer, &Message::Recall { lease: id, count: ahead }, fx);
        }
    }

    /// When one lease has nothing to do while much waits at another worker, asks that one to give back what it has
    /// not started.
    pub(super) fn move_work_to_idle_slots(&mut self, shape: u32, fx: &mut Effects) {
        let places = self.owner.queue(shape).leases.clone();
        if places.len() < 2 {
            return;
        }
        let me = self.me();
        let leases: Vec<_> = places.iter().filter_map(|p| Some((*p, self.owner.lease_ref(*p)?))).collect();
        let idle: u32 = leases.iter().map(|(_, l)| l.slots.saturating_sub(l.in_flight)).sum();
        // Nothing waits here behind what runs: more in flight than slots is what waits for futures.
        let behind = |l: &super::lease::Lease| l.peer != me && l.in_flight > l.slots && l.slots > 0;
        let most = leases.iter().filter(|(_, l)| !l.recalling && behind(l));
        let Some((place, lease)) = most.max_by_key(|(_, l)| l.in_flight - l.slots) else { return };
        let behind = lease.in_flight - lease.slots;
        let (place, peer, id, slots) = (*place, lease.peer, lease.id, lease.slots);
        let last = lease.in_flight().last().map(|(_, seq)| *seq);
        if last.and_then(|seq| self.place_for(seq)) == Some(peer) {
            // It would go there again.
            return;
        }
        let function = last.and_then(|seq| self.table.get(seq)).map(|r| r.template);
        let average = function.map_or(u64::MAX / 2, |t| self.templates.timing_of(t).average.max(1));
        if idle == 0 || u64::from(behind).saturating_mul(average) / u64::from(slots) < WORTH_MOVING {
            return;
        }
        if let Some(lease) = self.owner.lease(place) {
            lease.recalling = true;
        }
        self.say(peer, &Message::Recall { lease: id, count: behind.div_ceil(2) }, fx);
    }
}
