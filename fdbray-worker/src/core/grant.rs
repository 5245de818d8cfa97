//! The worker's side of leases: what is granted to whom, and what waits to be granted.

use super::{
    Core, Effects,
    message::{Message, TaskName},
    shape::Resources,
};
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A lease is not asked back before its owner had this much of it.
const QUANTUM: super::Nanos = 50 * super::MILLISECOND;

/// The worker's part of a core.
pub(super) struct Worker {
    /// `None`: this process executes nothing.
    pub capacity: Option<Resources>,
    /// Capacity that no started task holds.
    pub free: Resources,
    pub grants: BTreeMap<u32, Grant>,
    requests: VecDeque<Pending>,
    next_lease: u32,
    /// Started tasks, and batches of them that run one after the other on one thread.
    pub active: Vec<Option<Active>>,
    pub free_active: Vec<u32>,
    used: u32,
    /// Waited, may go on, have no slot yet: the last precedes.
    pub resuming: Vec<TaskKey>,
    /// The lease that was served last, so that all get their turn.
    pub last_served: u32,
    /// Batches of nested calls since one of another owner was started.
    pub nested_in_a_row: u32,
    /// By (owner, task): what is kept until the owner has taken it over.
    pub transit: BTreeMap<(ProcessId, TaskName), Transit>,
    /// Tasks that were accepted and wait for values to arrive.
    pub fetching: BTreeMap<(u32, u32), Queued>,
    /// Whether there may be something to start.
    pub changed: bool,
    /// Nothing is granted to others any more.
    pub draining: bool,
}

/// A grant of slots to one owner for one shape.
pub(super) struct Grant {
    pub peer: ProcessId,
    pub shape: Resources,
    pub slots: u32,
    /// Slots in use by tasks that do not wait for futures.
    pub running: u32,
    /// Tasks started or in batches, waiting ones included.
    pub started: u32,
    /// In the order of their numbers.
    pub queue: VecDeque<Queued>,
    since: super::Nanos,
    /// Slots asked back and not given back yet.
    wanted: u32,
}

/// A task that was accepted and not started.
#[derive(Debug)]
pub(super) struct Queued {
    pub number: u32,
    pub seq: u64,
    pub attempt: u32,
    pub function: u32,
    pub root: Option<ProcessId>,
    pub arguments: Bytes,
    pub futures: Vec<Fetched>,
}

/// The value of an argument that was a future, here or on its way.
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    Here(Payload),
    Coming(ObjectId),
}

/// Slots asked for that are not free.
struct Pending {
    peer: ProcessId,
    request: u32,
    shape: Resources,
    slots: u32,
    /// When it came, or was last granted something.
    since: super::Nanos,
}

/// A thread's batch of tasks, or one async task.
pub(super) struct Active {
    used: u32,
    pub lease: u32,
    pub peer: ProcessId,
    pub root: Option<ProcessId>,
    pub shape: Resources,
    /// Whether it holds its shape.
    pub charged: bool,
    /// Registrations of futures found in arguments that their owners have not acknowledged yet.
    pub unregistered: u32,
    /// Results that wait for them.
    pub held: Vec<Finished>,
    /// Nothing runs under it any more.
    pub over: bool,
}

/// What is kept for an owner until it has taken over.
#[derive(Default)]
pub(super) struct Transit {
    pub pins: Vec<ObjectId>,
    pub stored: Option<ObjectId>,
}

/// A batch or an async task that runs in this process. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey(pub(super) u64);

impl TaskKey {
    /// As a number, for [`crate::exec::Source::Task`].
    pub fn get(self) -> u64 {
        self.0
    }

    /// From [`TaskKey::get`].
    pub fn from_number(n: u64) -> Self {
        TaskKey(n)
    }
}

