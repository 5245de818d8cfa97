//! Lasting actors: what they have become is the list of the calls that changed them, so that one that is lost or done twice is
//! seen.

use super::{
    exec::{State, Thread},
    plan::Lid,
    world::{P, World},
};
use fdbray_worker::{
    cell::Outcome,
    core::{Instance, Start, checkpoint::state_in},
    error::Error,
    id::{ObjectId, ProcessId},
    options::Checkpoints,
    payload::Payload,
    registry::Role,
};

impl World {
    /// An instance of a lasting actor was made, anew or from what was kept. What has been answered is in it.
    pub fn begin_to_last(&mut self, p: P, instance: Instance, changes: Vec<ObjectId>) {
        let actor = instance.0;
        let everywhere = self.all.iter().flat_map(|process| process.handles.iter());
        let settled: Vec<_> =
            everywhere.filter_map(|(id, (cell, lid, _))| Some((*id, *lid, cell.outcome()?))).collect();
        for (id, lid, outcome) in settled {
            if self.actors.called_on(id) == Some(actor) {
                self.answer_seen(p, id, lid, &outcome);
            }
        }
        for call in self.actors.answered.get(&actor).into_iter().flatten() {
            assert!(
                changes.contains(call),
                "p{p}: {call} was answered, and {instance:?} knows nothing of it"
            );
        }
        self.all[p].lasting.insert(instance, changes);
    }

    /// A call has a value: then it has changed its actor for good.
    pub fn answer_seen(&mut self, p: P, id: ObjectId, lid: Lid, outcome: &Outcome) {
        let Some(node) = self.plan.futures[lid].node.map(|node| &self.plan.nodes[node]) else { return };
        let call = self.plan.calls[node.call];
        let lasts = matches!(call.checkpoints, Some(Checkpoints::Every(_))) && call.role == Role::Exclusive;
        if !lasts || matches!(outcome, Outcome::Failed(_)) {
            return;
        }
        // A future that went to another process is known there by its owner's number.
        let Some(actor) = self.actors.called_on(id) else { panic!("p{p} sees {id}, which nobody called") };
        self.actors.answered.entry(actor).or_default().insert(id);
    }

    /// A method has ended, and has changed the state unless it panicked.
    pub fn has_changed(
        &mut self,
        p: P,
        actor: Instance,
        call: ObjectId,
        role: Role,
        outcome: &Result<(Payload, Vec<ObjectId>), Error>,
    ) {
        let panicked = outcome.as_ref().is_err_and(Error::is_own_panic);
        if role != Role::Exclusive || panicked {
            return;
        }
        if let Some(changes) = self.all[p].lasting.get_mut(&actor) {
            assert!(!changes.contains(&call), "p{p}: {call} changes {actor:?} twice");
            changes.push(call);
        }
    }

    /// A thread saves a state, which takes a while.
    pub fn save(&mut self, p: P, thread: &mut Thread, start: &Start) {
        let actor = start.actor.expect("a state is that of an actor");
        assert!(!self.actors.changes(p, actor), "p{p}: {actor:?} is saved while it changes");
        self.count("(checkpoint)");
        let fails = self.now < self.scenario.faults.until && self.random.percent(self.scenario.unsaved);
        let outcome = if fails {
            self.weather.unsaved += 1;
            Err(Error::checkpoint("simulated", "it cannot be saved"))
        } else {
            Ok((Payload::from(encode(&self.all[p].lasting[&actor])), Vec::new()))
        };
        self.say(|| format!("p{p} saves {actor:?}: {}", if fails { "in vain" } else { "well" }));
        thread.ends(start, outcome);
        thread.state = State::Sleeping(self.now + self.random.scale(1_000, 1_000_000));
    }

    /// A constructor makes an actor from a checkpoint.
    pub fn restore(&mut self, p: P, thread: &mut Thread, start: &Start) {
        let checkpoint = start.checkpoint.as_ref().expect("it is made from one");
        let changes = decode(&state_in(checkpoint).expect("it is whole"));
        let instance = (start.id, thread.key.expect("a constructor runs in a batch"));
        self.say(|| format!("p{p} has made {instance:?} again, with {} changes", changes.len()));
        self.count("(restored)");
        self.all[p].states.insert(instance, Vec::new());
        self.actors.was_made(p, instance);
        self.begin_to_last(p, instance, changes);
        thread.ends(start, Ok((Payload::copy_from(b""), Vec::new())));
    }
}

fn encode(changes: &[ObjectId]) -> bytes::Bytes {
    let mut out = Vec::with_capacity(16 * changes.len());
    for id in changes {
        out.extend(id.owner.get().to_le_bytes());
        out.extend(id.seq.to_le_bytes());
    }
    out.into()
}

fn decode(bytes: &[u8]) -> Vec<ObjectId> {
    let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let (ids, rest) = bytes.as_chunks::<16>();
    assert!(rest.is_empty(), "half an id was kept");
    let id = |id: &[u8; 16]| {
        let owner = ProcessId::new(long(&id[..8])).expect("no process is zero");
        ObjectId { owner, seq: long(&id[8..]) }
    };
    ids.iter().map(id).collect()
}
