//! Actors without their types: what handles of actors do, by way of the runtime of this process.

use crate::{
    error::{Error, Result},
    exec::{self, Argument, State},
    handle::Handle,
    runtime,
    template::Template,
};
use std::time::Duration;

/// Calls a method of the actor. Calls of one task, or of the main program, run in the order made. One that has not ended
/// within `limit`, if there is one, ends with [`Error::DeadlineExceeded`].
pub fn call(
    template: &Template,
    actor: &Handle,
    limit: Option<Duration>,
    arguments: impl IntoIterator<Item = Argument>,
) -> Handle {
    runtime::call_actor(template, actor, limit, arguments)
}

/// Ends the actor at once, also if what this returns is not awaited: its calls end with [`Error::ActorEnded`].
///
/// # Errors
/// The cluster owns it, and the store does not answer.
pub fn kill(actor: &Handle) -> impl Future<Output = Result<()>> + Send + use<> {
    runtime::kill_actor(actor)
}

/// Waits until the actor is there.
///
/// # Errors
/// Why it is not, and will not be: what its constructor failed with, or [`Error::ActorEnded`].
pub async fn ready(actor: &Handle) -> Result<()> {
    runtime::actor_ready(actor).await
}

/// Makes `state` that of the actor whose constructor runs on this thread.
///
/// # Errors
/// No constructor runs on this thread.
pub fn install(state: State) -> Result<()> {
    let current = exec::running().ok_or_else(|| Error::control("no constructor of an actor runs here"))?;
    runtime::install_actor((current.id, current.key), state)
}
