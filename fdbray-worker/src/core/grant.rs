//! The worker's side of leases: what is granted to whom, and what waits to be granted.

use super::{message::TaskName, shape::Resources};
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The worker's part of a core.
pub(super) struct Worker {
    /// `None`: this process executes nothing.
    pub capacity: Option<Resources>,
    /// Capacity that no started task holds.
    pub free: Resources,
    /// What tasks that wait for futures do not use meanwhile.
    pub lent: Resources,
    /// What all slots that were granted come to.
    pub granted: Resources,
    /// What tasks hold whose owners are gone.
    pub orphaned: Resources,
    pub grants: BTreeMap<u32, Grant>,
    pub requests: VecDeque<Pending>,
    pub next_lease: u32,
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
    pub since: super::Nanos,
    /// Slots asked back and not given back yet.
    pub wanted: u32,
}

/// A task that was accepted and not started.
#[derive(Debug)]
pub(super) struct Queued {
    pub number: u32,
    pub seq: u64,
    pub attempt: u32,
    pub function: u32,
    pub root: Option<ProcessId>,
    pub arguments: Payload,
    pub futures: Vec<Fetched>,
    /// Of a constructor: what it makes the actor from in place of its arguments.
    pub checkpoint: Option<Box<Bytes>>,
}

/// The value of an argument that was a future, here or on its way.
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    Here(Payload),
    Coming(ObjectId),
}

/// Slots asked for that are not free.
pub(super) struct Pending {
    pub peer: ProcessId,
    pub request: u32,
    pub shape: Resources,
    pub slots: u32,
    /// When it came, or was last granted something.
    pub since: super::Nanos,
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
    /// The actor whose calls it runs, and what they do with its state.
    pub actor: Option<(Instance, Use)>,
    /// It ends that actor, made in this batch, once it is answered; whether because it was stopped.
    pub ends: Option<(TaskKey, bool)>,
    /// By number: the checkpoints from which it makes actors again.
    checkpoints: Vec<(u32, Box<Bytes>)>,
}

/// What calls of an actor do with its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Beside others that do.
    Reads,
    /// Alone.
    Changes,
    /// For a checkpoint; beside others that read it.
    Saves,
}

impl Active {
    /// The checkpoint from which the task of this number makes an actor.
    pub fn take_checkpoint(&mut self, number: u32) -> Option<Box<Bytes>> {
        let at = self.checkpoints.iter().position(|(of, _)| *of == number)?;
        Some(self.checkpoints.swap_remove(at).1)
    }
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
    pub arguments: Payload,
    /// The values of those that were futures.
    pub futures: Vec<Payload>,
    /// The actor that is called, if one is.
    pub actor: Option<Instance>,
    /// What a constructor makes the actor from in place of its arguments: see
    /// [`state_in`](super::checkpoint::state_in).
    pub checkpoint: Option<Box<Bytes>>,
}

/// An actor that lives in this process, and the batch in which it was made: it may be made again.
pub type Instance = (ObjectId, TaskKey);

impl Queued {
    /// For a thread, which runs it under `lease` of `peer`.
    pub(super) fn start(self, lease: u32, peer: ProcessId, actor: Option<Instance>) -> Start {
        Start {
            task: TaskName { lease, number: self.number },
            mark: lease,
            id: ObjectId { owner: peer, seq: self.seq },
            attempt: self.attempt,
            function: self.function,
            root: self.root,
            arguments: self.arguments,
            futures: self.futures.into_iter().filter_map(Fetched::here).collect(),
            actor,
            checkpoint: self.checkpoint,
        }
    }

    /// What a thread gives back.
    pub(super) fn unstarted(start: Start) -> Self {
        Queued {
            number: start.task.number,
            seq: start.id.seq,
            attempt: start.attempt,
            function: start.function,
            root: start.root,
            arguments: start.arguments,
            futures: start.futures.into_iter().map(Fetched::Here).collect(),
            checkpoint: start.checkpoint,
        }
    }
}

impl Fetched {
    fn here(self) -> Option<Payload> {
        match self {
            Fetched::Here(payload) => Some(payload),
            Fetched::Coming(_) => None,
        }
    }
}

/// A task that ran.
#[derive(Debug)]
pub struct Finished {
    /// From [`Start`].
    pub task: TaskName,
    /// The future that it settles.
    pub id: ObjectId,
    /// From [`Start`].
    pub attempt: u32,
    /// From [`Start`].
    pub function: u32,
    /// Nanoseconds that it ran.
    pub ran: u64,
    /// Its value and the futures inside it, whose handles must live until the core was told.
    pub outcome: Result<(Payload, Vec<ObjectId>), Error>,
}

/// For comparing leases of different shapes.
pub(super) fn weight(shape: &Resources) -> u64 {
    shape.cpus.max(1)
}

impl Worker {
    pub fn new(capacity: Option<Resources>) -> Self {
        Worker {
            free: capacity.clone().unwrap_or_default(),
            lent: capacity.clone().unwrap_or_default().nothing(),
            granted: capacity.clone().unwrap_or_default().nothing(),
            orphaned: capacity.clone().unwrap_or_default().nothing(),
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

    /// What others asked for will not be granted any more.
    pub fn forget_requests_but_of(&mut self, me: ProcessId) {
        self.requests.retain(|r| r.peer == me);
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

    pub fn active_ref(&self, key: TaskKey) -> Option<&Active> {
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
            actor: None,
            ends: None,
            checkpoints: Vec::new(),
        };
        let place = self.free_active.pop().unwrap_or_else(|| {
            self.active.push(None);
            self.active.len() as u32 - 1
        });
        self.active[place as usize] = Some(active);
        TaskKey(u64::from(used) << 32 | u64::from(place))
    }

    /// Remembers the checkpoints from which the batch `key` makes actors, until those are made.
    pub fn remember_checkpoints(&mut self, key: TaskKey, starts: &[Start]) {
        let Some(active) = self.active(key) else { return };
        for start in starts {
            active.checkpoints.extend(start.checkpoint.clone().map(|bytes| (start.task.number, bytes)));
        }
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
    pub fn slots_of(&self, pending: &Pending) -> u32 {
        let same = |g: &&Grant| g.peer == pending.peer && g.shape == pending.shape;
        self.grants.values().filter(same).map(|g| g.slots).sum()
    }

    /// What is not granted. A task that waits for a future has lent its shape, so that what it waits for can run.
    pub fn grantable(&self) -> Option<Resources> {
        let mut free = self.capacity.clone()?;
        debug_assert_eq!((&self.lent, &self.granted), (&self.lent_now(), &self.granted_now()));
        free.give(&self.lent);
        free.take(&self.granted);
        // What runs on slots that were given back meanwhile, or for owners that are gone, holds its shape until it ends.
        for grant in self.grants.values() {
            free.take_many(&grant.shape, grant.running.saturating_sub(grant.slots));
        }
        free.take(&self.orphaned);
        Some(free)
    }

    /// The long way to [`Worker::lent`].
    fn lent_now(&self) -> Resources {
        let mut lent = self.lent.nothing();
        self.active.iter().flatten().filter(|a| !a.charged && !a.over).for_each(|a| lent.give(&a.shape));
        lent
    }

    /// The long way to [`Worker::granted`].
    fn granted_now(&self) -> Resources {
        let mut granted = self.granted.nothing();
        self.grants.values().for_each(|g| granted.give_many(&g.shape, g.slots));
        granted
    }
}
