//! Actors of this process: their states, calls of their methods, and their ends.

use super::{calls, durable, not_started, process};
use crate::{
    cell::Outcome,
    core::Instance,
    error::{Error, Result},
    exec::{Argument, State},
    handle::Handle,
    template::Template,
};
use rustc_hash::FxHashMap;
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The states of the actors that live in this process. That only one method at a time changes a state is the core's affair.
#[derive(Default)]
pub(crate) struct States(Mutex<FxHashMap<Instance, State>>);

impl States {
    pub fn get(&self, actor: Instance) -> Option<State> {
        self.lock().get(&actor).cloned()
    }

    fn insert(&self, actor: Instance, state: State) {
        let before = self.lock().insert(actor, state);
        // Its destructor is the user's code.
        before.into_iter().for_each(drop_quietly);
    }

    /// Drops the states of actors that have ended, once no method uses them any more.
    pub fn end(&self, actors: Vec<Instance>) {
        let states: Vec<State> = {
            let mut all = self.lock();
            actors.iter().filter_map(|actor| all.remove(actor)).collect()
        };
        states.into_iter().for_each(drop_quietly);
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<Instance, State>> {
        // Nothing that can panic happens under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_quietly(state: State) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(state))) {
        tracing::error!("the destructor of an actor's state panicked");
        // What it panicked with may panic again.
        std::mem::forget(panic);
    }
}

/// See [`crate::actors::call`].
pub(crate) fn call_actor(
    template: &Template,
    actor: &Handle,
    limit: Option<Duration>,
    arguments: impl IntoIterator<Item = Argument>,
) -> Handle {
    calls::submit_to(template, Some((actor, limit)), arguments)
}

/// See [`crate::actors::kill`].
pub(crate) fn kill_actor(actor: &Handle) -> impl Future<Output = Result<()>> + Send + use<> {
    let id = actor.id();
    let killing = process().and_then(|process| {
        if id.is_durable() {
            // It is killed whether or not somebody awaits that, or has a handle still.
            let held = actor.clone();
            let killing = async move { durable::kill_actor(held.id()).await };
            return process.outside().map(|outside| outside.io.spawn(killing));
        }
        process.with_core(true, |core, fx| core.kill_actor(id, fx));
        None
    });
    async move {
        match killing {
            Some(killing) => killing.await.unwrap_or(Err(Error::Shutdown)),
            None => Ok(()),
        }
    }
}

/// See [`crate::actors::ready`].
pub(crate) async fn actor_ready(actor: &Handle) -> Result<()> {
    let process = process().ok_or_else(not_started)?;
    let id = actor.id();
    if id.is_durable() {
        return durable::actor_made(id).await;
    }
    if id.owner != process.me() {
        process.with_core(true, |core, fx| core.ask(id, false, fx));
    }
    let outcome = poll_fn(|cx| {
        let polled = actor.cell().poll_end(cx);
        if polled.is_pending() {
            crate::exec::note_waiting();
        }
        polled
    })
    .await;
    match outcome {
        Outcome::Failed(error) => Err(Error::from(error)),
        Outcome::Value(_) | Outcome::Stored { .. } => Ok(()),
    }
}

/// See [`crate::actors::install`].
pub(crate) fn install_actor(actor: Instance, state: State) -> Result<()> {
    process().ok_or_else(not_started)?.states().insert(actor, state);
    Ok(())
}