/// A task to run now.
#[derive(Debug)]
pub struct Start {
    /// What it is called between owner and worker.
    pub task: TaskName,
    /// Its place in the start marks; set the mark to `task.number` before the function is entered.
    pub mark: u32,
    /// The future that it settles.
    pub id: ObjectId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The function's place in the registry.
    pub function: u32,
    /// The driver in whose terminal its output is shown.
    pub root: Option<ProcessId>,
    /// The arguments, as `exec::Input` reads them.
    pub arguments: Bytes,
    /// The values of those that were futures.
    pub futures: Vec<Payload>,
}

/// A task that ran.
#[derive(Debug)]
pub struct Finished {
    /// From [`Start`].
    pub task: TaskName,
    /// The future that it settles.
    pub id: ObjectId,
    /// From [`Start`].
    pub function: u32,
    /// Nanoseconds that it ran.
    pub ran: u64,
    /// Its value and the futures inside it, whose handles must live until the core was told.
    pub outcome: Result<(Payload, Vec<ObjectId>), Error>,
}

/// For comparing leases of different shapes.
fn weight(shape: &Resources) -> u64 {
    shape.cpus.max(1)
}

impl Worker {
    pub fn new(capacity: Option<Resources>) -> Self {
        Worker {
            free: capacity.clone().unwrap_or_default(),
            capacity,
            grants: BTreeMap::new(),
            requests: VecDeque::new(),
            next_lease: 0,
            active: Vec::new(),
            free_active: Vec::new(),
            used: 0,
            resuming: Vec::new(),
            last_served: 0,
            nested_in_a_row: 0,
            transit: BTreeMap::new(),
            fetching: BTreeMap::new(),
            changed: false,
            draining: false,
        }
    }

    pub fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (lease, grant) in &self.grants {
            let Grant { peer, slots, running, started, queue, wanted, .. } = grant;
            write!(
                f,
                "\n  granted {lease} to {peer}: {slots} slots ({wanted} wanted back), {running} running, "
            )?;
            write!(f, "{started} started, {} queued", queue.len())?;
        }
        write!(f, "\n  free {}, {} requests wait, ", self.free, self.requests.len())?;
        write!(f, "{} active, {} resuming, ", self.active.iter().flatten().count(), self.resuming.len())?;
        write!(f, "{} in transit, {} fetching", self.transit.len(), self.fetching.len())
    }

    pub fn anyone_waits(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Tasks accepted, running or kept for their owners.
    pub fn tasks(&self) -> usize {
        let queued: usize = self.grants.values().map(|g| g.queue.len()).sum();
        queued + self.active.iter().flatten().count() + self.transit.len() + self.fetching.len()
    }

    pub fn active(&mut self, key: TaskKey) -> Option<&mut Active> {
        self.active.get_mut(key.0 as u32 as usize)?.as_mut().filter(|a| a.used == (key.0 >> 32) as u32)
    }

    fn active_ref(&self, key: TaskKey) -> Option<&Active> {
        self.active.get(key.0 as u32 as usize)?.as_ref().filter(|a| a.used == (key.0 >> 32) as u32)
    }

    pub fn root_of(&self, key: TaskKey) -> Option<ProcessId> {
        self.active_ref(key)?.root
    }

    pub fn peer_of(&self, key: TaskKey) -> Option<ProcessId> {
        Some(self.active_ref(key)?.peer)
    }

    /// Makes a batch under `lease`, holding its shape.
    pub fn activate(
        &mut self,
        lease: u32,
        peer: ProcessId,
        shape: Resources,
        root: Option<ProcessId>,
    ) -> TaskKey {
        self.used = self.used.wrapping_add(1);
        let used = self.used;
        let active = Active {
            used,
            lease,
            peer,
            root,
            shape,
            charged: true,
            unregistered: 0,
            held: Vec::new(),
            over: false,
        };
        let place = self.free_active.pop().unwrap_or_else(|| {
            self.active.push(None);
            self.active.len() as u32 - 1
        });
        self.active[place as usize] = Some(active);
        TaskKey(u64::from(used) << 32 | u64::from(place))
    }

    pub fn deactivate(&mut self, key: TaskKey) {
        if self.active(key).is_some() {
            let place = key.0 as u32;
            self.active[place as usize] = None;
            self.free_active.push(place);
        }
    }

    pub fn keys_of_lease(&self, lease: u32) -> Vec<TaskKey> {
        let of = |(place, a): (usize, &Option<Active>)| {
            a.as_ref().filter(|a| a.lease == lease).map(|a| TaskKey(u64::from(a.used) << 32 | place as u64))
        };
        self.active.iter().enumerate().filter_map(of).collect()
    }

    /// Started tasks of a lease that wait for futures.
    pub fn waiting_under(&self, lease: u32) -> u32 {
        self.grants.get(&lease).map_or(0, |g| g.started.saturating_sub(g.running))
    }

    /// Slots that whoever asks has for the same shape.
    fn slots_of(&self, pending: &Pending) -> u32 {
        let same = |g: &&Grant| g.peer == pending.peer && g.shape == pending.shape;
        self.grants.values().filter(same).map(|g| g.slots).sum()
    }

    /// What is not granted. A task that waits for a future has lent its shape, so that what it waits for can run.
    fn grantable(&self) -> Option<Resources> {
        let mut free = self.capacity.clone()?;
        for active in self.active.iter().flatten().filter(|a| !a.charged && !a.over) {
            free.give(&active.shape);
        }
        for grant in self.grants.values() {
            free.take_many(&grant.shape, grant.slots);
        }
        Some(free)
    }
}

