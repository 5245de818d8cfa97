//! One task: the steps of its program.

use super::{
    events::Event,
    exec::Thread,
    expect::{self, kind},
    plan::{Lid, Op, Plan, Register, fold},
    value::Content,
    world::{P, World},
};
use fdbray_worker::{
    cell::{Cell, Outcome, WaitSet},
    core::{At, Instance, Nanos, Origin, Place, Submission, TaskKey, message::TaskName},
    error::{ApplicationError, Error},
    id::ObjectId,
    payload::Payload,
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    task::{Context, Poll},
};

/// A handle of user code. It is counted; [`World::release_all`] ends it.
#[derive(Debug)]
pub struct Handle {
    pub cell: Arc<Cell>,
    pub lid: Lid,
    /// By a call or a `put` of this frame; else it was read somewhere.
    pub made: bool,
}

/// One activation of a node.
pub struct Frame {
    pub node: usize,
    pub role: Role,
    pub attempt: u32,
    pub began: Nanos,
    pub registers: Vec<Option<Handle>>,
    /// What a keeper does instead of the node's operations.
    pub ops: Option<Vec<Op>>,
    /// Its result is of no use to anyone, perhaps: what it sees may be gone.
    pub moot: bool,
    pc: usize,
    sum: u64,
    failed: Option<Error>,
    some: Option<Some_>,
}

/// A wait for some of many.
struct Some_ {
    set: Arc<WaitSet>,
    ended: BTreeSet<u64>,
}

#[derive(Debug)]
pub enum Role {
    Main,
    Keeper,
    Task { task: TaskName, id: ObjectId, function: u32, actor: Option<Instance> },
    Inline { key: TaskKey, id: ObjectId, function: u32 },
}

/// What comes after a step.
pub enum Flow {
    Next,
    Sleep(Nanos),
    Wait,
    End(Result<(Payload, Vec<ObjectId>), Error>),
}

impl Frame {
    pub fn new(plan: &Plan, node: usize, role: Role, now: Nanos) -> Self {
        let sum = super::random::mix(plan.nodes[node].lid as u64 + 1);
        Frame {
            node,
            role,
            attempt: 1,
            began: now,
            registers: Vec::new(),
            ops: None,
            moot: false,
            pc: 0,
            sum,
            failed: None,
            some: None,
        }
    }

    pub fn op(&self, plan: &Plan) -> Option<Op> {
        let ops = self.ops.as_ref().unwrap_or(&plan.nodes[self.node].ops);
        ops.get(self.pc).cloned()
    }

    /// The future that it awaits now.
    pub fn awaits(&self, plan: &Plan) -> Option<ObjectId> {
        match self.op(plan)? {
            Op::Await { of, .. } => Some(self.registers[of].as_ref()?.cell.id()),
            _ => None,
        }
    }

    /// Takes the handles that it still has.
    pub fn handles(&mut self) -> Vec<Handle> {
        self.registers.drain(..).flatten().collect()
    }

    fn handle(&self, register: Register) -> &Handle {
        self.registers[register].as_ref().expect("the plan uses registers that have a handle")
    }
}

impl World {
    /// Decodes the arguments of a task, as its function would.
    pub fn enter(
        &mut self,
        p: P,
        role: Role,
        attempt: u32,
        arguments: &Payload,
        futures: &[Payload],
        origin: Origin,
    ) -> Frame {
        let content = Content::decode(arguments.head());
        let node = self.plan.futures[content.lid].node.expect("a call");
        let mut frame = Frame { attempt, ..Frame::new(&self.plan, node, role, self.now) };
        frame.moot = self.is_moot(node);
        let planned = &self.plan.nodes[node];
        assert_eq!(content.inside.iter().map(|(_, lid)| *lid).collect::<Vec<_>>(), planned.given);
        assert_eq!(futures.len(), planned.futures.len(), "p{p}: values of arguments are missing");
        let expected = planned.futures.clone();
        for (id, lid) in content.inside {
            self.adopt_into(p, &mut frame, id, lid, origin);
        }
        for (value, lid) in futures.iter().zip(expected) {
            self.read(p, &mut frame, lid, value.head(), origin);
        }
        frame
    }

    /// Decodes a value: its sum counts, and its futures come into registers.
    fn read(&mut self, p: P, frame: &mut Frame, lid: Lid, value: &[u8], origin: Origin) {
        let content = Content::decode(value);
        let logical = &self.plan.futures[lid];
        assert_eq!((content.lid, content.sum), (lid, logical.sum), "p{p}: future {lid} has a wrong value");
        assert_eq!(content.inside.iter().map(|(_, lid)| *lid).collect::<Vec<_>>(), logical.inside);
        frame.sum = fold(frame.sum, content.sum);
        for (id, lid) in content.inside {
            self.adopt_into(p, frame, id, lid, origin);
        }
    }

