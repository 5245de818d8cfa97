//! Processes, the clock, and the order of events.

use super::{
    actors::Actors,
    events::{Due, Event},
    exec::Thread,
    expect::Weather,
    interpret::Handle,
    net::Net,
    plan::{CallOptions, Lid, Plan},
    random::{Random, mix},
    scenario::{SHELF, Scenario},
};
use fdbray_worker::{
    cell::Cell,
    core::{
        Core, Effects, Instance, Nanos, PeerInfo, Settings,
        shape::{ONE, Resources, TemplateSpec},
    },
    id::{ObjectId, ProcessId},
    registry::Lasting,
};
use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::{Arc, Mutex},
};

/// A process of the world, by its place in [`World::all`].
pub type P = usize;

/// What one run came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Of everything that happened; equal for equal seeds.
    pub hash: u64,
    pub events: u64,
    pub tasks: usize,
    /// Virtual time that it took.
    pub took: Nanos,
    /// Sessions that ended.
    pub losses: u32,
    /// How often what happened, to see that the worlds are not too tame.
    pub counts: BTreeMap<String, u64>,
}

/// Plays the world of `seed` to its end.
///
/// # Panics
/// When an invariant is broken.
pub fn run(seed: u64, trace: bool) -> Report {
    let mut random = Random::new(mix(seed));
    let scenario = Scenario::new(&mut random);
    let mut world = World::new(scenario, random, trace);
    world.populate();
    world.play();
    Report {
        hash: world.hash,
        events: world.seq,
        tasks: world.started.len(),
        took: world.now,
        losses: world.weather.losses,
        counts: world.counts,
    }
}

pub struct World {
    pub scenario: Scenario,
    pub random: Random,
    pub plan: Plan,
    pub now: Nanos,
    /// When a program last went on.
    pub moved: Nanos,
    pub all: Vec<Process>,
    pub net: Net,
    pub weather: Weather,
    /// Attempts that were started, by object.
    pub started: BTreeMap<ObjectId, BTreeSet<u32>>,
    /// What each future was seen to have become, by process.
    pub seen: BTreeMap<(P, ObjectId), u64>,
    pub actors: Actors,
    /// Objects whose bytes on a disk were damaged.
    pub damaged: BTreeSet<ObjectId>,
    /// Values that left the memory of a process that kept them.
    pub aside: BTreeSet<(P, ObjectId)>,
    /// What each object's value was seen to be anywhere.
    pub mains_open: usize,
    pub trace: bool,
    pub counts: BTreeMap<String, u64>,
    pub hash: u64,
    pub seq: u64,
    heap: BinaryHeap<Due>,
    pub woken: Arc<Mutex<Vec<(P, u32)>>>,
}

/// One process: a core and the little that a runtime adds to it.
pub struct Process {
    pub id: ProcessId,
    pub core: Core,
    pub alive: bool,
    pub dialable: bool,
    /// It drains.
    pub leaves: bool,
    /// It refuses every connection.
    pub shunned: bool,
    pub capacity: Option<Resources>,
    pub paused_until: Nanos,
    pub threads: BTreeMap<u32, Thread>,
    pub next_thread: u32,
    /// Pool threads that were told to ask for work and have not yet.
    pub called: usize,
    /// Start marks, by place.
    pub marks: BTreeMap<u32, u32>,
    /// The states of its actors, with the handles that they have.
    pub states: BTreeMap<Instance, Vec<Handle>>,
    /// What its lasting actors have become: the calls that have changed them, in order.
    pub lasting: BTreeMap<Instance, Vec<ObjectId>>,
    /// Handles of user code, for [`super::check`].
    pub handles: BTreeMap<ObjectId, (Arc<Cell>, Lid, u32)>,
    /// Handles dropped that the core was not told of.
    pub released: Vec<ObjectId>,
    tick_at: Nanos,
    /// Its clock shows this when the world's shows zero.
    clock: i64,
}

/// More events than this are no progress but a circle.
const MOST_EVENTS: u64 = 4_000_000;

impl World {
    fn new(scenario: Scenario, random: Random, trace: bool) -> Self {
        let deserted = scenario.workers.is_empty();
        let weather = Weather { tight: scenario.tight(), deserted, ..Weather::default() };
        World {
            scenario,
            random,
            plan: Plan::default(),
            now: 0,
            moved: 0,
            all: Vec::new(),
            net: Net::default(),
            weather,
            started: BTreeMap::new(),
            seen: BTreeMap::new(),
            actors: Actors::default(),
            damaged: BTreeSet::new(),
            aside: BTreeSet::new(),
            mains_open: 0,
            trace,
            counts: BTreeMap::new(),
            hash: 0,
            seq: 0,
            heap: BinaryHeap::new(),
            woken: Arc::default(),
        }
    }

