//! The executor: pool threads that run batches, async tasks on their own, tasks that wait and give their slot back.

use super::{
    events::Event,
    interpret::{Flow, Frame, Handle, Role},
    plan::Op,
    world::{P, World},
};
use fdbray_worker::{
    core::{Finished, Nanos, Start, TaskKey, message::TaskName},
    error::Error,
    id::ObjectId,
    payload::Payload,
};
use std::collections::{BTreeSet, VecDeque};

/// Something that runs: a pool thread with its batch, an async task, a main program.
#[derive(Default)]
pub struct Thread {
    pub key: Option<TaskKey>,
    /// An async task that left its pool thread.
    alone: bool,
    batch: VecDeque<Start>,
    finished: Vec<Finished>,
    /// Handles that go once the core was told of the results.
    dropping: Vec<Handle>,
    /// What runs, and above it what it runs inline.
    pub stack: Vec<Frame>,
    pub state: State,
    /// Gave its slot back.
    blocked: bool,
    aborted: BTreeSet<TaskName>,
}

impl Thread {
    /// Ends the task with `outcome`.
    pub fn ends(&mut self, start: &Start, outcome: Result<(Payload, Vec<ObjectId>), Error>) {
        let Start { task, id, attempt, function, .. } = *start;
        self.finished.push(Finished { task, id, attempt, function, ran: 1, outcome });
    }
}

#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    #[default]
    Ready,
    Sleeping(Nanos),
    Waiting,
    /// For a slot.
    Resuming,
}

/// Inline calls go this deep.
const DEEPEST: usize = 6;

impl Thread {
    pub fn is_main(&self) -> bool {
        self.stack.first().is_some_and(|f| matches!(f.role, Role::Main))
    }
}

impl World {
    pub fn add_main(&mut self, p: P, node: usize, delay: Nanos) {
        self.mains_open += 1;
        let frame = Frame::new(&self.plan, node, Role::Main, self.now);
        self.add_thread(p, Thread { stack: vec![frame], ..Thread::default() }, delay);
    }

    pub fn add_keeper(&mut self, p: P, handle: Handle, delay: Nanos, moot: bool) {
        let mut frame = Frame::new(&self.plan, 0, Role::Keeper, self.now);
        frame.moot = moot;
        frame.registers = vec![Some(handle)];
        frame.ops = Some(vec![Op::Work(delay), Op::Await { of: 0, fold: true }]);
        self.add_thread(p, Thread { stack: vec![frame], ..Thread::default() }, 0);
    }

    fn add_thread(&mut self, p: P, thread: Thread, delay: Nanos) {
        let process = &mut self.all[p];
        process.next_thread += 1;
        let id = process.next_thread;
        process.threads.insert(id, thread);
        self.after(delay, Event::Step(p, id));
    }

    /// A pool thread is told to look for work.
    pub fn call_runner(&mut self, p: P, within: Nanos) {
        let delay = self.random.range(0, within);
        self.all[p].called += 1;
        self.after(delay, Event::Runner(p));
    }

    /// A pool thread looks for work.
    pub fn run_next_batch(&mut self, p: P) {
        let mut batch = Vec::new();
        let Some(key) = self.call(p, |core, _| core.next_batch(&mut batch)) else { return };
        assert!(!batch.is_empty(), "p{p}: a batch of nothing");
        self.say(|| {
            format!("p{p} takes {:?} of {:?}", batch.iter().map(|s| (s.task, s.id)).collect::<Vec<_>>(), key)
        });
        self.add_thread(p, Thread { key: Some(key), batch: batch.into(), ..Thread::default() }, 0);
    }

    pub fn step_thread(&mut self, p: P, id: u32) {
        let Some(mut thread) = self.all[p].threads.remove(&id) else { return };
        if self.go_on(p, id, &mut thread) {
            self.all[p].threads.insert(id, thread);
        }
    }