    fn adopt_into(&mut self, p: P, frame: &mut Frame, id: ObjectId, lid: Lid, origin: Origin) {
        let cell = self.call(p, |core, fx| core.adopt(id, origin, fx));
        if self.weather.losses == 0 && !frame.moot && !self.weather.tight && !self.weather.ended {
            assert_eq!(
                cell.id(),
                id,
                "p{p}: a handle that was rightly had is unknown to its owner (invariant 7)"
            );
        }
        let mut handle = self.hold(p, cell, lid, frame.moot);
        handle.made = false;
        frame.registers.push(Some(handle));
    }

    /// Does the next step of the topmost frame.
    pub fn interpret(&mut self, p: P, id: u32, thread: &mut Thread) -> Flow {
        let Some(frame) = thread.stack.last_mut() else { return Flow::Next };
        let Some(op) = frame.op(&self.plan).filter(|_| frame.failed.is_none()) else {
            self.call(p, |core, fx| core.end_batch(fx));
            return self.end(p, frame);
        };
        if !matches!(op, Op::Call { .. }) {
            self.call(p, |core, fx| core.end_batch(fx));
        }
        let flow = match op {
            Op::Work(time) => Flow::Sleep(time),
            Op::Call { node, futures, given, on } => {
                let parent = match frame.role {
                    Role::Inline { key, .. } => Some(key),
                    _ => thread.key,
                };
                let handle = self.submit(p, parent, frame, (node, on), &futures, &given);
                frame.registers.push(Some(handle));
                Flow::Next
            }
            Op::Put { lid, given } => {
                let logical = &self.plan.futures[lid];
                let inside: Vec<_> =
                    given.iter().map(|r| frame.handle(*r)).map(|h| (h.cell.id(), h.lid)).collect();
                let contained = inside.iter().map(|(id, _)| *id).collect();
                let content = Content { lid, sum: logical.sum, inside, pad: logical.pad };
                let value = Payload::copy_from(&content.encode());
                let cell = self.call(p, |core, fx| core.put(value, contained, fx));
                let handle = self.hold(p, cell, lid, frame.moot);
                frame.registers.push(Some(handle));
                Flow::Next
            }
            Op::Await { of, fold } => match self.poll(p, id, frame.handle(of)) {
                Poll::Ready(outcome) => {
                    self.awaited(p, frame, of, fold, outcome);
                    Flow::Next
                }
                Poll::Pending => Flow::Wait,
            },
            Op::AwaitSome { of, count } => match self.poll_some(p, id, frame, &of, count) {
                true => {
                    self.unwatch(frame, &of);
                    Flow::Next
                }
                false => Flow::Wait,
            },
            Op::Drop(r) => {
                self.release_all(p, frame.registers[r].take().into_iter().collect());
                Flow::Next
            }
            Op::Cancel(r) => {
                let cell = frame.handle(r).cell.clone();
                let before = cell.is_settled();
                self.say(|| format!("p{p} cancels {}", cell.id()));
                self.call(p, |core, fx| core.cancel(cell.id(), fx));
                let own = cell.id().owner == self.all[p].id;
                let now = cell.outcome();
                assert!(
                    before
                        || !own
                        || matches!(&now, Some(Outcome::Failed(e)) if kind(e) == expect::CANCELLED),
                    "p{p}: a cancelled future is {now:?}"
                );
                Flow::Next
            }
            Op::Kill(r) => {
                let cell = frame.handle(r).cell.clone();
                self.say(|| format!("p{p} kills {}", cell.id()));
                self.count("(kill)");
                self.call(p, |core, fx| core.kill_actor(cell.id(), fx));
                let own = cell.id().owner == self.all[p].id;
                let now = cell.outcome();
                assert!(!own || matches!(&now, Some(Outcome::Failed(_))), "p{p}: a killed actor is {now:?}");
                Flow::Next
            }
            Op::Keep(r, delay) => {
                let moot = frame.moot;
                if let Some(handle) = frame.registers[r].take() {
                    self.add_keeper(p, handle, delay, moot);
                }
                Flow::Next
            }
        };
        if !matches!(flow, Flow::Wait) {
            frame.pc += 1;
            self.moved = self.now;
        }
        flow
    }