    fn populate(&mut self) {
        if self.trace {
            println!("{:#?}", self.scenario);
        }
        let drivers: Vec<P> = (0..self.scenario.drivers)
            .map(|_| self.add_process(self.scenario.driver_capacity.clone(), false))
            .collect();
        for capacity in self.scenario.workers.clone() {
            let p = self.add_process(Some(capacity), true);
            self.all[p].shunned =
                self.scenario.faults.shunned && p + 1 == self.scenario.drivers + self.scenario.workers.len();
        }
        for driver in drivers {
            for _ in 0..self.scenario.mains {
                let main = self.plan.grow(&self.scenario.taste.clone(), &mut self.random);
                let start = self.random.scale(1_000, self.scenario.faults.until);
                self.add_main(driver, main, start);
            }
        }
        // Programs may ask for what only the plan knows now.
        for p in 0..self.all.len() {
            self.know_templates(p);
        }
        self.plan_faults();
    }

    /// A process that joins now. Everybody hears of it after a while.
    pub fn add_process(&mut self, capacity: Option<Resources>, dialable: bool) -> P {
        let p = self.all.len();
        let id = ProcessId::new(self.random.next() | 1).expect("odd");
        let core = Core::new(Settings {
            me: id,
            seed: self.random.next(),
            capacity: capacity.clone(),
            max_pending_bytes: self.scenario.max_pending_bytes,
            inline: self.scenario.inline,
            unschedulable_after: 30_000 * fdbray_worker::core::MILLISECOND,
            idle_lease: 100 * fdbray_worker::core::MILLISECOND,
            locality: self.scenario.locality,
        });
        self.all.push(Process {
            id,
            core,
            alive: true,
            dialable,
            leaves: false,
            shunned: false,
            capacity: capacity.clone(),
            paused_until: 0,
            threads: BTreeMap::new(),
            next_thread: 0,
            called: 0,
            marks: BTreeMap::new(),
            states: BTreeMap::new(),
            lasting: BTreeMap::new(),
            handles: BTreeMap::new(),
            released: Vec::new(),
            tick_at: Nanos::MAX,
            clock: self.random.range(0, 1_000_000_000) as i64 - self.now as i64,
        });
        self.know_templates(p);
        for other in (0..p).filter(|o| self.all[*o].alive).collect::<Vec<_>>() {
            let info = PeerInfo { id, capacity: capacity.clone() };
            let delay = self.random.scale(1_000, 50_000_000);
            self.after(delay, Event::Joined(other, info));
            let theirs = PeerInfo { id: self.all[other].id, capacity: self.all[other].capacity.clone() };
            let delay = self.random.scale(1_000, 50_000_000);
            self.after(delay, Event::Joined(p, theirs));
        }
        p
    }

    /// Templates have the same numbers as the calls of the plan.
    fn know_templates(&mut self, p: P) {
        for (i, call) in self.plan.calls.clone().into_iter().enumerate() {
            let needs = [("disk", call.disk, ONE), (SHELF, call.shelf, ONE / 1_000)];
            let needed = needs.into_iter().filter(|(_, yes, _)| *yes);
            let named = needed.map(|(name, _, amount)| (name.to_owned(), amount)).collect();
            let spec = TemplateSpec {
                here: false,
                function: i as u32,
                name: "node",
                shape: Resources { cpus: call.cpus, named, ..Resources::default() },
                retries: call.retries,
                restarts: call.restarts,
                role: call.role,
                retry_errors: call.retry_errors,
                checkpoints: call.checkpoints,
                logs: true,
            };
            self.all[p].core.template(spec);
        }
        let roles = self.plan.calls.iter().map(|call| call.role).collect();
        self.all[p].core.tell_roles(roles);
        let lasting = |call: &CallOptions| {
            call.checkpoints.map(|checkpoints| Lasting { checkpoints, waits: !call.sync })
        };
        let lasting = self.plan.calls.iter().map(lasting).collect();
        self.all[p].core.tell_lasting(lasting);
    }

    pub fn at(&self, id: ProcessId) -> P {
        self.all.iter().position(|p| p.id == id).expect("a process that was there once")
    }

    pub fn after(&mut self, delay: Nanos, event: Event) {
        self.schedule(self.now + delay, event);
    }

    pub fn schedule(&mut self, at: Nanos, event: Event) {
        self.seq += 1;
        self.heap.push(Due { at: at.max(self.now), seq: self.seq, event });
    }

