//! Actors of which the store knows: made with a name or for the cluster, and ended.
//!
//! An actor that the cluster owns is a durable future whose claimer keeps it. Names are in the store, whoever owns the
//! actor: what a process owns does not begin to be made before it has its name.

use super::{
    Durables, calls,
    calls::{Part, durables},
    convert, future_id, object_id, store_error,
};
use crate::{
    cell::Outcome,
    control::durable::{ActorSpec, DurableError, Retention, Submission},
    core::{Effects, Gate},
    error::{Error, Result},
    exec::Argument,
    handle::Handle,
    id::ObjectId,
    runtime::{Process, calls::submit_behind, failed},
    template::Template,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long what is known of an actor that has ended stays in the store.
const KEPT: Retention = Retention::Ticks(24 * 3600);
/// Whose name is not free yet although it has ended is asked for again after this.
const PAUSE: Duration = Duration::from_millis(10);
/// And for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// An actor that is to be made with a name, or for the cluster.
#[derive(Clone, Copy, Debug)]
pub struct NewActor<'a> {
    /// Its constructor with options.
    pub template: &'a Template,
    /// The name of its type.
    pub type_name: &'static str,
    /// Its name in the cluster.
    pub name: Option<&'a str>,
    /// The cluster owns it, rather than this process.
    pub detached: bool,
}

/// Makes an actor. What stands against its name, its calls say.
pub fn create(new: NewActor<'_>, arguments: impl IntoIterator<Item = Argument>) -> Handle {
    let (process, durables) = match durables() {
        Ok(both) => both,
        Err(error) => return failed(error),
    };
    let made = if new.detached {
        calls::parts(arguments)
            .and_then(|parts| Ok((durables.actor_submission(new)?, parts)))
            .map(|(submission, parts)| durables.send(process, submission, parts, calls::beside(new.template)))
    } else {
        let handle = submit_behind(Gate::closed(), new.template, arguments);
        let (id, name, type_name) =
            (handle.id(), new.name.unwrap_or_default().to_owned(), new.type_name.to_owned());
        durables.start();
        durables.io.spawn(durables.clone().begin_named(id, name, type_name));
        Ok(handle)
    };
    made.unwrap_or_else(failed)
}

/// The actor that has the name, or else a new one.
///
/// # Errors
/// The name belongs to an actor of another type ([`Error::OtherActor`]), cannot be a name, or the store does not answer.
pub fn get_or_create<A: IntoIterator<Item = Argument>>(
    new: NewActor<'_>,
    arguments: A,
) -> impl Future<Output = Result<Handle>> + Send + use<A> {
    let name = new.name.map(str::to_owned);
    let (type_name, detached) = (new.type_name, new.detached);
    let made = durables().and_then(|(process, durables)| {
        durables.start();
        let made = if detached {
            let arguments: Vec<Argument> = arguments.into_iter().collect();
            let held = arguments.iter().filter_map(|argument| match argument {
                Argument::Future(future) => Some(future.clone()),
                _ => None,
            });
            Made::Cluster(Box::new(Unsent {
                held: held.collect(),
                submission: durables.actor_submission(new)?,
                beside: calls::beside(new.template),
                parts: calls::parts(arguments)?,
            }))
        } else {
            let handle = submit_behind(Gate::closed(), new.template, arguments);
            Made::Process(Unnamed { handle, named: false })
        };
        Ok((process, durables, made))
    });
    async move {
        let (process, durables, made) = made?;
        let Some(name) = name else {
            return Err(Error::control(
                "`get_or_create` needs a `name`: `options().name(..).get_or_create(..)`",
            ));
        };
        // Whoever asked may lose interest; what is begun is ended in order nevertheless.
        let making = durables.clone().get_or_make(process, name, type_name, made);
        durables.io.spawn(making).await.unwrap_or(Err(Error::Shutdown))
    }
}

/// What is made where nobody has the name.
enum Made {
    Process(Unnamed),
    Cluster(Box<Unsent>),
}

/// The submission of an actor of the cluster, and what has to be put into it.
struct Unsent {
    submission: Submission,
    parts: Vec<Part>,
    /// See [`calls::beside`].
    beside: Option<(Handle, bool)>,
    /// Handles of the futures among the arguments.
    held: Vec<Handle>,
}

/// An actor of this process that waits behind a closed gate: it ends with this if it is not named, since nobody else
/// would open that.
struct Unnamed {
    handle: Handle,
    named: bool,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named {
            self.handle.cancel();
        }
    }
}

