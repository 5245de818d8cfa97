//! Cores that talk to each other as a test says, step by step; for what the simulator meets rarely.

mod actors;
mod gate;
mod inline;
mod peers;
mod places;
mod results;
mod room;
mod slots;
mod stored;

use super::{
    At, Core, Effects, Finished, MILLISECOND, Origin, PeerInfo, Place, Settings, Start, Submission, TaskKey,
    shape::{ONE, Resources, TemplateSpec},
};
use crate::{
    cell::{Cell, Outcome},
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc};

/// Values of more bytes stay where they were made.
const INLINE_BYTES: usize = 64;
/// More than this is not moved where another worker has it.
const LOCALITY: u64 = 1_000;
/// What pending calls may hold.
const BUDGET: u64 = 10_000;

/// A process.
struct Node {
    core: Core,
    fx: Effects,
}

impl Node {
    /// Number `n`, with so many CPUs; a driver with none.
    fn new(n: u64, cpus: u64) -> Self {
        let core = Core::new(Settings {
            me: ProcessId::new(n).unwrap(),
            seed: n,
            capacity: (cpus > 0).then(|| Resources { cpus: cpus * ONE, ..Resources::default() }),
            max_pending_bytes: BUDGET,
            inline: INLINE_BYTES,
            unschedulable_after: 30_000 * MILLISECOND,
            idle_lease: 100 * MILLISECOND,
            locality: LOCALITY,
        });
        Node { core, fx: Effects::default() }
    }

    fn id(&self) -> ProcessId {
        self.core.me()
    }

    /// A call of one CPU that is made by nobody's task.
    fn call(&mut self, futures: &[&Arc<Cell>]) -> Arc<Cell> {
        self.call_from(None, futures)
    }

    fn call_from(&mut self, parent: Option<TaskKey>, futures: &[&Arc<Cell>]) -> Arc<Cell> {
        self.make(parent, None, None, ONE, futures)
    }

    fn gated(&mut self, gate: super::Gate, futures: &[&Arc<Cell>]) -> Arc<Cell> {
        self.make(None, Some(gate), None, ONE, futures)
    }

    /// The same, to be run somewhere.
    fn placed(&mut self, at: At, hard: bool, futures: &[&Arc<Cell>]) -> Arc<Cell> {
        self.make(None, None, Some(Place { at, hard }), ONE, futures)
    }

    /// A call that needs nothing, to be run in a process if that can be.
    fn light(&mut self, at: ProcessId) -> Arc<Cell> {
        self.make(None, None, Some(Place { at: At::Process(at), hard: false }), 0, &[])
    }

    fn make(
        &mut self,
        parent: Option<TaskKey>,
        gate: Option<super::Gate>,
        place: Option<Place>,
        cpus: u64,
        futures: &[&Arc<Cell>],
    ) -> Arc<Cell> {
        let spec = TemplateSpec {
            here: false,
            function: 0,
            name: "f",
            shape: Resources { cpus, ..Resources::default() },
            retries: 3,
            restarts: 0,
            role: Default::default(),
            retry_errors: 0,
            checkpoints: None,
            logs: false,
        };
        let template = self.core.template(spec);
        let futures = futures.iter().map(|cell| cell.id()).collect();
        let call = Submission {
            template,
            described: false,
            arguments: b"x",
            futures,
            contained: Vec::new(),
            deadline: None,
            parent,
            gate,
            place,
            actor: None,
        };
        self.core.submit(call, &mut self.fx)
    }

    fn put(&mut self, value: &[u8]) -> Arc<Cell> {
        self.core.put(Payload::copy_from(value), Vec::new(), &mut self.fx)
    }

    /// A handle of somebody's future is read in the arguments of `task`.
    fn adopt(&mut self, id: ObjectId, task: TaskKey) -> Arc<Cell> {
        self.core.adopt(id, Origin::Task(task), &mut self.fx)
    }

    /// The last handle that a test has of the future.
    fn drop_handle(&mut self, cell: &Arc<Cell>) {
        if cell.drop_handle() {
            self.core.released(&mut vec![cell.id()], &mut self.fx);
        }
    }

    /// Starts what a thread would.
    fn start(&mut self) -> Option<(TaskKey, Vec<Start>)> {
        let mut starts = Vec::new();
        self.core.next_batch(&mut starts).map(|key| (key, starts))
    }

    /// Starts one task, which must be there.
    fn start_one(&mut self) -> (TaskKey, Start) {
        let (key, mut starts) = self.start().expect("something to start");
        assert_eq!(starts.len(), 1);
        (key, starts.remove(0))
    }

    /// The task ends with a value and the futures inside it.
    fn finish(&mut self, key: TaskKey, start: &Start, value: &[u8], inside: &[ObjectId]) {
        let finished = Finished {
            task: start.task,
            id: start.id,
            attempt: start.attempt,
            function: start.function,
            ran: 1_000,
            outcome: Ok((Payload::copy_from(value), inside.to_vec())),
        };
        self.core.finish(key, &mut vec![finished], &mut Vec::new(), &mut self.fx);
    }

    /// So much later.
    fn later(&mut self, millis: u64) {
        let now = self.core.now() + millis * MILLISECOND;
        self.core.advance(now);
        self.core.tick(&mut self.fx);
    }

    /// What is said to `to`, off the wire.
    fn say(&mut self, to: &Node) -> Vec<Bytes> {
        let mut out = VecDeque::new();
        self.core.outgoing(to.id(), &mut out);
        out.into()
    }

    fn hear(&mut self, from: &Node, frames: &[Bytes]) {
        for frame in frames {
            self.core.receive(from.id(), frame, &mut self.fx).unwrap();
        }
    }

    fn is_empty(&self) -> bool {
        self.core.left_over() == [0; 5] && self.core.pending_bytes() == 0
    }
}

/// Makes two processes know each other.
fn meet(a: &mut Node, b: &mut Node) {
    for _ in 0..2 {
        let capacity = b.core.settings.capacity.clone();
        a.core.member_joined(PeerInfo { id: b.id(), capacity }, &mut a.fx);
        a.core.connected(b.id(), true, true, 0, &mut a.fx);
        std::mem::swap(a, b);
    }
}

/// Brings what they have said to each other, until they say nothing more.
fn talk(a: &mut Node, b: &mut Node) {
    loop {
        let (to_b, to_a) = (a.say(b), b.say(a));
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        b.hear(a, &to_b);
        a.hear(b, &to_a);
    }
}

/// The same, until idle leases have gone back.
fn rest(a: &mut Node, b: &mut Node) {
    for _ in 0..4 {
        talk(a, b);
        a.later(150);
        b.later(150);
    }
    talk(a, b);
}

fn value(cell: &Cell) -> Option<Vec<u8>> {
    match cell.outcome()? {
        Outcome::Value(value) => Some(value.head().to_vec()),
        other => panic!("{other:?}"),
    }
}
