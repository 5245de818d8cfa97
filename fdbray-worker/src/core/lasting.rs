//! Lasting actors, where they live: calls that run once, and answers that wait until a checkpoint covers them.
//!
//! A call that changes the state has a [ticket](super::ticket). What it was answered goes into the [ledger](super::ledger), and
//! ledger and state together make a checkpoint; so a call that is sent again, perhaps to the actor's next incarnation, has
//! been run and is answered from the ledger, or has left no trace and is run. For that no answer may go out before a
//! checkpoint that covers it is kept elsewhere: whatever reads or changes the state is *held* here until then.
//!
//! One checkpoint is on its way at a time, and the next is taken when it is kept: however many calls have ended meanwhile
//! share it. A checkpoint is saved as a batch of its own, beside methods that share the state ([`saving`](super::saving)).
//!
//! Whoever keeps checkpoints is told in [`Core::send_checkpoint`] and answers to [`Core::checkpoint_ended`].

use super::{
    Core, Effects,
    checkpoint::ledger_in,
    grant::{Finished, TaskKey, Use},
    hosted::Hosted,
    ledger::{Entry, Ledger},
    message::{Run, TaskName},
    saving::SAVING,
    ticket::Ticket,
};
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
    options::Checkpoints,
    registry::{self, Role},
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// What a lasting actor has besides.
pub(super) struct Lasting {
    /// The attempt in which it was made.
    pub attempt: u32,
    pub when: Checkpoints,
    pub ledger: Ledger,
    /// Of accepted calls that have not ended: who made them.
    tickets: BTreeMap<TaskName, (ProcessId, u64)>,
    /// How often its state was changed; of these, what was saved and what is kept.
    pub changes: u64,
    pub saved: u64,
    pub kept: u64,
    /// A thread saves the state.
    pub saving: bool,
    pub versions: u64,
    pub on_their_way: VecDeque<OnItsWay>,
    pub held: VecDeque<Held>,
}

/// A checkpoint that was sent and is not known to be kept.
pub(super) struct OnItsWay {
    pub version: u64,
    /// The changes in it.
    pub covers: u64,
    /// Who has asked for it.
    pub asked: Option<(ProcessId, Finished)>,
}

/// An answer that waits.
pub(super) struct Held {
    /// For so many changes to be kept.
    pub needs: u64,
    pub peer: ProcessId,
    pub done: Finished,
}

impl Lasting {
    fn new(attempt: u32, when: Checkpoints, ledger: Ledger) -> Self {
        Lasting {
            attempt,
            when,
            ledger,
            tickets: BTreeMap::new(),
            changes: 0,
            saved: 0,
            kept: 0,
            saving: false,
            versions: 0,
            on_their_way: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    pub fn holds_answers(&self) -> bool {
        matches!(self.when, Checkpoints::Every(_))
    }

    /// A line is gone: its calls that a thread has not been given will not run.
    pub fn forget_unstarted(&mut self, lease: u32, started: u32) {
        let from = TaskName { lease, number: started.saturating_add(1) };
        let unstarted: Vec<_> = self.tickets.range(from..=last_of(lease)).map(|(task, _)| *task).collect();
        unstarted.iter().for_each(|task| self.forget_call(*task));
    }

    /// The call will not run.
    pub fn forget_call(&mut self, task: TaskName) {
        self.tickets.remove(&task);
    }

    /// The thread that saves the state is done, or will not begin.
    pub fn stop_saving(&mut self) {
        self.saving = false;
    }

    pub fn begin_saving(&mut self) {
        self.saving = true;
    }

    /// What waits for something else than the state, for diagnosis.
    pub fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lasting { changes, saved, kept, saving, .. } = self;
        write!(f, ", {changes} changes, {saved} saved, {kept} kept, saving {saving}, ")?;
        write!(
            f,
            "{} checkpoints on their way, {} answers held, ",
            self.on_their_way.len(),
            self.held.len()
        )?;
        write!(f, "{} answers remembered", self.ledger.len())
    }
}

fn last_of(lease: u32) -> TaskName {
    TaskName { lease, number: u32::MAX }
}

impl Hosted {
    /// Whether a method of a lasting actor may wait for something in the middle.
    pub fn may_pause(&self, function: u32) -> bool {
        self.lasting_function(function).is_some_and(|lasting| lasting.waits)
    }

    fn lasting_function(&self, function: u32) -> Option<registry::Lasting> {
        self.functions.get(function as usize).copied().flatten()
    }

