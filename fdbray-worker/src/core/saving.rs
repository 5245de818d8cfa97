//! Checkpoints of lasting actors, where they live: when one is due, how it is saved and sent, and what follows from its end.

use super::{
    Core, Effects,
    checkpoint::checkpoint_of,
    effects::Keep,
    grant::{Finished, Start, TaskKey, Use},
    hosted::{Actor, Hosted},
    lasting::{Held, OnItsWay, contained, failed},
    message::{Gone, Message, Raw, TaskName},
    shape::Resources,
};
use crate::{
    error::Error,
    id::{ObjectId, ProcessId},
    options::Checkpoints,
    payload::Payload,
    registry::Role,
};
use bytes::Bytes;

/// Stands for the lease of a batch that saves a state because that is due: no lease has this number.
pub(super) const SAVING: u32 = u32::MAX;
/// Calls that are looked at to see whether any waits that changes the state.
const LOOKS: usize = 64;

impl Hosted {
    /// Whether a state is to be saved now.
    pub fn wants_saving(&self, actor: &Actor) -> bool {
        let Some(lasting) = &actor.lasting else { return false };
        let Checkpoints::Every(many) = lasting.when else { return false };
        let unsaved = lasting.changes - lasting.saved;
        if actor.exclusive || unsaved == 0 || lasting.saving || !lasting.on_their_way.is_empty() {
            return false;
        }
        // What starts before it is of no matter: so this never comes to be by a start.
        let changes = |function: &u32| matches!(self.role(*function), Role::Exclusive | Role::Stop);
        let mut waiting = actor.mailbox.iter().take(LOOKS).map(|(_, call)| call.function);
        match waiting.find(changes) {
            None => true,
            Some(function) => unsaved >= u64::from(many) || self.must_wait(actor, function),
        }
    }

    /// Whether a call of `function`, which is the first that waits, has to wait for a checkpoint. What ends the actor comes
    /// when all is kept: there will be no other. And what may wait in the middle, perhaps for something that follows
    /// from an answer that is held, would keep the state from being saved meanwhile.
    pub fn must_wait(&self, actor: &Actor, function: u32) -> bool {
        let Some(lasting) = &actor.lasting else { return false };
        match self.role(function) {
            Role::Checkpoint => lasting.saving,
            Role::Stop => lasting.holds_answers() && lasting.changes > lasting.kept,
            Role::Exclusive if self.may_pause(function) => {
                lasting.holds_answers() && lasting.changes > lasting.saved
            }
            _ => false,
        }
    }
}

impl Core {
    /// The batch that saves the state of an actor, if that is due.
    pub(super) fn next_saving(&mut self, id: ObjectId, out: &mut Vec<Start>) -> Option<TaskKey> {
        let saver = self.hosted.saver?;
        let actor = self.hosted.actors.get(&id).filter(|actor| self.hosted.wants_saving(actor))?;
        let instance = (id, actor.made_in);
        let actor = self.hosted.actors.get_mut(&id)?;
        let lasting = actor.lasting.as_mut()?;
        lasting.begin_saving();
        actor.shared += 1;
        out.push(Start {
            task: TaskName { lease: SAVING, number: 0 },
            mark: 0,
            id,
            attempt: lasting.attempt,
            function: saver,
            root: None,
            arguments: Payload::copy_from(b""),
            futures: Vec::new(),
            actor: Some(instance),
            checkpoint: None,
        });
        let me = self.me();
        let key = self.worker.activate(SAVING, me, Resources::default(), None);
        if let Some(active) = self.worker.active(key) {
            active.actor = Some((instance, Use::Saves));
        }
        Some(key)
    }

    /// The state of an actor was saved because that was due, or could not be.
    pub(super) fn saved_by_itself(&mut self, key: TaskKey, done: Finished, fx: &mut Effects) {
        let Some(((id, made_in), _)) = self.worker.active_ref(key).and_then(|active| active.actor) else {
            return;
        };
        if self.hosted.actors.get(&id).is_none_or(|actor| actor.made_in != made_in) {
            return;
        }
        match done.outcome {
            Ok((state, _)) => self.saved(id, &state, None, fx),
            Err(error @ Error::Checkpoint { .. }) => self.not_saved(id, error, fx),
            Err(error) => self.not_saved(id, Error::checkpoint("", error), fx),
        }
    }