/// Ends an actor that the cluster owns.
pub(crate) async fn kill(id: ObjectId) -> Result<()> {
    let (process, durables) = durables()?;
    if durables.stop_preparing(id, |function| ended(function, "it was killed")) {
        return Ok(());
    }
    durables.until_submitted(id).await;
    let durable = durables.durable().await.map_err(|e| store_error(&e))?;
    match durables.persist(|| durable.cancel(future_id(id))).await {
        Ok(_) | Err(DurableError::NoSuchFuture(_)) => {}
        Err(error) => return Err(store_error(&error)),
    }
    // How it ended, it may have done before.
    if let Err(error) = durables.locate(id).await {
        process.with_core(true, |core, fx| {
            core.durable_ended(id, Outcome::Failed(Arc::new(error)), fx);
        });
    }
    Ok(())
}

impl Durables {
    /// The submission of the constructor of an actor that the cluster owns, but for its arguments.
    fn actor_submission(&self, new: NewActor<'_>) -> Result<Submission> {
        let call = calls::DurableCall { template: new.template, returns: new.type_name };
        let mut submission = self.submission(call)?;
        submission.actor = Some(ActorSpec {
            name: new.name.map(str::to_owned),
            type_name: new.type_name.to_owned(),
            restarts: new.template.options().max_restarts.unwrap_or(0),
        });
        submission.retention = KEPT;
        // Who calls it looks at where it is.
        submission.waiter = None;
        Ok(submission)
    }

    async fn get_or_make(
        self: Arc<Self>,
        process: &'static Arc<Process>,
        name: String,
        type_name: &'static str,
        mut made: Made,
    ) -> Result<Handle> {
        if let Made::Cluster(unsent) = &mut made {
            // Where there is one, nobody waits for what another one would be made of.
            if let Some(found) = self.look_up(process, &name, type_name).await? {
                return Ok(found);
            }
            let Unsent { submission, parts, beside, held } = &mut **unsent;
            let parts = calls::prepare(process, submission, std::mem::take(parts), beside.take()).await?;
            calls::fill(submission, parts)?;
            // What was submitted here before it may be on its way still.
            for future in held {
                self.until_submitted(future.id()).await;
            }
            self.name_futures(std::slice::from_mut(submission));
        }
        let ended = self.get_or_try(process, &name, type_name, &mut made).await;
        if let Made::Process(made) = &mut made {
            made.named = matches!(&ended, Ok(ended) if ended.id() == made.handle.id());
        }
        ended
    }

    async fn get_or_try(
        self: &Arc<Self>,
        process: &Arc<Process>,
        name: &str,
        type_name: &'static str,
        made: &mut Made,
    ) -> Result<Handle> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.look_up(process, name, type_name).await? {
                return Ok(found);
            }
            let attempt = match made {
                Made::Process(Unnamed { handle, .. }) => {
                    let named = self.give_name(process, handle.id(), name, type_name).await;
                    named.map(|()| handle.clone())
                }
                Made::Cluster(unsent) => {
                    unsent.submission.id = future_id(self.next_id());
                    self.submit_actor(process, &unsent.submission).await
                }
            };
            match attempt {
                // Somebody was first. Look who, again and again: who has just ended has its name for a moment.
                Err(Error::NameTaken { .. }) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                ended => return ended,
            }
        }
    }

    async fn submit_actor(&self, process: &Arc<Process>, submission: &Submission) -> Result<Handle> {
        let durable = self.durable().await.map_err(|e| store_error(&e))?;
        let submitted = self.persist(|| durable.submit(vec![submission.clone()])).await;
        match submitted.map_err(|e| store_error(&e))?.into_iter().next() {
            Some(Err(refused)) => Err(convert::refused(refused)),
            _ => Ok(handle_of(process, object_id(submission.id))),
        }
    }

    /// Carries out what the core wants to know or tells of actors.
    pub fn carry_out_actors(self: &Arc<Self>, fx: &mut Effects) {
        for actor in fx.find_actors.drain(..) {
            self.start();
            if self.state().finding.insert(actor) {
                self.io.spawn(self.clone().find(actor));
            }
        }
        for (id, known) in fx.confirmed.drain(..) {
            let waiting = self.state().confirming.remove(&id).unwrap_or_default();
            // Who does not wait any more need not be told.
            for sender in waiting {
                let _ = sender.send(known);
            }
        }
        for keep in fx.keep.drain(..) {
            self.io.spawn(self.clone().keep_checkpoint(keep));
        }
        for (seq, broke) in fx.over.drain(..) {
            self.actor_over(seq, broke);
        }
    }

    /// An actor of this process has ended that has a name or is the cluster's.
    fn actor_over(self: &Arc<Self>, seq: u64, broke: bool) {
        let name = self.state().named.remove(&seq);
        if let Some(name) = name {
            let durables = self.clone();
            self.io.spawn(async move { durables.free_name(name, seq).await });
        }
        self.claimed_actor_over(seq, broke);
    }
}

pub(super) fn handle_of(process: &Arc<Process>, id: ObjectId) -> Handle {
    Handle::counted(process.with_core(false, |core, fx| core.durable(id, fx)))
}

pub(super) fn ended(actor: String, why: &str) -> Error {
    Error::ActorEnded { actor, why: why.to_owned(), passed: Default::default() }
}
