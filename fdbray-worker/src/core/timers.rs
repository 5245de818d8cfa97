//! What happens because time passed: deadlines, retries, idle leases, shapes that nobody can run.

use super::{Core, Effects, MILLISECOND, Nanos, table::State};
use crate::error::Error;
use std::collections::BTreeSet;

/// How often leases, queues and requests are looked at while there are any.
const ROUND: Nanos = 25 * MILLISECOND;
/// After this a shape that nobody can run is logged.
const UNFIT_LOGGED: Nanos = 1_000 * MILLISECOND;

/// Points in time that the core waits for.
#[derive(Default)]
pub(super) struct Timers {
    deadlines: BTreeSet<(Nanos, u64)>,
    retries: BTreeSet<(Nanos, u64)>,
    next_round: Nanos,
    /// Whether there are rounds at present.
    rounds: bool,
}

impl Timers {
    pub fn deadline(&mut self, at: Nanos, seq: u64) {
        self.deadlines.insert((at, seq));
    }

    /// The own task `seq`, which rests, is attempted again then.
    pub fn again_at(&mut self, at: Nanos, seq: u64) {
        self.retries.insert((at, seq));
    }

    pub fn forget_deadline(&mut self, at: Nanos, seq: u64) {
        self.deadlines.remove(&(at, seq));
    }
}

fn due(set: &mut BTreeSet<(Nanos, u64)>, now: Nanos) -> Option<u64> {
    let first = *set.first().filter(|(at, _)| *at <= now)?;
    set.remove(&first);
    Some(first.1)
}

impl Core {
    /// When [`Core::tick`] is to be called next; `None` while nothing depends on time.
    pub fn next_tick(&self) -> Option<Nanos> {
        let timed =
            self.timers.deadlines.first().into_iter().chain(self.timers.retries.first()).map(|(at, _)| *at);
        let round = self.timers.rounds.then_some(self.timers.next_round);
        timed.chain(round).min()
    }

    /// Does what is due; the time was told by [`Core::advance`].
    pub fn tick(&mut self, fx: &mut Effects) {
        while let Some(seq) = due(&mut self.timers.deadlines, self.now) {
            if let Some(record) = self.table.get(seq).filter(|r| r.state != State::Settled) {
                let function = self.templates.spec(record.template).name.to_owned();
                self.abandon(seq, fx);
                self.fail(seq, Error::DeadlineExceeded { function, passed: Default::default() }, fx);
            }
        }
        while let Some(seq) = due(&mut self.timers.retries, self.now) {
            if self.table.get(seq).is_some_and(|r| r.state == State::Resting) {
                self.enqueue(seq);
            }
        }
        if self.timers.rounds && self.now >= self.timers.next_round {
            self.timers.next_round = self.now + ROUND;
            self.return_idle_leases(fx);
            self.drop_idle_copies(fx);
            self.judge_queues(fx);
            self.move_work_from_stalled_leases(fx);
            self.want_leases_back(fx);
            self.lines.touch_waiting();
        }
        self.turn(fx);
    }

    /// Begins or ends the rounds.
    pub(super) fn plan_rounds(&mut self) {
        let needed = self.owner.leases_that_end() > 0
            || self.lines.anything_waits()
            || self.owner.anything_queued()
            || self.worker.anyone_waits()
            || !self.objects.copies.is_empty()
            || (self.peers.anyone_lost() && self.table.len() > 0);
        if needed && !self.timers.rounds {
            self.timers.next_round = self.now + ROUND;
        }
        self.timers.rounds = needed;
    }

    /// An attempt failed with an error of the user's code: whether it is tried again, after a pause that doubles.
    pub(super) fn rest_before_retry(&mut self, seq: u64, error: &Error) -> bool {
        let Some(record) = self.table.get_mut(seq) else { return false };
        let spec = self.templates.spec(record.template);
        let users = matches!(error, Error::Application(_) | Error::Panicked { .. });
        if !users || u32::from(record.failed) >= spec.retry_errors {
            return false;
        }
        let before = record.failed;
        record.failed += 1;
        self.rest(seq, before);
        true
    }