    pub fn count(&mut self, what: &str) {
        match self.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => *self.counts.entry(what.to_owned()).or_default() += 1,
        }
    }

    /// Says a line of the trace.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>14.6} ms  {}", self.now as f64 / 1e6, line());
        }
    }

    /// Handles the next event that is due until `until`; false when there is none.
    pub fn step(&mut self, until: Nanos) -> bool {
        if self.heap.peek().is_none_or(|due| due.at > until) {
            return false;
        }
        let Some(Due { at, seq, event }) = self.heap.pop() else { return false };
        assert!(self.seq < MOST_EVENTS, "no end after {MOST_EVENTS} events: {}", self.stuck());
        self.now = at;
        if let Some(p) = event.whose() {
            if !self.all[p].alive {
                return true;
            }
            let paused_until = self.all[p].paused_until;
            if paused_until > at {
                self.heap.push(Due { at: paused_until, seq, event });
                return true;
            }
        }
        self.hash = mix(self.hash ^ mix(at) ^ seq);
        let whose = event.whose();
        self.happen(event);
        if let Some(p) = whose {
            if self.all[p].alive {
                self.set_aside_some(p);
            }
            self.check_called(p);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(p) => {
                // The timer may have been set anew.
                if self.now >= self.all[p].tick_at {
                    self.all[p].tick_at = Nanos::MAX;
                    self.call(p, |core, fx| core.tick(fx));
                }
            }
            Event::Flush(p, peer) => self.flush(p, peer),
            Event::Deliver { from, to, epoch, frames } => self.deliver(from, to, epoch, &frames),
            Event::Release(p) => {
                let mut ids = std::mem::take(&mut self.all[p].released);
                self.call(p, |core, fx| core.released(&mut ids, fx));
            }
            Event::Runner(p) => {
                self.all[p].called -= 1;
                self.run_next_batch(p);
            }
            Event::Step(p, thread) => self.step_thread(p, thread),
            Event::Resume(p, key) => self.resume(p, key),
            Event::Abandon(p, key) => self.abandon(p, key),
            Event::Abort(p, task) => self.abort(p, task),
            Event::Serve { to, from, id, attempt } => self.serve(to, &from, id, attempt),
            Event::Fetched { to, id, attempt, got } => {
                self.say(|| format!("p{to} fetched {id}: {got:?}"));
                self.call(to, |core, fx| core.fetched(id, attempt, got, fx));
            }
            Event::DropCopies(p) => self.call(p, |core, fx| core.drop_copies(fx)),
            Event::Joined(p, info) => {
                // A process that ended meanwhile is not announced any more.
                if self.all[self.at(info.id)].alive {
                    self.say(|| format!("p{p} hears that {} joined", info.id));
                    self.call(p, |core, fx| core.member_joined(info, fx));
                }
            }
            Event::Left(p, gone, dead) => self.left(p, gone, dead),
            Event::Drain => self.drain_some(),
            Event::End => self.end_some(),
            Event::Leave(p, latest) => self.leave_if_drained(p, latest),
            Event::Dialled(a, b) => self.dialled(a, b),
            Event::Up { to, peer, session, epoch, fresh, received } => {
                self.up(to, peer, session, epoch, fresh, received);
            }
            Event::Cut { at, peer, epoch } => self.side_cut(at, peer, epoch),
            Event::Ended { at, peer, session, why } => self.side_ended(at, peer, session, why),
            Event::Mend(a, b) => self.mend(a, b),
            Event::Part(a, b, session) => self.part(a, b, session),
            Event::Crash => self.crash_some(),
            Event::Pause => self.pause_some(),
            Event::CutSome => self.cut_some(),
            Event::Late => self.join_late(),
            Event::FaultsOver => self.faults_over(),
        }
    }

    /// Calls the core of a process and carries out what it wants done.
    pub fn call<R>(&mut self, p: P, f: impl FnOnce(&mut Core, &mut Effects) -> R) -> R {
        let mut fx = Effects::default();
        let process = &mut self.all[p];
        process.core.advance((self.now as i64 + process.clock) as Nanos);
        let out = f(&mut process.core, &mut fx);
        self.carry_out(p, fx);
        self.plan_tick(p);
        out
    }

    /// What the clock of a process shows.
    pub fn clock(&self, p: P) -> Nanos {
        (self.now as i64 + self.all[p].clock) as Nanos
    }

    fn plan_tick(&mut self, p: P) {
        let process = &self.all[p];
        let next = process.core.next_tick();
        let at = next.map_or(Nanos::MAX, |n| ((n as i64 - process.clock).max(0) as Nanos).max(self.now));
        if at != std::mem::replace(&mut self.all[p].tick_at, at) && at < Nanos::MAX {
            self.schedule(at, Event::Tick(p));
        }
    }

    /// The waker of a thread.
    pub fn waker(&self, p: P, thread: u32) -> std::task::Waker {
        Arc::new(Wake { list: self.woken.clone(), whom: (p, thread) }).into()
    }
}

struct Wake {
    list: Arc<Mutex<Vec<(P, u32)>>>,
    whom: (P, u32),
}

impl std::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        self.list.lock().expect("one thread").push(self.whom);
    }
}