    /// What an actor has besides that `function` has made in `attempt`, perhaps from `checkpoint`.
    pub fn lasting(&self, function: u32, attempt: u32, checkpoint: Option<&Bytes>) -> Option<Box<Lasting>> {
        // Without what saves it nothing would ever be answered.
        self.saver?;
        let when = self.lasting_function(function)?.checkpoints;
        let ledger = checkpoint.map(ledger_in).unwrap_or_default();
        Some(Box::new(Lasting::new(attempt, when, ledger)))
    }

    pub fn lasting_of(&mut self, id: ObjectId) -> Option<&mut Lasting> {
        self.actors.get_mut(&id)?.lasting.as_deref_mut()
    }

    /// The lasting actor to which a line leads.
    fn lasting_of_line(&mut self, lease: u32) -> Option<(ObjectId, &mut Lasting)> {
        let id = self.lines.get(&lease)?.actor;
        Some((id, self.lasting_of(id)?))
    }
}

impl Core {
    /// Tells which functions belong to types with checkpoints, by their place in the registry.
    pub fn tell_lasting(&mut self, functions: Vec<Option<registry::Lasting>>) {
        self.hosted.functions = functions;
    }

    /// A call came that is to be run once.
    pub(super) fn accept_once(
        &mut self,
        peer: ProcessId,
        run: Run<'_>,
        ticket: Ticket,
        frames: &Bytes,
        fx: &mut Effects,
    ) {
        let (task, id) = (run.task, ObjectId { owner: peer, seq: run.seq });
        let lease = self.hosted.peer_of(task.lease).filter(|of| *of == peer).map(|_| task.lease);
        if let Some((actor, lasting)) = lease.and_then(|lease| self.hosted.lasting_of_line(lease)) {
            lasting.ledger.forget_below(peer, ticket.below);
            if let Some(entry) = lasting.ledger.get(peer, ticket.number).cloned() {
                return self.answer_again(actor, peer, (task, id, run.attempt), entry, fx);
            }
            lasting.tickets.insert(task, (peer, ticket.number));
        }
        self.accept(peer, run, None, frames, fx);
    }

    /// Answers a call that has run.
    fn answer_again(
        &mut self,
        actor: ObjectId,
        peer: ProcessId,
        (task, id, attempt): (TaskName, ObjectId, u32),
        Entry { at, ran, answer }: Entry,
        fx: &mut Effects,
    ) {
        let outcome = answer.map(|value| (value, Vec::new()));
        let done = Finished { task, id, attempt, function: u32::MAX, ran, outcome };
        match self.hosted.lasting_of(actor) {
            Some(lasting) if lasting.holds_answers() && at > lasting.kept => {
                // Behind what needs less, if there is any.
                let needs = lasting.held.back().map_or(at, |last| last.needs.max(at));
                lasting.held.push_back(Held { needs, peer, done });
            }
            _ => self.answer_one(peer, done, fx),
        }
    }

    /// Calls of the batch `key` have ended, and may not be answered yet: those that have changed the state of a lasting
    /// actor are remembered.
    pub(super) fn remember_answers(&mut self, key: TaskKey, finished: &mut [Finished], fx: &mut Effects) {
        if !self.hosted.any_lasting() {
            return;
        }
        let Some(((id, made_in), Use::Changes)) = self.worker.active_ref(key).and_then(|a| a.actor) else {
            return;
        };
        let mut again = Vec::new();
        let hosted = &mut self.hosted;
        let Some(actor) = hosted.actors.get_mut(&id).filter(|actor| actor.made_in == made_in) else { return };
        let Some(lasting) = &mut actor.lasting else { return };
        for done in finished {
            let ticket = lasting.tickets.remove(&done.task);
            // What ends the actor changes nothing that will be saved.
            let ends = hosted.roles.get(done.function as usize) == Some(&Role::Stop);
            if ends || done.outcome.as_ref().is_err_and(Error::is_own_panic) {
                continue;
            }
            lasting.changes += 1;
            let Some((caller, ticket)) = ticket else { continue };
            if done.outcome.as_ref().is_ok_and(|(_, contained)| !contained.is_empty()) {
                done.outcome =
                    Err(Error::encode("the result of a method of an actor with checkpoints", HANDLES));
            }
            let answer = done.outcome.as_ref().map(|(value, _)| value.clone()).map_err(Error::clone);
            let entry = Entry { at: lasting.changes, ran: done.ran, answer };
            // Its line is gone: it may have come once more over another one while it ran.
            if !hosted.lines.contains_key(&done.task.lease) {
                let same =
                    lasting.tickets.iter().find(|(_, of)| **of == (caller, ticket)).map(|(task, _)| *task);
                again.extend(same.map(|task| (task, caller, (done.id, done.attempt), entry.clone())));
            }
            lasting.ledger.add(caller, ticket, entry);
        }
        for (task, caller, (call, attempt), entry) in again {
            if self.take_unstarted(id, task) {
                self.answer_again(id, caller, (task, call, attempt), entry, fx);
                self.deliver_staged(task.lease);
            }
        }
    }

