//! The invariants that every run must keep.

use super::{
    expect::{self, kind},
    interpret::{Frame, Role},
    plan::{Lid, Op, Plan},
    random::mix,
    world::{P, World},
};
use fdbray_worker::{
    cell::Outcome,
    core::{MILLISECOND, Nanos},
    error::Error,
    id::ObjectId,
};
use std::fmt::Write;

/// When nothing moves for so long, nothing ever will: a call that nobody can run takes 30 s.
const PATIENCE: Nanos = 120_000 * MILLISECOND;

impl World {
    /// Runs the world to its end, checking on the way and then that nothing is left.
    pub fn play(&mut self) {
        let until = self.scenario.faults.until;
        let mut steps = 0_u64;
        while (self.mains_open > 0 || self.now < until) && self.step(self.moved.max(until) + PATIENCE) {
            steps += 1;
            if steps.is_multiple_of(64) {
                self.check_registered();
            }
        }
        assert!(self.mains_open == 0, "main programs do not end (invariant 1): {}", self.stuck());
        while self.busy() && self.step(self.moved + PATIENCE) {}
        assert!(!self.busy(), "futures do not settle (invariant 1): {}", self.stuck());
        let end = self.now + 20_000 * MILLISECOND;
        while self.anything_left() && self.step(end) {}
        assert!(!self.anything_left(), "something is left (invariant 2): {}", self.stuck());
    }

    fn busy(&self) -> bool {
        self.all.iter().any(|p| p.alive && (!p.threads.is_empty() || !p.core.unsettled().is_empty()))
    }

    fn anything_left(&self) -> bool {
        let left = |p: &super::world::Process| {
            p.core.left_over() != [0; 5]
                || p.core.pending_bytes() > 0
                || !p.handles.is_empty()
                || !p.states.is_empty()
        };
        self.all.iter().any(|p| p.alive && left(p))
    }

    /// Who waits for what.
    pub fn stuck(&self) -> String {
        let mut said = format!("at {} ms, {:?}\n", self.now / MILLISECOND, self.weather);
        for (p, process) in self.all.iter().enumerate().filter(|(_, p)| p.alive) {
            let unsettled = process.core.unsettled();
            let _ = writeln!(
                said,
                "p{p} {} ({:?}): left over {:?}, pending bytes {}, unsettled {:?}",
                process.id,
                process.capacity.as_ref().map(ToString::to_string),
                process.core.left_over(),
                process.core.pending_bytes(),
                &unsettled[..unsettled.len().min(8)],
            );
            let _ = writeln!(said, "{:?}", process.core);
            for (id, thread) in &process.threads {
                let frames: Vec<String> = thread
                    .stack
                    .iter()
                    .map(|f| format!("{:?} at {:?} ({:?})", f.role, f.op(&self.plan), f.awaits(&self.plan)))
                    .collect();
                let _ = writeln!(
                    said,
                    "    thread {id} {:?} {:?}: {}",
                    thread.key,
                    thread.state,
                    frames.join(" > ")
                );
            }
        }
        said
    }

    /// Invariant 7 and 2: whatever a live process has a handle of, its owner has a record of.
    fn check_registered(&self) {
        if self.weather.losses > 0 || self.weather.tight || self.weather.ended {
            return;
        }
        for (p, process) in self.all.iter().enumerate() {
            for id in process.handles.keys() {
                let owner = &self.all[self.at(id.owner)];
                assert!(owner.core.has_record(*id), "{id} is freed and p{p} has a handle (invariant 7)");
            }
        }
    }

    /// Invariant 1: what could start has a thread coming for it.
    pub fn check_called(&self, p: P) {
        let process = &self.all[p];
        let lost = process.alive && process.called == 0 && process.core.could_start();
        assert!(!lost, "p{p} could start something and calls no thread (invariant 1): {}", self.stuck());
    }

    /// Invariants 1 and 4: what was seen once is seen ever after. But a value that a disk has lost may be missed by who
    /// asks for it once more, and one that left memory goes with its owner.
    pub fn saw(&mut self, p: P, id: ObjectId, outcome: &Outcome) {
        let now = match outcome {
            Outcome::Value(value) => value.head().iter().fold(1, |sum, b| mix(sum ^ u64::from(*b))),
            Outcome::Failed(error) => error.to_string().bytes().fold(2, |sum, b| mix(sum ^ u64::from(b))),
            Outcome::Stored { .. } => return,
        };
        let gone = match outcome {
            Outcome::Failed(error) => match **error {
                Error::ObjectLost { .. } => self.damaged.contains(&id),
                Error::OwnerDied { .. } => self.aside.contains(&(p, id)),
                _ => false,
            },
            _ => false,
        };
        if gone {
            self.seen.insert((p, id), now);
            return;
        }
        let before = *self.seen.entry((p, id)).or_insert(now);
        assert_eq!(before, now, "p{p} saw {id} end twice, now with {outcome:?}");
    }

    /// Invariant 3: no attempt starts twice, and what must not be retried starts once.
    /// Says whether it is the first.
    pub fn count_start(&mut self, id: ObjectId, attempt: u32, function: u32) -> bool {
        let starts = self.started.entry(id).or_default();
        assert!(starts.insert(attempt), "attempt {attempt} of {id} starts twice");
        let count = starts.len();
        let call = self.plan.calls[function as usize];
        assert!(
            call.retries > 0 || call.retry_errors > 0 || call.restarts > 0 || call.is_sure() || count == 1,
            "{id} starts again, though its calls are never retried (invariant 3)"
        );
        count == 1
    }

    /// Whether an error that a program awaited is excused by the plan or by what happened.
    pub fn check_error(&self, p: P, frame: &Frame, (id, lid, made): (ObjectId, Lid, bool), error: &Error) {
        let strict = matches!(frame.role, Role::Main) || self.weather.losses == 0;
        if !strict || (frame.moot && !matches!(frame.role, Role::Main)) {
            return;
        }
        if matches!(frame.role, Role::Keeper) && (self.weather.losses > 0 || self.weather.tight) {
            return;
        }
        let allowed = expect::allowed(&self.plan, self.weather, self.scenario.inline)[lid];
        let over = expect::SHUTDOWN | expect::OBJECT_LOST | expect::OWNER_DIED;
        let allowed = allowed | if self.weather.ended { over } else { 0 };
        let foreign = !made && self.weather.losses > 0;
        let allowed = allowed | if foreign { expect::OWNER_DIED | expect::OBJECT_LOST } else { 0 };
        assert!(
            kind(error) & allowed != 0,
            "p{p} awaited {id} (future {lid}), which must not end with: {error}\n{}",
            self.stuck()
        );
    }

    /// Whether the result of a node may be of no use to its caller while it runs.
    pub fn is_moot(&self, node: usize) -> bool {
        moot(&self.plan, node)
    }
}

/// A node whose call, or whose caller's call, may be cancelled or end early.
fn moot(plan: &Plan, node: usize) -> bool {
    let lid = plan.nodes[node].lid;
    let cancelled =
        |n: &super::plan::Node| n.ops.iter().any(|op| matches!(op, Op::Cancel(r) if n.registers[*r] == lid));
    let killed = expect::may_be_killed(plan, plan.nodes[node].actor.unwrap_or(lid));
    if plan.nodes[node].deadline.is_some() || killed || plan.nodes.iter().any(cancelled) {
        return true;
    }
    let calls = |n: &super::plan::Node| {
        n.ops.iter().any(|op| matches!(op, Op::Call { node: called, .. } if *called == node))
    };
    plan.nodes.iter().position(calls).is_some_and(|caller| moot(plan, caller))
}