    /// Runs a thread until it has to wait; false when it has ended.
    fn go_on(&mut self, p: P, id: u32, thread: &mut Thread) -> bool {
        let waits = match thread.state {
            State::Sleeping(until) => self.now < until,
            State::Resuming => true,
            State::Waiting => {
                // An async task may be polled for nothing; it asks for its slot before it knows.
                let polled = !self.is_sync(thread) && self.random.percent(20);
                !(self.is_ready(p, id, thread) || polled) || !self.unblock(p, thread)
            }
            State::Ready => false,
        };
        if waits {
            return true;
        }
        thread.state = State::Ready;
        loop {
            if thread.stack.is_empty() {
                if let Some(start) = thread.batch.pop_front() {
                    self.begin(p, thread, start);
                    if let State::Sleeping(until) = thread.state {
                        self.schedule(until, Event::Step(p, id));
                        return true;
                    }
                    continue;
                }
                self.finish(p, thread);
                if !thread.alone {
                    self.call_runner(p, 1_000);
                }
                return false;
            }
            match self.interpret(p, id, thread) {
                Flow::Next => {}
                Flow::Sleep(time) => {
                    self.leave_pool(p, thread, time);
                    thread.state = State::Sleeping(self.now + time);
                    self.after(time, Event::Step(p, id));
                    return true;
                }
                Flow::Wait => {
                    if self.take_over(p, thread) {
                        continue;
                    }
                    self.leave_pool(p, thread, Nanos::MAX);
                    self.block(p, thread);
                    thread.state = State::Waiting;
                    // What it waits for may have come while it gave its slot back.
                    self.after(0, Event::Step(p, id));
                    return true;
                }
                Flow::End(outcome) => {
                    let Some(mut frame) = thread.stack.pop() else { continue };
                    match frame.role {
                        Role::Main => {
                            self.say(|| format!("p{p}: a main program ends: {outcome:?}"));
                            self.mains_open -= 1;
                            self.release_all(p, frame.handles());
                            return false;
                        }
                        Role::Keeper => {
                            self.release_all(p, frame.handles());
                            return false;
                        }
                        Role::Task { task, id, function, actor } => {
                            let ran = self.now - frame.began + 1;
                            let attempt = frame.attempt;
                            let handles = self.made_an_actor(p, thread, &mut frame, id, outcome.is_ok());
                            if let Some(actor) = actor {
                                let role = self.plan.calls[function as usize].role;
                                self.actors.method_ends(p, actor, role, &outcome);
                                self.has_changed(p, actor, id, role, &outcome);
                            }
                            let broken = actor.is_some() && outcome.as_ref().is_err_and(Error::is_own_panic);
                            thread.finished.push(Finished { task, id, attempt, function, ran, outcome });
                            thread.dropping.extend(handles);
                            if broken && !thread.batch.is_empty() {
                                self.report_rest(p, thread);
                            }
                        }
                        Role::Inline { key, id, function } => {
                            let ran = self.now - frame.began + 1;
                            let task = TaskName { lease: 0, number: 0 };
                            let attempt = frame.attempt;
                            let finished = Finished { task, id, attempt, function, ran, outcome };
                            self.say(|| format!("p{p} ends {id} inline"));
                            self.call(p, |core, fx| core.finish_inline(key, finished, fx));
                            self.release_all(p, frame.handles());
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, p: P, thread: &mut Thread, start: Start) {
        self.count("(start)");
        if thread.aborted.remove(&start.task) {
            let error = Error::control("aborted");
            let Start { task, id, attempt, function, .. } = start;
            return thread.finished.push(Finished {
                task,
                id,
                attempt,
                function,
                ran: 0,
                outcome: Err(error),
            });
        }
        let mark = self.all[p].marks.entry(start.mark).or_default();
        *mark = (*mark).max(start.task.number);
        self.say(|| format!("p{p} starts {} attempt {} as {:?}", start.id, start.attempt, start.task));
        let Start { task, id, attempt, function, actor, .. } = start;
        if let Some(error) = actor.and_then(|actor| self.state_is_gone(p, actor)) {
            return thread.finished.push(Finished {
                task,
                id,
                attempt,
                function,
                ran: 1,
                outcome: Err(error),
            });
        }
        if self.plan.calls[function as usize].role == fdbray_worker::registry::Role::Checkpoint {
            return self.save(p, thread, &start);
        }
        let first = self.count_start(id, start.attempt, function);
        if start.checkpoint.is_some() {
            return self.restore(p, thread, &start);
        }
        if let Some(actor) = actor {
            self.method_starts(p, actor, function, first.then_some(id), &start.arguments);
        }
        let key = thread.key.expect("a batch has a key");
        let role = Role::Task { task, id, function, actor };
        let origin = fdbray_worker::core::Origin::Task(key);
        let frame = self.enter(p, role, start.attempt, &start.arguments, &start.futures, origin);
        thread.stack.push(frame);
    }

    /// A sync task that waits for its own call runs that itself.
    fn take_over(&mut self, p: P, thread: &mut Thread) -> bool {
        let Some(key) = thread.key.filter(|_| thread.stack.len() < DEEPEST) else { return false };
        if !self.is_sync(thread) {
            return false;
        }
        let Some(wanted) = thread.stack.last().and_then(|f| f.awaits(&self.plan)) else { return false };
        let Some(steal) = self.call(p, |core, _| core.steal(wanted, key)) else { return false };
        self.count("(inline)");
        self.say(|| format!("p{p} runs {} attempt {} inline", steal.id, steal.attempt));
        self.count_start(steal.id, steal.attempt, steal.function);
        let role = Role::Inline { key: steal.key, id: steal.id, function: steal.function };
        let origin = fdbray_worker::core::Origin::Task(steal.key);
        let frame = self.enter(p, role, steal.attempt, &steal.arguments, &steal.futures, origin);
        thread.stack.push(frame);
        true
    }

    fn is_sync(&self, thread: &Thread) -> bool {
        let function = match thread.stack.first().map(|f| &f.role) {
            Some(Role::Task { function, .. }) => *function,
            _ => return false,
        };
        self.plan.calls[function as usize].sync
    }

    /// An async task that has to wait leaves its thread to others; a sync one gives back what waits behind it.
    fn leave_pool(&mut self, p: P, thread: &mut Thread, time: Nanos) {
        let Some(key) = thread.key.filter(|_| !thread.alone) else { return };
        let sync = self.is_sync(thread);
        if sync && time < 1_000_000 && self.random.percent(80) {
            return;
        }
        let mut rest: Vec<Start> = Vec::new();
        if !sync || time == Nanos::MAX || self.random.percent(50) {
            rest = thread.batch.drain(..).collect();
        }
        let mut finished = std::mem::take(&mut thread.finished);
        if !finished.is_empty() || !rest.is_empty() {
            self.say(|| {
                format!("p{p} reports {} ends of {key:?} and gives {} back", finished.len(), rest.len())
            });
            self.call(p, |core, fx| core.report(key, &mut finished, &mut rest, fx));
        }
        self.release_all(p, std::mem::take(&mut thread.dropping));
        if !sync {
            thread.alone = true;
            self.call_runner(p, 1_000);
        }
    }

    /// What a panic has left behind is told at once, and what waits behind it in the batch is not run.
    fn report_rest(&mut self, p: P, thread: &mut Thread) {
        let Some(key) = thread.key else { return };
        let mut rest: Vec<Start> = thread.batch.drain(..).collect();
        let mut finished = std::mem::take(&mut thread.finished);
        self.call(p, |core, fx| core.report(key, &mut finished, &mut rest, fx));
        self.release_all(p, std::mem::take(&mut thread.dropping));
    }

    fn finish(&mut self, p: P, thread: &mut Thread) {
        let Some(key) = thread.key else { return };
        let mut finished = std::mem::take(&mut thread.finished);
        self.say(|| format!("p{p} finishes {key:?} with {} ends", finished.len()));
        self.call(p, |core, fx| core.finish(key, &mut finished, &mut Vec::new(), fx));
        self.release_all(p, std::mem::take(&mut thread.dropping));
    }

    fn block(&mut self, p: P, thread: &mut Thread) {
        if let Some(key) = thread.key.filter(|_| !thread.blocked) {
            thread.blocked = true;
            self.say(|| format!("p{p} blocks {key:?}"));
            self.call(p, |core, fx| core.block(key, fx));
        }
    }

    fn unblock(&mut self, p: P, thread: &mut Thread) -> bool {
        let Some(key) = thread.key.filter(|_| thread.blocked) else { return true };
        if self.call(p, |core, _| core.unblock(key)) {
            thread.blocked = false;
            return true;
        }
        self.say(|| format!("p{p}: {key:?} waits for a slot"));
        self.count("(waits for a slot)");
        thread.state = State::Resuming;
        false
    }

    fn with_thread(
        &mut self,
        p: P,
        which: impl Fn(&Thread) -> bool,
        f: impl FnOnce(&mut World, &mut Thread),
    ) {
        let Some(id) = self.all[p].threads.iter().find(|(_, t)| which(t)).map(|(id, _)| *id) else { return };
        if let Some(mut thread) = self.all[p].threads.remove(&id) {
            f(self, &mut thread);
            self.all[p].threads.insert(id, thread);
            self.after(0, Event::Step(p, id));
        }
    }

    pub fn resume(&mut self, p: P, key: TaskKey) {
        self.with_thread(
            p,
            |t| t.key == Some(key),
            |_, thread| {
                assert!(thread.blocked, "p{p}: {key:?} is resumed and did not wait");
                thread.blocked = false;
                if thread.state == State::Resuming {
                    thread.state = State::Ready;
                }
            },
        );
    }

    /// The owner of a batch is gone. Async tasks end at once; a sync function cannot be stopped.
    pub fn abandon(&mut self, p: P, key: TaskKey) {
        self.with_thread(
            p,
            |t| t.key == Some(key),
            |world, thread| {
                world.say(|| format!("p{p} abandons {key:?}"));
                world.count("(abandon)");
                thread.batch.clear();
                if !world.is_sync(thread) {
                    world.drop_async(p, thread);
                }
            },
        );
    }

    /// The result of one task is of no use any more.
    pub fn abort(&mut self, p: P, task: TaskName) {
        let runs = |t: &Thread| matches!(t.stack.first().map(|f| &f.role), Some(Role::Task { task: t, .. }) if *t == task);
        let queued = |t: &Thread| t.batch.iter().any(|s| s.task == task);
        self.with_thread(
            p,
            |t| runs(t) || queued(t),
            |world, thread| {
                world.say(|| format!("p{p} aborts {task:?}"));
                world.count("(abort)");
                if queued(thread) {
                    thread.aborted.insert(task);
                } else if !world.is_sync(thread) {
                    world.drop_async(p, thread);
                }
            },
        );
    }

    fn drop_async(&mut self, p: P, thread: &mut Thread) {
        for mut frame in std::mem::take(&mut thread.stack) {
            self.release_all(p, frame.handles());
            if let Role::Task { task, id, function, actor } = frame.role {
                let (attempt, outcome) = (frame.attempt, Err(Error::control("aborted")));
                if let Some(actor) = actor {
                    let role = self.plan.calls[function as usize].role;
                    self.actors.method_ends(p, actor, role, &outcome);
                    self.has_changed(p, actor, id, role, &outcome);
                }
                thread.finished.push(Finished { task, id, attempt, function, ran: 1, outcome });
            }
        }
        thread.state = State::Ready;
    }
}
