//! When a session is over: what was sent is sent elsewhere, what was kept for the other side goes, and it is dialled again.

use super::{Core, Effects, lease::Lease, session::Session, table::State};
use crate::{error::Error, id::ProcessId};

/// Between two attempts to connect to a member that did not answer.
const REDIAL: super::Nanos = 500 * super::MILLISECOND;
/// The pause doubles with each time that the two do not fit together, so often at most: to 32 s.
const MOST_DOUBLINGS: u32 = 6;

impl Core {
    /// The session with `peer` is over. `started` tells up to which number the tasks of a lease (by its mark) may have
    /// been started, when the peer has provably ended and its start marks can be read; without it all of them may have
    /// been. The marks of a process that lives prove nothing: it starts tasks until it notices, too.
    pub fn ended_session(
        &mut self,
        peer: ProcessId,
        why: Option<&str>,
        started: &dyn Fn(u32) -> Option<u32>,
        fx: &mut Effects,
    ) {
        if let Some(entry) = self.peers.all.get_mut(&peer) {
            entry.refusals = if why.is_some() { entry.refusals + 1 } else { 0 };
            entry.refused = why.map(str::to_owned);
            entry.not_before = self.now + (REDIAL << entry.refusals.saturating_sub(1).min(MOST_DOUBLINGS));
        }
        self.session_over(peer, started, fx);
        self.turn(fx);
    }

    pub(super) fn session_over(
        &mut self,
        id: ProcessId,
        started: &dyn Fn(u32) -> Option<u32>,
        fx: &mut Effects,
    ) {
        let Some(peer) = self.peers.all.get_mut(&id) else { return };
        peer.session = None;
        peer.connected = false;
        peer.established = false;
        self.peers.lost |= peer.member && peer.capacity.is_some();
        if !peer.member {
            self.peers.all.remove(&id);
        }
        // As owner: what was sent there is sent again elsewhere, in the old order.
        for place in self.owner.places() {
            if self.owner.lease_ref(place).is_some_and(|l| l.peer == id)
                && let Some(lease) = self.owner.remove(place)
            {
                let line = lease.line;
                self.lease_lost(lease, started, fx);
                if let Some(line) = line {
                    self.line_lost(line, fx);
                }
            }
        }
        self.line_requests_lost(id, fx);
        for shape in 0..self.owner.queues() {
            self.owner.queue(shape).requests.retain(|r| r.peer != id);
            self.dirty.insert(shape);
        }
        self.registrations_lost(id);
        self.values_lost(id, started(u32::MAX).is_none(), fx);
        // As worker and as borrower.
        self.owner_lost(id, fx);
        self.fail_borrowed(Some(id), fx);
    }

    /// A worker is gone: the tasks that it may have started spend an attempt, the others none.
    fn lease_lost(&mut self, lease: Lease, started: &dyn Fn(u32) -> Option<u32>, fx: &mut Effects) {
        let last_started = started(lease.mark).unwrap_or(u32::MAX);
        for (number, seq) in lease.in_flight().into_iter().rev() {
            let Some(record) = self.table.get_mut(seq) else { continue };
            if !matches!(record.state, State::Sent { number: n, .. } if n == number) {
                continue;
            }
            let started = number <= last_started;
            record.flags.suspect |= started;
            if self.may_be_sent_again(seq, started) {
                self.send_again(seq, started);
                continue;
            }
            let Some(record) = self.table.get(seq) else { continue };
            let error = Error::WorkerDied {
                function: self.templates.spec(record.template).name.to_owned(),
                worker: lease.peer,
                attempts: record.attempt,
                passed: Default::default(),
            };
            self.fail(seq, error, fx);
        }
    }

    /// Dials workers whose session is over: there may be work for them, and they may have futures of this process,
    /// which perhaps they cannot dial.
    pub(super) fn redial(&mut self, fx: &mut Effects) {
        let (now, me) = (self.now, self.settings.me);
        self.peers.lost = false;
        for (id, peer) in &mut self.peers.all {
            let wanted = peer.member && peer.capacity.is_some() && peer.session.is_none() && *id != me;
            self.peers.lost |= wanted;
            if wanted && peer.not_before <= now {
                peer.not_before = now + REDIAL;
                peer.session = Some(Session::new(true));
                fx.dial.push(*id);
            }
        }
    }
}