    /// Whether answers of calls under `lease` go by [`Core::answer_lasting`].
    pub(super) fn is_lasting(&mut self, lease: u32) -> bool {
        self.hosted.any_lasting() && (lease == SAVING || self.hosted.lasting_of_line(lease).is_some())
    }

    /// Answers calls of a lasting actor, each as soon as that may be.
    pub(super) fn answer_lasting(&mut self, key: TaskKey, finished: &mut Vec<Finished>, fx: &mut Effects) {
        let Some((lease, peer)) = self.worker.active_ref(key).map(|active| (active.lease, active.peer))
        else {
            return finished.clear();
        };
        if lease == SAVING {
            return finished.drain(..).for_each(|done| self.saved_by_itself(key, done, fx));
        }
        for done in finished.drain(..) {
            self.templates.ran_here(done.function, done.ran);
            let role = self.hosted.role(done.function);
            let Some((id, lasting)) = self.hosted.lasting_of_line(lease) else { return };
            let at_once = !lasting.holds_answers()
                || lasting.changes <= lasting.kept
                || role == Role::Stop
                || done.outcome.as_ref().is_err_and(Error::is_own_panic);
            match (&done.outcome, role) {
                (Ok((state, _)), Role::Checkpoint) => {
                    let state = state.clone();
                    self.saved(id, &state, Some((peer, done)), fx);
                }
                (_, Role::Checkpoint) => self.answer_one(peer, done, fx),
                _ if at_once => self.answer_one(peer, done, fx),
                _ => {
                    let needs = lasting.changes;
                    let inside = contained(&done).to_vec();
                    lasting.held.push_back(Held { needs, peer, done });
                    inside.into_iter().for_each(|id| self.pin(id));
                }
            }
        }
    }

    /// Sends the answers that are covered.
    pub(super) fn release_answers(&mut self, id: ObjectId, fx: &mut Effects) {
        while let Some(lasting) = self.hosted.lasting_of(id)
            && lasting.held.front().is_some_and(|held| held.needs <= lasting.kept)
            && let Some(Held { peer, done, .. }) = lasting.held.pop_front()
        {
            let inside = contained(&done).to_vec();
            self.answer_if_asked(peer, done, fx);
            self.unpin_all(inside);
        }
    }

    /// Answers a call unless its line is gone: then it is sent again, or of no use.
    pub(super) fn answer_if_asked(&mut self, peer: ProcessId, done: Finished, fx: &mut Effects) {
        if self.hosted.peer_of(done.task.lease) == Some(peer) {
            self.answer_one(peer, done, fx);
        }
    }

    /// A call that came is not run after all.
    pub(super) fn forget_accepted(&mut self, task: TaskName) {
        if self.hosted.any_lasting()
            && let Some((_, lasting)) = self.hosted.lasting_of_line(task.lease)
        {
            lasting.forget_call(task);
        }
    }

    /// Drops answers that wait for checkpoints of an actor that has ended.
    pub(super) fn drop_held(&mut self, lasting: Lasting) {
        for held in lasting.held {
            self.unpin_all(contained(&held.done).to_vec());
        }
    }

    /// A process has ended for certain: it will not ask for its answers any more.
    pub(super) fn forget_caller(&mut self, caller: ProcessId) {
        if self.hosted.any_lasting() {
            for actor in self.hosted.actors.values_mut() {
                actor.lasting.iter_mut().for_each(|lasting| lasting.ledger.forget(caller));
            }
        }
    }

    /// A caller has no use for its line any more: so it has all its answers.
    pub(super) fn forget_answers_to(&mut self, caller: ProcessId, actor: ObjectId) {
        if let Some(lasting) = self.hosted.lasting_of(actor) {
            lasting.ledger.forget(caller);
        }
    }
}

/// What is said of a call in place of its value.
pub(super) fn failed(done: Finished, error: Error) -> Finished {
    Finished { outcome: Err(error), ..done }
}

pub(super) fn contained(done: &Finished) -> &[ObjectId] {
    done.outcome.as_ref().map_or(&[], |(_, contained)| contained)
}

const HANDLES: &str = "it holds a future or the handle of an actor, which cannot be kept with the actor's checkpoint: give \
                       it from a method with `&self`, or give its value";