    fn submit(
        &mut self,
        p: P,
        parent: Option<TaskKey>,
        frame: &mut Frame,
        (node, on): (usize, Option<Register>),
        futures: &[Register],
        given: &[Register],
    ) -> Handle {
        let called = &self.plan.nodes[node];
        let ids = |rs: &[Register]| rs.iter().map(|r| frame.handle(*r).cell.id()).collect::<Vec<_>>();
        let inside = given.iter().map(|r| frame.handle(*r)).map(|h| (h.cell.id(), h.lid)).collect();
        let arguments = Content { lid: called.lid, sum: 0, inside, pad: called.argument_pad }.encode();
        let futures = ids(futures);
        // What is only preferred changes nothing but where it runs.
        let beside = futures.first().filter(|_| self.random.percent(30)).map(|id| At::Value(*id));
        let any = self.random.index(self.all.len());
        let there = self.random.percent(8).then(|| At::Process(self.all[any].id));
        // An actor's method runs where the actor is.
        let place = beside.or(there).filter(|_| on.is_none()).map(|at| Place { at, hard: false });
        let actor = on.map(|r| frame.handle(r).cell.id());
        let submission = Submission {
            described: false,
            gate: None,
            place,
            actor,
            template: called.call as u32,
            arguments: &arguments,
            futures,
            contained: ids(given),
            deadline: called.deadline.map(|d| self.clock(p) + d),
            parent,
        };
        let lid = called.lid;
        let together = self.random.percent(50);
        let cell = self.call(p, |core, fx| match together {
            true => core.add_call(submission, fx),
            false => core.submit(submission, fx),
        });
        if let Some(actor) = actor {
            self.actors.called((p, parent, actor), cell.id());
        }
        self.say(|| format!("p{p} calls {} (node {node}, future {lid}, of {actor:?})", cell.id()));
        self.hold(p, cell, lid, frame.moot)
    }

    /// What `Handle::poll` does.
    fn poll(&mut self, p: P, thread: u32, handle: &Handle) -> Poll<Outcome> {
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

    fn poll_some(&mut self, p: P, thread: u32, frame: &mut Frame, of: &[Register], count: usize) -> bool {
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

    fn unwatch(&mut self, frame: &mut Frame, of: &[Register]) {
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

    fn awaited(&mut self, p: P, frame: &mut Frame, of: Register, fold: bool, outcome: Outcome) {
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

    fn end(&mut self, p: P, frame: &mut Frame) -> Flow {
        if let Some(error) = frame.failed.take() {
            // As the panic boundary says it.
            let panicked = matches!(error, Error::Panicked { .. });
            return Flow::End(Err(if panicked { error.passed_to("node") } else { error }));
        }
        let node = &self.plan.nodes[frame.node];
        if matches!(frame.role, Role::Keeper) {
            return Flow::End(Ok((Payload::copy_from(b""), Vec::new())));
        }
        let logical = &self.plan.futures[node.lid];
        assert_eq!(frame.sum, logical.sum, "p{p}: node {} computed something else", frame.node);
        if frame.attempt <= node.fails && !matches!(frame.role, Role::Main) {
            let error = ApplicationError::new("planned", &std::fmt::Error, None);
            return Flow::End(Err(if node.panics {
                Error::simulated_panic(self.all[p].id)
            } else {
                Error::Application(error)
            }));
        }
        if logical.actor {
            return Flow::End(Ok((Payload::copy_from(b""), Vec::new())));
        }
        let inside: Vec<_> =
            node.returns.iter().map(|r| frame.handle(*r)).map(|h| (h.cell.id(), h.lid)).collect();
        let contained = inside.iter().map(|(id, _)| *id).collect();
        let content = Content { lid: node.lid, sum: frame.sum, inside, pad: logical.pad };
        Flow::End(Ok((Payload::copy_from(&content.encode()), contained)))
    }

    /// Accounts for a handle that the core counted.
    fn hold(&mut self, p: P, cell: Arc<Cell>, lid: Lid, moot: bool) -> Handle {
        if !moot {
            let entry = self.all[p].handles.entry(cell.id()).or_insert_with(|| (cell.clone(), lid, 0));
            entry.2 += 1;
        }
        Handle { cell, lid, made: true }
    }

    /// Drops handles.
    pub fn release_all(&mut self, p: P, handles: Vec<Handle>) {
        for Handle { cell, .. } in handles {
            let id = cell.id();
            if let Some(entry) = self.all[p].handles.get_mut(&id) {
                entry.2 = entry.2.saturating_sub(1);
                if entry.2 == 0 {
                    self.all[p].handles.remove(&id);
                }
            }
            if cell.drop_handle() {
                self.seen.remove(&(p, id));
                if self.all[p].released.is_empty() {
                    let delay = self.random.range(0, 100_000);
                    self.after(delay, Event::Release(p));
                }
                self.all[p].released.push(id);
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
