//! Actors that this worker has claimed: they stay when their constructor has run, and go in order when it leaves.

use super::{
    super::{Durables, convert, object_id},
    Running,
    claim::BEAT,
};
use crate::{
    control::durable::{DurableError, Outcome, Token},
    core::Keep,
    error::Error,
    runtime::Process,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How often it is noted until when the cluster gives our actors to nobody else.
const OFTEN: Duration = Duration::from_millis(300);

impl Durables {
    /// An actor has been made: says so, and keeps it.
    pub(super) async fn keep_actor(self: Arc<Self>, process: Arc<Process>, running: Running) {
        let (token, seq) = (running.token, running.handle.id().seq);
        {
            let mut state = self.state();
            state.local.insert(seq, token.id);
            state.running.insert(token.id, Running { lives: true, ..running });
            state.completing -= 1;
        }
        // It may be told of its end from now on, whether or not that was waited for a moment ago.
        self.waiting.notify_one();
        self.note_fence(&process);
        if !process.with_core(false, |core, _| core.follow_claimed(seq, object_id(token.id))) {
            return self.claimed_actor_over(seq, true);
        }
        let Ok(durable) = self.durable().await else { return };
        match self.insist(|| durable.lives(self.me, token, seq)).await {
            Ok(true) => {
                let mut state = self.state();
                if let Some(running) = state.running.get_mut(&token.id).filter(|r| r.token == token) {
                    running.said = true;
                }
            }
            // It was killed meanwhile, or this process is out.
            Ok(false) => self.revoked(token.id),
            Err(error) => {
                tracing::warn!("actor {} was made here, which could not be said: {error}", token.id);
                self.revoked(token.id);
            }
        }
    }

    /// An actor that this process had claimed has ended here.
    pub(in crate::runtime::durable) fn claimed_actor_over(self: &Arc<Self>, seq: u64, broke: bool) {
        let running = {
            let mut state = self.state();
            let id = state.local.get(&seq).copied();
            match id.filter(|id| state.running.get(id).is_some_and(|running| running.lives)) {
                Some(id) => {
                    state.local.remove(&seq);
                    // At once, so that who leaves waits for it.
                    state.completing += 1;
                    state.running.remove(&id)
                }
                None => None,
            }
        };
        if let Some(running) = running {
            let durables = self.clone();
            self.io.spawn(async move {
                durables.say_over(running, broke).await;
                durables.state().completing -= 1;
            });
            self.room.notify_one();
        }
    }

    /// Keeps a checkpoint in the store, however long that is away: until then nothing that depends on it is answered.
    pub(in crate::runtime::durable) async fn keep_checkpoint(self: Arc<Self>, keep: Keep) {
        let Keep { actor, attempt, version, checkpoint } = keep;
        let token = {
            let state = self.state();
            let running = state.local.get(&actor.seq).and_then(|id| state.running.get(id));
            running.map(|running| running.token)
        };
        let (Some(token), Some(process)) = (token, self.process()) else { return };
        let kept = match self.durable().await {
            Ok(durable) => {
                self.insist(|| durable.save_checkpoint(self.me, token, version, &checkpoint)).await
            }
            Err(error) => Err(error),
        };
        let ended = match kept {
            Ok(()) => Ok(()),
            // It is not ours any more, and ends here.
            Err(DurableError::NotMember(_) | DurableError::Stale(_)) => return,
            Err(error) => Err(format!("the control plane does not keep it: {error}")),
        };
        process.with_core(true, |core, fx| core.checkpoint_ended(actor, attempt, version, ended, fx));
    }

    async fn say_over(&self, running: Running, broke: bool) {
        let Ok(durable) = self.durable().await else { return };
        let token = running.token;
        let said = if broke {
            self.insist(|| durable.broke(self.me, token)).await
        } else {
            let error = Error::ActorEnded {
                actor: running.function.to_owned(),
                why: "it was stopped".to_owned(),
                passed: Default::default(),
            };
            let outcome = vec![(token, Outcome::Final(convert::failure(&error)))];
            self.insist(|| durable.complete(self.me, outcome.clone())).await.map(drop)
        };
        match said {
            // Its claims go with this process.
            Ok(()) | Err(DurableError::NotMember(_)) => {}
            Err(error) => tracing::warn!("the end of actor {} could not be said: {error}", token.id),
        }
    }

    /// Notes again and again until when the cluster gives our actors to nobody else.
    pub(in crate::runtime::durable) async fn keep_fence(self: Arc<Self>) {
        while let Some(process) = self.process() {
            self.note_fence(&process);
            drop(process);
            tokio::time::sleep(OFTEN).await;
        }
    }

    fn note_fence(&self, process: &Arc<Process>) {
        let any = self.state().running.values().any(|running| running.lives);
        let Some(members) = process.outside().and_then(|o| o.members()).filter(|_| any) else { return };
        // Nobody is declared dead before its beat has stood still for longer.
        let left = BEAT.saturating_sub(members.since_last_beat());
        let until = if left.is_zero() { 0 } else { process.nanos_at(Instant::now() + left) };
        process.with_core(true, |core, fx| {
            // Under the core's lock: who drains closes them under it too, after it has said that it does.
            if !self.draining.load(Ordering::Acquire) {
                core.fence(until, fx);
            }
        });
    }

    /// This worker leaves: no call of its actors starts any more, and once none runs, or at `until`, they go to whoever
    /// claims them next.
    pub(super) async fn move_actors(&self, until: Instant) {
        let Some(process) = self.process() else { return };
        process.with_core(true, |core, fx| core.fence(0, fx));
        while process.with_core(false, |core, _| core.claimed_actors_run()) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let moved: Vec<Running> = {
            let mut state = self.state();
            // Of which the store does not know that they have been made would spend an attempt.
            let ids: Vec<_> = state.running.iter().filter(|(_, r)| r.said).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| state.running.remove(id)).collect()
        };
        if moved.is_empty() {
            return;
        }
        // First here, then elsewhere.
        process.with_core(true, |core, fx| {
            moved.iter().for_each(|running| core.kill_actor(running.handle.id(), fx));
        });
        let tokens: Vec<(Token, Vec<_>)> = moved.iter().map(|running| (running.token, Vec::new())).collect();
        let given = match self.durable().await {
            Ok(durable) => self.persist(|| durable.give_back(self.me, tokens.clone())).await,
            Err(error) => Err(error),
        };
        if let Err(error) = given {
            tracing::warn!("the actors of this worker could not be given back: {error}");
        }
    }
}