impl Core {
    /// An owner asks for slots: what is free is granted at once, the rest waits.
    pub(super) fn requested(
        &mut self,
        peer: ProcessId,
        request: u32,
        shape: Resources,
        slots: u32,
        fx: &mut Effects,
    ) {
        if self.worker.draining && peer != self.me() {
            return;
        }
        self.worker.requests.push_back(Pending { peer, request, shape, slots, since: self.now });
        self.grant_waiting(fx);
    }

    pub(super) fn withdrawn(&mut self, peer: ProcessId, request: u32) {
        self.worker.requests.retain(|r| r.peer != peer || r.request != request);
    }

    /// An owner gives slots back.
    pub(super) fn returned(&mut self, peer: ProcessId, lease: u32, slots: u32, fx: &mut Effects) {
        let Some(grant) = self.worker.grants.get_mut(&lease).filter(|g| g.peer == peer) else { return };
        grant.slots = grant.slots.saturating_sub(slots);
        // What was asked for may have been given back before of its own accord.
        grant.wanted = 0;
        self.return_unstartable(lease, fx);
        self.end_grant_if_done(lease);
        self.grant_waiting(fx);
    }

    /// Forgets a grant without slots under which nothing is left to be answered.
    pub(super) fn end_grant_if_done(&mut self, lease: u32) {
        let fetching = || self.worker.fetching.range((lease, 0)..=(lease, u32::MAX)).next().is_some();
        let done = |g: &Grant| g.slots == 0 && g.started == 0 && g.queue.is_empty();
        if self.worker.grants.get(&lease).is_some_and(done) && !fetching() {
            self.worker.grants.remove(&lease);
        }
    }

    /// Grants what is free to those who wait, one slot each in turn: first calls of this process, made by tasks that
    /// wait for them, then the first come. Who has had nothing for long, because it needs much, is not overtaken any more.
    pub(super) fn grant_waiting(&mut self, fx: &mut Effects) {
        if self.worker.requests.is_empty() {
            return;
        }
        let Some(mut free) = self.worker.grantable() else { return };
        let (me, now) = (self.me(), self.now);
        let mut requests: Vec<(bool, Pending)> = std::mem::take(&mut self.worker.requests)
            .into_iter()
            .map(|r| (now - r.since > 2 * QUANTUM && self.worker.slots_of(&r) == 0, r))
            .collect();
        requests.sort_by_key(|(starves, r)| (!starves, r.peer != me, r.since));
        let first_starves = requests.first().is_some_and(|(starves, r)| *starves && !free.fits(&r.shape));
        let mut granted = vec![0_u32; requests.len()];
        // One owner alone gets all at once; several share one by one.
        let step = if requests.len() == 1 { u32::MAX } else { 1 };
        let mut any = !first_starves;
        while std::mem::take(&mut any) {
            for ((_, pending), granted) in requests.iter().zip(&mut granted) {
                let more = free.times(&pending.shape, step.min(pending.slots - *granted));
                free.take_many(&pending.shape, more);
                *granted += more;
                any |= more > 0;
            }
        }
        for ((_, mut pending), slots) in requests.into_iter().zip(granted) {
            if slots > 0 {
                self.grant(&pending, slots, fx);
                pending.slots -= slots;
                pending.since = now;
            }
            if pending.slots > 0 {
                self.worker.requests.push_back(pending);
            }
        }
    }

