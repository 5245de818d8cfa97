//! Holding leases: granted, wanted back, returned, and what comes back unstarted.

use super::{
    Core, Effects,
    lease::{Lease, LeaseName},
    message::{Message, TaskName},
};
use crate::id::ProcessId;

impl Core {
    /// A worker granted slots.
    pub(super) fn granted(
        &mut self,
        peer: ProcessId,
        request: u32,
        name: LeaseName,
        slots: u32,
        fx: &mut Effects,
    ) {
        let LeaseName { lease: id, mark, more } = name;
        if self.line_granted(peer, request, id, mark, fx) {
            return;
        }
        let mut shape = None;
        for s in 0..self.owner.queues() {
            let queue = self.owner.queue(s);
            if let Some(at) = queue.requests.iter().position(|r| r.request == request && r.peer == peer) {
                queue.requests[at].slots = queue.requests[at].slots.saturating_sub(slots);
                if queue.requests[at].slots == 0 {
                    queue.requests.swap_remove(at);
                }
                shape = Some(s);
            }
        }
        // The request was withdrawn, or the lease given back, while the grant was on its way.
        let ended = more && self.owner.place_of(peer, id).is_none();
        let Some(shape) = shape.filter(|_| !ended) else {
            if let Some(shape) = shape {
                self.dirty.insert(shape);
            }
            return self.say(peer, &Message::LeaseReturn { lease: id, slots }, fx);
        };
        if let Some(place) = self.owner.place_of(peer, id) {
            if let Some(lease) = self.owner.lease(place) {
                lease.slots += slots;
            }
        } else {
            let name = LeaseName { lease: id, mark, more };
            self.owner.add(Lease::new(peer, name, shape, slots, self.now));
        }
        self.dirty.insert(shape);
    }

    /// The worker asks for slots back, because others wait.
    pub(super) fn lease_wanted(&mut self, peer: ProcessId, id: u32, slots: u32, fx: &mut Effects) {
        let Some(place) = self.owner.place_of(peer, id) else { return };
        let Some(lease) = self.owner.lease(place).filter(|lease| lease.line.is_none()) else { return };
        let back = slots.min(lease.slots);
        lease.slots -= back;
        let shape = lease.shape;
        // With the last slot what is not started comes back.
        self.say(peer, &Message::LeaseReturn { lease: id, slots: back }, fx);
        self.end_lease_if_done(place);
        self.dirty.insert(shape);
    }

    /// Gives back slots of a lease that are not needed.
    pub(super) fn return_slots(&mut self, place: u32, slots: u32, fx: &mut Effects) {
        let Some(lease) = self.owner.lease(place).filter(|_| slots > 0) else { return };
        lease.slots -= slots;
        let (peer, id) = (lease.peer, lease.id);
        self.say(peer, &Message::LeaseReturn { lease: id, slots }, fx);
        self.end_lease_if_done(place);
    }

    /// Drops a lease without slots once everything sent over it has been answered. The worker does the same.
    pub(super) fn end_lease_if_done(&mut self, place: u32) {
        if self.owner.lease(place).is_some_and(|l| l.slots == 0 && l.in_flight == 0) {
            self.owner.remove(place);
        }
    }

    /// The worker gave tasks back that it had not started.
    pub(super) fn not_started(&mut self, peer: ProcessId, id: u32, numbers: &[u32], recalled: bool) {
        let Some(place) = self.owner.place_of(peer, id) else { return };
        for number in numbers.iter().rev() {
            let Some(lease) = self.owner.lease(place) else { return };
            let Some(seq) = lease.answered(*number) else { continue };
            self.requeue_unstarted(place, *number, seq);
        }
        if let Some(lease) = self.owner.lease(place) {
            lease.recalling &= !recalled;
            self.note_idle(place);
            self.look_at(place);
        }
        self.end_lease_if_done(place);
    }

    /// Something may be sent over the lease at `place` that could not be before.
    pub(super) fn look_at(&mut self, place: u32) {
        match self.owner.lease_ref(place).map(|lease| (lease.line, lease.shape)) {
            Some((Some(line), _)) => self.lines.touch(line),
            Some((None, shape)) => self.dirty.insert(shape),
            None => {}
        }
    }

    fn requeue_unstarted(&mut self, place: u32, number: u32, seq: u64) {
        self.account_answered(place, seq);
        let sent = super::table::State::Sent { lease: place, number };
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == sent) else { return };
        record.attempt -= 1;
        record.state = super::table::State::Queued;
        self.queue_up(seq, true);
    }

    /// A task under the lease was answered: its bytes are not in flight any more.
    pub(super) fn account_answered(&mut self, place: u32, seq: u64) {
        let (bytes, suspect) =
            self.table.get(seq).map_or((0, false), |r| (r.arguments.len() as u64, r.flags.suspect));
        if let Some(lease) = self.owner.lease(place) {
            lease.bytes = lease.bytes.saturating_sub(bytes);
            lease.suspects = lease.suspects.saturating_sub(u32::from(suspect));
            if lease.in_flight == 0 {
                (lease.bytes, lease.suspects) = (0, 0);
            }
        }
    }

    /// Starts the clock of a lease over which nothing is in flight.
    pub(super) fn note_idle(&mut self, place: u32) {
        let now = self.now;
        if let Some(lease) = self.owner.lease(place)
            && lease.in_flight == 0
            && lease.idle_since.is_none()
        {
            lease.idle_since = Some(now);
        }
    }

    /// Tells the worker that nobody wants what was sent as `number` over the lease at `place`.
    pub(super) fn abandon_sent(&mut self, place: u32, number: u32, fx: &mut Effects) {
        if let Some(lease) = self.owner.lease_ref(place) {
            let (peer, task) = (lease.peer, TaskName { lease: lease.id, number });
            self.say(peer, &Message::Cancel { task }, fx);
        }
    }
}
