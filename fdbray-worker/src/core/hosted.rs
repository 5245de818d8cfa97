//! The worker's side of actors: which live here, and which of their calls may run at once.
//!
//! What changes the state runs alone, what only reads it runs together, and neither overtakes the other, so that neither
//! starves. That is a readers-writer lock whose queue, the actor's one [mailbox](super::mailbox), is first come, first
//! served, with no thread that waits at it.

use super::{
    Core, Effects,
    grant::{Finished, Instance, Queued, Start, TaskKey, Use},
    lasting::Lasting,
    message::{Gone, Message},
    run::{MOST_IN_BATCH, batch_of},
    shape::Resources,
};
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
    registry::{self, Role},
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// Actors that are looked at to say how many threads they could use, and calls of each.
const LOOKS: usize = 64;

/// The actors that live in this process.
#[derive(Default)]
pub(super) struct Hosted {
    pub actors: FxHashMap<ObjectId, Actor>,
    pub lines: FxHashMap<u32, HostLine>,
    /// How many of the actors are lasting.
    lasting: usize,
    /// Actors that may have something to start.
    ready: VecDeque<ObjectId>,
    /// Whose turn it is, theirs or that of tasks.
    actors_next: bool,
    /// Those of which no call may start now.
    pub closed: FxHashSet<ObjectId>,
    /// What each function is, by its place in the registry.
    pub roles: Vec<Role>,
    /// The place of the one that saves the state of any lasting actor.
    pub saver: Option<u32>,
    /// What is known of those that belong to types with checkpoints.
    pub functions: Vec<Option<registry::Lasting>>,
}

pub(super) struct Actor {
    /// See [`Instance`].
    pub made_in: TaskKey,
    /// What it holds for life.
    shape: Resources,
    pub mailbox: VecDeque<(u32, Queued)>,
    /// Batches that run beside each other.
    pub shared: u32,
    /// One runs alone.
    pub exclusive: bool,
    /// If it has checkpoints.
    pub lasting: Option<Box<Lasting>>,
    /// It is in [`Hosted::ready`].
    pub listed: bool,
    pub lines: Vec<u32>,
}

/// The calls that one process makes to one actor.
pub(super) struct HostLine {
    pub peer: ProcessId,
    pub actor: ObjectId,
    /// Calls that came after one whose arguments are still on their way.
    pub staged: BTreeMap<u32, Queued>,
    /// The last that a thread was given.
    pub started: u32,
}

impl Hosted {
    pub fn peer_of(&self, lease: u32) -> Option<ProcessId> {
        self.lines.get(&lease).map(|line| line.peer)
    }