    fn grant(&mut self, to: &Pending, slots: u32, fx: &mut Effects) {
        let held = |g: &&mut Grant| g.peer == to.peer && g.shape == to.shape && g.slots > 0;
        let (peer, request) = (to.peer, to.request);
        let (lease, more) = match self.worker.grants.iter_mut().find(|(_, g)| held(g)) {
            Some((lease, grant)) => {
                grant.slots += slots;
                (*lease, true)
            }
            None => {
                self.worker.next_lease += 1;
                let grant = Grant {
                    peer,
                    shape: to.shape.clone(),
                    slots,
                    running: 0,
                    started: 0,
                    queue: VecDeque::new(),
                    since: self.now,
                    wanted: 0,
                };
                self.worker.grants.insert(self.worker.next_lease, grant);
                (self.worker.next_lease, false)
            }
        };
        self.say(peer, &Message::LeaseGrant { request, lease, slots, mark: lease, more }, fx);
    }

    /// Asks those who have had a lease for a while to give some of it back to those who wait.
    pub(super) fn want_leases_back(&mut self, fx: &mut Effects) {
        self.grant_waiting(fx);
        let now = self.now;
        for i in 0..self.worker.requests.len() {
            let pending = &self.worker.requests[i];
            let spare = |g: &Grant| g.slots.saturating_sub(g.wanted);
            let has = u64::from(self.worker.slots_of(pending)) * weight(&pending.shape);
            let other = |g: &Grant| g.peer != pending.peer || g.shape != pending.shape;
            let asked =
                self.worker.grants.iter_mut().filter(|(_, g)| other(g) && g.wanted == 0 && g.slots > 0);
            let Some((lease, grant)) = asked.max_by_key(|(_, g)| u64::from(spare(g)) * weight(&g.shape))
            else {
                continue;
            };
            if u64::from(spare(grant)) * weight(&grant.shape) <= has || now - grant.since < QUANTUM {
                continue;
            }
            let enough = weight(&pending.shape).div_ceil(weight(&grant.shape));
            let slots = u32::try_from(enough).unwrap_or(u32::MAX).min(spare(grant));
            grant.wanted += slots;
            grant.since = now;
            let (to, lease) = (grant.peer, *lease);
            self.say(to, &Message::LeaseWanted { lease, slots }, fx);
        }
    }

    /// An owner is gone, and with it everything that it had here.
    pub(super) fn owner_lost(&mut self, peer: ProcessId, fx: &mut Effects) {
        self.worker.requests.retain(|r| r.peer != peer);
        let leases: Vec<u32> =
            self.worker.grants.iter().filter(|(_, g)| g.peer == peer).map(|(l, _)| *l).collect();
        for lease in leases {
            self.worker.grants.remove(&lease);
            fx.abandon.extend(self.worker.keys_of_lease(lease));
            let waiting: Vec<_> =
                self.worker.fetching.range((lease, 0)..=(lease, u32::MAX)).map(|(k, _)| *k).collect();
            for key in waiting {
                self.worker.fetching.remove(&key);
            }
        }
        let transit: Vec<_> = self.worker.transit.keys().filter(|(p, _)| *p == peer).copied().collect();
        for key in transit {
            if let Some(transit) = self.worker.transit.remove(&key) {
                self.unpin_all(transit.pins);
            }
        }
        self.objects.free_all_of(peer);
        self.worker.changed = true;
        self.grant_waiting(fx);
    }
}
