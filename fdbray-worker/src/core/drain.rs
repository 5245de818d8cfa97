//! Leaving in order: no new work, what is not started goes back, what runs ends.

use super::{
    Core, Effects,
    message::{Gone, Message},
};
use crate::id::ObjectId;

impl Core {
    /// Starts nothing for others any more and gives back what it has not started. What runs goes on.
    pub fn drain(&mut self, fx: &mut Effects) {
        self.worker.draining = true;
        self.worker.forget_requests_but_of(self.settings.me);
        let leases: Vec<u32> = self.worker.grants.keys().copied().collect();
        for lease in leases {
            let Some(grant) = self.worker.grants.get_mut(&lease).filter(|g| g.peer != self.settings.me)
            else {
                continue;
            };
            let (peer, slots) = (grant.peer, grant.slots);
            let numbers: Vec<u32> = grant.queue.drain(..).map(|q| q.number).collect();
            if slots > 0 {
                self.say(peer, &Message::LeaseWanted { lease, slots }, fx);
            }
            if !numbers.is_empty() {
                self.say(peer, &Message::NotStarted { lease, numbers, recalled: false }, fx);
            }
            self.end_grant_if_done(lease);
        }
        // Of actors that others own nothing more is started either; their owners make them again elsewhere.
        let me = self.settings.me;
        let actors: Vec<ObjectId> = self.hosted.all().filter(|id| id.owner != me).collect();
        for id in actors {
            self.hosted.closed.insert(id);
            self.leave_if_idle(id, fx);
        }
        self.turn(fx);
    }

    /// This worker leaves: its owner has the actor made elsewhere, once no call of it runs here.
    pub(super) fn leave_if_idle(&mut self, id: ObjectId, fx: &mut Effects) {
        if self.worker.draining && id.owner != self.settings.me && !self.hosted.runs(id) {
            self.tell_gone(id, Gone::Left, fx);
        }
    }

    /// Whether nothing runs here and nothing is awaited any more.
    pub fn is_drained(&self) -> bool {
        self.worker.tasks() == 0 && self.unsettled().is_empty()
    }
}

impl Core {
    /// No worker will ever come any more: what waits for one fails now, and so does what is submitted later.
    pub fn hopeless(&mut self, why: &str, fx: &mut Effects) {
        self.hopeless = Some(why.to_owned());
        self.settings.unschedulable_after = 0;
        self.turn(fx);
    }
}