    pub fn is_line(&self, lease: u32) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(&lease)
    }

    pub fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tells = |actor: &Actor| !actor.mailbox.is_empty() || actor.lasting.is_some();
        for (id, actor) in self.actors.iter().filter(|(_, actor)| tells(actor)) {
            let Actor { mailbox, shared, exclusive, listed, .. } = actor;
            write!(f, "\n  actor {id}: {} calls wait, {shared} run together, ", mailbox.len())?;
            write!(f, "one alone {exclusive}, listed {listed}")?;
            actor.lasting.iter().try_for_each(|lasting| lasting.describe(f))?;
        }
        write!(f, "\n  {} actors, {} lines to them", self.actors.len(), self.lines.len())
    }

    pub fn len(&self) -> usize {
        self.actors.len() + self.lines.len()
    }

    /// What the function at this place in the registry is to an actor.
    pub fn role(&self, function: u32) -> Role {
        self.roles.get(function as usize).copied().unwrap_or_default()
    }

    /// Whether any actor is lasting.
    pub fn any_lasting(&self) -> bool {
        self.lasting > 0
    }

    /// How many batches of the actor could start.
    fn startable(&self, id: ObjectId) -> u32 {
        if self.closed.contains(&id) {
            return 0;
        }
        let Some(actor) = self.actors.get(&id).filter(|actor| !actor.exclusive) else { return 0 };
        let saves = u32::from(self.wants_saving(actor));
        let (mut count, mut saving) = (0, saves > 0);
        for (_, call) in actor.mailbox.iter().take(LOOKS) {
            match self.role(call.function) {
                // What is behind one that must wait can start once others have made a batch.
                Role::Shared(most) => count += u32::from(actor.shared + count < most.max(1)),
                Role::Checkpoint if !saving && !self.must_wait(actor, call.function) => {
                    saving = true;
                    count += 1;
                }
                Role::Checkpoint => break,
                _ => {
                    let free = saves + count == 0 && actor.shared == 0;
                    count += u32::from(free && !self.must_wait(actor, call.function));
                    break;
                }
            }
        }
        saves + count
    }

    /// The actors that live here.
    pub fn all(&self) -> impl Iterator<Item = ObjectId> {
        self.actors.keys().copied()
    }

    /// Whether a call of the actor runs.
    pub fn runs(&self, id: ObjectId) -> bool {
        self.actors.get(&id).is_some_and(|actor| actor.exclusive || actor.shared > 0)
    }

    /// Puts the actor among those that may have something to start.
    pub fn list(&mut self, id: ObjectId) {
        if self.startable_at_all(id)
            && let Some(actor) = self.actors.get_mut(&id)
            && !std::mem::replace(&mut actor.listed, true)
        {
            self.ready.push_back(id);
        }
    }

    fn startable_at_all(&self, id: ObjectId) -> bool {
        if self.closed.contains(&id) {
            return false;
        }
        let Some(actor) = self.actors.get(&id).filter(|actor| !actor.exclusive) else { return false };
        if self.wants_saving(actor) {
            return true;
        }
        let Some((_, first)) = actor.mailbox.front() else { return false };
        match self.role(first.function) {
            Role::Shared(most) => actor.shared < most.max(1),
            Role::Checkpoint => !self.must_wait(actor, first.function),
            _ => actor.shared == 0 && !self.must_wait(actor, first.function),
        }
    }
}

impl Core {
    /// Tells what each function is to an actor, by its place in the registry.
    pub fn tell_roles(&mut self, roles: Vec<Role>) {
        self.hosted.saver = roles.iter().position(|role| *role == Role::Checkpoint).map(|place| place as u32);
        self.hosted.roles = roles;
    }

    /// A constructor has made an actor here, which holds `shape` from now on.
    fn host(
        &mut self,
        (id, made_in): Instance,
        shape: Resources,
        lasting: Option<Box<Lasting>>,
        fx: &mut Effects,
    ) {
        self.end_hosted(id, fx);
        self.hosted.lasting += usize::from(lasting.is_some());
        self.worker.free.take(&shape);
        self.worker.orphaned.give(&shape);
        let actor = Actor {
            made_in,
            shape,
            mailbox: VecDeque::new(),
            shared: 0,
            exclusive: false,
            lasting,
            listed: false,
            lines: Vec::new(),
        };
        self.hosted.actors.insert(id, actor);
    }

    /// Whether this is the end of a constructor that has made an actor.
    pub(super) fn has_made_an_actor(&self, done: &Finished) -> bool {
        done.outcome.is_ok() && self.hosted.role(done.function) == Role::Constructor
    }

    /// A constructor has made an actor, which lives here from now on.
    pub(super) fn made_actor(&mut self, key: TaskKey, peer: ProcessId, done: Finished, fx: &mut Effects) {
        let shape =
            self.worker.active_ref(key).map_or_else(Resources::default, |active| active.shape.clone());
        let Finished { task, id, ran, attempt, function, .. } = done;
        let checkpoint = self.worker.active(key).and_then(|active| active.take_checkpoint(task.number));
        let lasting = self.hosted.lasting(function, attempt, checkpoint.as_deref());
        // What it holds from now on is no slot for another any more.
        let holds = shape != shape.nothing();
        self.host((id, key), shape, lasting, fx);
        self.worker.transit.entry((peer, task)).or_default().stored = Some(id);
        self.say(peer, &Message::Stored { task, ran, len: 0, contained: Vec::new() }, fx);
        if holds {
            self.say(peer, &Message::LeaseWanted { lease: task.lease, slots: 1 }, fx);
        }
        // Its constructor may have begun before this worker left.
        self.leave_if_idle(id, fx);
    }

    /// Whether a thread would find a call of an actor to start.
    pub(super) fn actors_could_start(&self) -> bool {
        self.hosted.ready.iter().any(|id| self.hosted.startable_at_all(*id))
    }

