//! Leaving in order: no new work, what is not started goes back, what runs ends.

use super::{Core, Effects, message::Message};

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
        self.turn(fx);
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
