//! What a task waits for, and how it ended.

use super::{
    exec::Thread,
    expect::{self, kind},
    interpret::{Frame, Handle},
    plan::{Op, Register},
    world::{P, World},
};
use fdbray_worker::{
    cell::{Outcome, WaitSet},
    core::Origin,
    error::Error,
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    task::{Context, Poll},
};

/// A wait for some of many.
pub struct Some_ {
    set: Arc<WaitSet>,
    ended: BTreeSet<u64>,
}

impl World {
    /// What `Handle::poll` does.
    pub fn poll(&mut self, p: P, thread: u32, handle: &Handle) -> Poll<Outcome> {
        let cell = handle.cell.clone();
        let waker = self.waker(p, thread);
        let mut cx = Context::from_waker(&waker);
        let actor = self.plan.futures[handle.lid].actor;
        let mut polled = if actor { cell.poll_end(&mut cx) } else { cell.poll_local(&mut cx) };
        if polled.is_pending() && actor {
            self.call(p, |core, fx| core.ask(cell.id(), false, fx));
            polled = cell.poll_end(&mut cx);
        } else if polled.is_pending() && cell.first_ask() {
            self.call(p, |core, fx| core.ask(cell.id(), true, fx));
            polled = cell.poll_local(&mut cx);
        }
        if let Poll::Ready(outcome) = &polled {
            self.saw(p, cell.id(), outcome);
        }
        polled
    }

    pub fn poll_some(&mut self, p: P, thread: u32, frame: &mut Frame, of: &[Register], count: usize) -> bool {
        if frame.some.is_none() {
            let set = WaitSet::new();
            for (token, r) in of.iter().enumerate() {
                let cell = frame.handle(*r).cell.clone();
                cell.watch(&set, token as u64);
                self.call(p, |core, fx| core.ask(cell.id(), false, fx));
            }
            frame.some = Some(Some_ { set, ended: BTreeSet::new() });
        }
        let waker = self.waker(p, thread);
        let Some(some) = &mut frame.some else { return true };
        while some.ended.len() < count
            && let Poll::Ready(token) = some.set.poll_next(&mut Context::from_waker(&waker))
        {
            assert!(some.ended.insert(token), "p{p}: a wait set heard of one future twice");
        }
        some.ended.len() >= count
    }

    pub fn unwatch(&mut self, frame: &mut Frame, of: &[Register]) {
        if let Some(some) = frame.some.take() {
            of.iter().for_each(|r| frame.handle(*r).cell.unwatch(&some.set));
        }
    }

    /// Whether what the topmost frame waits for has come.
    pub fn is_ready(&mut self, p: P, id: u32, thread: &mut Thread) -> bool {
        let Some(frame) = thread.stack.last_mut() else { return true };
        match frame.op(&self.plan) {
            Some(Op::Await { of, .. }) => self.poll(p, id, frame.handle(of)).is_ready(),
            Some(Op::AwaitSome { of, count }) => self.poll_some(p, id, frame, &of, count),
            _ => true,
        }
    }

    pub fn awaited(&mut self, p: P, frame: &mut Frame, of: Register, fold: bool, outcome: Outcome) {
        let Handle { cell, lid, made } = frame.handle(of);
        let (id, lid, made) = (cell.id(), *lid, *made);
        self.answer_seen(p, id, lid, &outcome);
        match outcome {
            Outcome::Value(value) if fold => self.read(p, frame, lid, value.head(), Origin::Object(id)),
            Outcome::Value(_) => {}
            Outcome::Stored { .. } => {
                assert!(self.plan.futures[lid].actor, "a poll gives no bytes that are elsewhere")
            }
            Outcome::Failed(error) => {
                self.count(error_name(kind(&error)));
                self.check_error(p, frame, (id, lid, made), &error);
                if fold {
                    frame.failed = Some(Error::from(error));
                }
            }
        }
    }
}

fn error_name(kind: u16) -> &'static str {
    match kind {
        expect::APPLICATION => "[Application]",
        expect::CANCELLED => "[Cancelled]",
        expect::DEADLINE => "[DeadlineExceeded]",
        expect::OVERLOADED => "[Overloaded]",
        expect::WORKER_DIED => "[WorkerDied]",
        expect::OWNER_DIED => "[OwnerDied]",
        expect::OBJECT_LOST => "[ObjectLost]",
        expect::UNSCHEDULABLE => "[Unschedulable]",
        expect::SHUTDOWN => "[Shutdown]",
        expect::PANICKED => "[Panicked]",
        expect::ACTOR_ENDED => "[ActorEnded]",
        expect::CHECKPOINT => "[Checkpoint]",
        _ => "[other]",
    }
}