    /// How many threads calls of actors could use.
    pub(super) fn runners_for_actors(&self) -> u32 {
        self.hosted.ready.iter().take(LOOKS).map(|id| self.hosted.startable(*id)).sum()
    }

    /// Whether calls of actors are to be looked at before tasks: they take turns.
    pub(super) fn actors_turn(&mut self) -> bool {
        self.hosted.actors_next = !self.hosted.actors_next;
        self.hosted.actors_next
    }

    /// Takes calls of one actor for a thread to run one after the other.
    pub(super) fn next_of_actors(&mut self, out: &mut Vec<Start>) -> Option<TaskKey> {
        let id = loop {
            let id = self.hosted.ready.pop_front()?;
            if let Some(actor) = self.hosted.actors.get_mut(&id) {
                actor.listed = false;
                if self.hosted.startable_at_all(id) {
                    break id;
                }
            }
        };
        if let Some(key) = self.next_saving(id, out) {
            self.hosted.list(id);
            return Some(key);
        }
        let actor = self.hosted.actors.get(&id)?;
        let (lease, first) = actor.mailbox.front()?;
        let (lease, function) = (*lease, first.function);
        let role = self.hosted.role(function);
        let how = match role {
            Role::Shared(_) => Use::Reads,
            Role::Checkpoint => Use::Saves,
            _ => Use::Changes,
        };
        // Nothing runs after the last, and nothing shares the end of what may pause.
        let alone = matches!(role, Role::Stop | Role::Checkpoint)
            || (actor.lasting.is_some() && how == Use::Changes && self.hosted.may_pause(function));
        let most = if alone { 1 } else { batch_of(self.templates.run_time(function)) };
        let alike = |(from, call): &&(u32, Queued)| *from == lease && self.hosted.role(call.function) == role;
        let count = actor.mailbox.iter().take(most.min(MOST_IN_BATCH)).take_while(alike).count();
        let peer = self.hosted.peer_of(lease)?;
        let actor = self.hosted.actors.get_mut(&id)?;
        let instance = (id, actor.made_in);
        let mut started = 0;
        for (_, queued) in actor.mailbox.drain(..count) {
            started = queued.number;
            out.push(queued.start(lease, peer, Some(instance)));
        }
        match how {
            Use::Changes => actor.exclusive = true,
            Use::Reads | Use::Saves => actor.shared += 1,
        }
        if let Some(lasting) = actor.lasting.as_mut().filter(|_| how == Use::Saves) {
            lasting.begin_saving();
        }
        if let Some(line) = self.hosted.lines.get_mut(&lease) {
            line.started = started;
        }
        self.hosted.list(id);
        let root = out.first().and_then(|start| start.root);
        let key = self.worker.activate(lease, peer, Resources::default(), root);
        if let Some(active) = self.worker.active(key) {
            active.actor = Some((instance, how));
        }
        Some(key)
    }

    /// A method that runs alone awaits the future `id`: if that is a call of the same actor, which can only start when the
    /// method has ended, it fails instead.
    pub fn awaits_itself(&mut self, key: TaskKey, id: ObjectId, fx: &mut Effects) {
        let Some(((actor, _), Use::Changes)) = self.worker.active_ref(key).and_then(|active| active.actor)
        else {
            return;
        };
        let called = self.table.get(id.seq).filter(|_| self.owns(id)).and_then(|record| record.line);
        if called.is_none_or(|line| !self.clustered.leads_to(self.lines.actor_of(line.get() - 1), actor)) {
            return;
        }
        let Some(name) = self.table.get(id.seq).map(|r| self.templates.spec(r.template).name) else { return };
        let error = Error::control(format!(
            "a method of actor {actor} that runs alone awaits `{name}` of the same actor, which could start only when that \
             method has ended: call it without awaiting it, or call the function itself"
        ));
        self.abandon(id.seq, fx);
        self.fail(id.seq, error, fx);
        self.turn(fx);
    }