    /// The state of an actor was saved, and nothing has changed it since: it goes to whoever keeps it.
    pub(super) fn saved(
        &mut self,
        id: ObjectId,
        state: &Payload,
        asked: Option<(ProcessId, Finished)>,
        fx: &mut Effects,
    ) {
        let Some(lasting) = self.hosted.lasting_of(id) else { return };
        match checkpoint_of(state.head(), &lasting.ledger) {
            Ok(checkpoint) => {
                lasting.versions += 1;
                let (version, covers) = (lasting.versions, lasting.changes);
                lasting.saved = covers;
                lasting.on_their_way.push_back(OnItsWay { version, covers, asked });
                let attempt = lasting.attempt;
                self.send_checkpoint(id, attempt, version, checkpoint, fx);
            }
            Err(why) => match asked {
                Some((peer, done)) => self.answer_one(peer, failed(done, Error::checkpoint("", why)), fx),
                None => self.not_saved(id, Error::checkpoint("", why), fx),
            },
        }
    }

    /// Has a checkpoint kept by the actor's owner; by the store, if that is the cluster.
    fn send_checkpoint(
        &mut self,
        id: ObjectId,
        attempt: u32,
        version: u64,
        checkpoint: Vec<u8>,
        fx: &mut Effects,
    ) {
        if self.clustered.has_claimed(id) {
            return fx.keep.push(Keep { actor: id, attempt, version, checkpoint: Bytes::from(checkpoint) });
        }
        let message = Message::Checkpoint { seq: id.seq, attempt, version, checkpoint: Raw(&checkpoint) };
        self.say(id.owner, &message, fx);
    }

    /// Whoever keeps checkpoints has this one of the actor `id`, which was made in `attempt`; or will not have it, and why.
    pub fn checkpoint_ended(
        &mut self,
        id: ObjectId,
        attempt: u32,
        version: u64,
        ended: Result<(), String>,
        fx: &mut Effects,
    ) {
        self.hear_of_checkpoint(id, attempt, version, ended, fx);
        self.turn(fx);
    }

    /// The same, as the owner says it.
    pub(super) fn hear_of_checkpoint(
        &mut self,
        id: ObjectId,
        attempt: u32,
        version: u64,
        ended: Result<(), String>,
        fx: &mut Effects,
    ) {
        let Some(lasting) = self.hosted.lasting_of(id).filter(|lasting| lasting.attempt == attempt) else {
            return;
        };
        let Some(at) = lasting.on_their_way.iter().position(|sent| sent.version == version) else { return };
        let Some(OnItsWay { covers, asked, .. }) = lasting.on_their_way.remove(at) else { return };
        match ended {
            Ok(()) => {
                lasting.kept = lasting.kept.max(covers);
                if let Some((peer, mut done)) = asked {
                    done.outcome = Ok((Payload::copy_from(b""), Vec::new()));
                    self.answer_if_asked(peer, done, fx);
                }
                self.release_answers(id, fx);
                self.hosted.list(id);
                self.worker.changed = true;
            }
            Err(why) => {
                let error = Error::checkpoint("", why);
                if let Some((peer, done)) = asked {
                    self.answer_if_asked(peer, failed(done, error.clone()), fx);
                }
                if self.hosted.lasting_of(id).is_some_and(|lasting| lasting.holds_answers()) {
                    self.end_uncovered(id, (0, covers), &error, fx);
                }
            }
        }
    }

    /// The state of an actor cannot be saved: it falls back to what is kept of it.
    fn not_saved(&mut self, id: ObjectId, error: Error, fx: &mut Effects) {
        let Some(saved) = self.hosted.lasting_of(id).map(|lasting| lasting.saved) else { return };
        self.end_uncovered(id, (saved, u64::MAX), &error, fx);
    }

    /// Ends an actor whose last changes cannot be kept. Answers that need some `after` and `up_to` say so, unless a later
    /// checkpoint may be kept that has them; all other calls are sent again to its next incarnation.
    fn end_uncovered(&mut self, id: ObjectId, (after, up_to): (u64, u64), error: &Error, fx: &mut Effects) {
        let Some(lasting) = self.hosted.lasting_of(id) else { return };
        let (kept, saved) = (lasting.kept, lasting.saved);
        let sure = after == saved || lasting.on_their_way.is_empty();
        for Held { needs, peer, done } in std::mem::take(&mut lasting.held) {
            self.unpin_all(contained(&done).to_vec());
            if sure && needs > after.max(kept) && needs <= up_to {
                self.answer_if_asked(peer, failed(done, error.clone()), fx);
            }
        }
        self.tell_gone(id, Gone::Broke, fx);
    }
}