    /// The own task `seq` is attempted again after a pause that doubles with the attempts `before`.
    pub(super) fn rest(&mut self, seq: u64, before: u16) {
        let Some(record) = self.table.get_mut(seq) else { return };
        record.state = State::Resting;
        let pause = (10 * MILLISECOND) << before.min(9);
        self.timers.again_at(self.now + pause, seq);
    }

    fn return_idle_leases(&mut self, fx: &mut Effects) {
        for place in self.owner.places() {
            let (now, period) = (self.now, self.settings.idle_lease);
            let Some(lease) = self.owner.lease(place).filter(|lease| lease.line.is_none()) else { continue };
            let idle = lease.idle_since.filter(|_| lease.in_flight == 0);
            let long = idle.is_some_and(|since| now - since >= period);
            let unused = lease.unused(now, period);
            let all = long || (lease.is_worn() && lease.in_flight == 0);
            let slots = if all { lease.slots } else { unused };
            self.return_slots(place, slots, fx);
        }
    }

    /// Looks for work that no worker can ever run, and for workers that work could use.
    fn judge_queues(&mut self, fx: &mut Effects) {
        for shape in 0..self.owner.queues() {
            if self.owner.queue(shape).len() == 0 {
                self.owner.queue(shape).unfit_since = None;
                continue;
            }
            self.dirty.insert(shape);
            self.judge_places(shape, fx);
            let needs = self.templates.shape(shape);
            if self.peers.workers().any(|(_, capacity)| capacity.fits(needs)) {
                self.owner.queue(shape).unfit_since = None;
                self.owner.queue(shape).unfit_logged = false;
                continue;
            }
            let now = self.now;
            let since = *self.owner.queue(shape).unfit_since.get_or_insert(now);
            if now - since >= self.settings.unschedulable_after {
                self.fail_unschedulable(shape, fx);
            } else if now - since >= UNFIT_LOGGED
                && !std::mem::replace(&mut self.owner.queue(shape).unfit_logged, true)
            {
                tracing::warn!(
                    "no worker can run calls that need {}: {}",
                    self.templates.shape(shape),
                    self.why_unfit(shape)
                );
            }
        }
        if self.peers.anyone_lost() {
            self.redial(fx);
        }
    }

    fn fail_unschedulable(&mut self, shape: u32, fx: &mut Effects) {
        let why = self.why_unfit(shape);
        // Whoever could run it and does not fit is the reason, and something else is to be done about it.
        let needs = self.templates.shape(shape);
        let unfit = self.peers.refused().find(|(_, capacity, _)| capacity.fits(needs));
        let unfit = unfit.map(|(id, _, why)| format!("process {id} cannot be used, {why}"));
        for seq in self.owner.queue(shape).drain(None) {
            let Some(record) = self.table.get(seq).filter(|r| r.state == State::Queued) else { continue };
            let function = &self.templates.spec(record.template).name;
            let error = match &unfit {
                Some(unfit) => {
                    Error::Incompatible { message: format!("no worker can run `{function}`: {unfit}") }
                }
                None => Error::Unschedulable {
                    function: function.to_string(),
                    shape: self.templates.shape(shape).to_string(),
                    why: why.clone(),
                    passed: Default::default(),
                },
            };
            self.fail(seq, error, fx);
        }
    }

    fn why_unfit(&self, shape: u32) -> String {
        let needs = self.templates.shape(shape);
        let closest = self.peers.workers().min_by_key(|(_, c)| c.lacks(needs).len());
        if let Some((id, capacity)) = closest {
            return format!("the closest worker, {id}, {}", capacity.lacks(needs));
        }
        match self.peers.refused().next() {
            _ if self.hopeless.is_some() => self.hopeless.clone().unwrap_or_default(),
            Some((id, _, why)) => format!("process {id} cannot be used: {why}"),
            None => "there is no worker in the cluster".to_owned(),
        }
    }
}