    /// A batch of calls, or an async one, is over.
    pub(super) fn calls_over(&mut self, key: TaskKey, fx: &mut Effects) {
        // What ends the actor is over only when it is answered: until then nothing else starts.
        let Some(active) = self.worker.active(key).filter(|active| active.ends.is_none()) else { return };
        let Some(((id, made_in), how)) = active.actor.take() else { return };
        if let Some(actor) = self.hosted.actors.get_mut(&id).filter(|actor| actor.made_in == made_in) {
            match how {
                Use::Changes => actor.exclusive = false,
                Use::Reads | Use::Saves => actor.shared = actor.shared.saturating_sub(1),
            }
            if let Some(lasting) = actor.lasting.as_mut().filter(|_| how == Use::Saves) {
                lasting.stop_saving();
            }
            self.hosted.list(id);
            self.worker.changed = true;
            self.leave_if_idle(id, fx);
        }
    }

    /// Notes if what ended says that an actor is over: one that changed its state panicked, or it was stopped.
    pub(super) fn note_end_of_actor(&mut self, key: TaskKey, finished: &[Finished]) {
        let Some(((_, made_in), Use::Changes)) = self.worker.active_ref(key).and_then(|active| active.actor)
        else {
            return;
        };
        let ends = |done: &Finished| match (&done.outcome, self.hosted.role(done.function)) {
            (Ok(_), Role::Stop) => Some(true),
            (Err(error), _) if error.is_own_panic() => Some(false),
            _ => None,
        };
        if let Some(stopped) = finished.iter().find_map(ends)
            && let Some(active) = self.worker.active(key)
        {
            active.ends = Some((made_in, stopped));
        }
    }

    /// Ends an actor of which this worker has noted that it is over, and tells its owner, once the call that ended it is
    /// answered.
    pub(super) fn end_actor_once_answered(&mut self, key: TaskKey, fx: &mut Effects) {
        let Some(active) = self.worker.active(key).filter(|active| active.unregistered == 0) else { return };
        let (Some((made_in, stopped)), Some((id, _))) =
            (active.ends.take(), active.actor.map(|(instance, _)| instance))
        else {
            return;
        };
        if self.hosted.actors.get(&id).is_some_and(|actor| actor.made_in == made_in) {
            self.tell_gone(id, if stopped { Gone::Stopped } else { Gone::Broke }, fx);
        }
    }

    /// Ends an actor that lives here, and tells its owner.
    pub(super) fn tell_gone(&mut self, id: ObjectId, why: Gone, fx: &mut Effects) {
        self.say(id.owner, &Message::ActorGone { seq: id.seq, why }, fx);
        self.end_hosted(id, fx);
    }

    /// Ends an actor that lives here. What runs runs on, for nothing.
    pub(super) fn end_hosted(&mut self, id: ObjectId, fx: &mut Effects) {
        let Some(mut actor) = self.hosted.actors.remove(&id) else { return };
        if let Some(lasting) = actor.lasting.take() {
            self.hosted.lasting -= 1;
            self.drop_held(*lasting);
        }
        self.worker.free.give(&actor.shape);
        self.worker.orphaned.take(&actor.shape);
        self.worker.changed = true;
        fx.ended_actors.push((id, actor.made_in));
        for lease in actor.lines {
            for key in self.worker.keys_of_lease(lease) {
                fx.abandon.push(key);
            }
            if let Some(line) = self.hosted.lines.get(&lease) {
                let (peer, started) = (line.peer, line.started);
                self.say(peer, &Message::LineClosed { lease, started }, fx);
            }
            self.drop_line(lease);
        }
        self.grant_waiting(fx);
    }

    fn changes_an_actor(&self, key: TaskKey) -> bool {
        let active = self.worker.active_ref(key);
        active.is_some_and(|active| matches!(active.actor, Some((_, Use::Changes))))
    }

    /// A process is gone: its actors, and the calls that it made.
    pub(super) fn hosted_lost(&mut self, peer: ProcessId, fx: &mut Effects) {
        let lines: Vec<u32> =
            self.hosted.lines.iter().filter(|(_, line)| line.peer == peer).map(|(lease, _)| *lease).collect();
        for lease in lines {
            for key in self.worker.keys_of_lease(lease) {
                // What changes a lasting actor is run to its end, since it may be sent again: half of it would be left.
                if !self.is_lasting(lease) || !self.changes_an_actor(key) {
                    fx.abandon.push(key);
                }
            }
            self.drop_line(lease);
        }
        let owned: Vec<ObjectId> = self.hosted.actors.keys().filter(|id| id.owner == peer).copied().collect();
        for id in owned {
            self.end_hosted(id, fx);
        }
    }
}
