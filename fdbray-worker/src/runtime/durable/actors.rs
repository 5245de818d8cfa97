//! Actors of which the store knows: made by name or for the cluster, looked up, found by those who call them, ended.
//!
//! An actor that the cluster owns is a durable future whose claimer keeps it. Names are in the store, whoever owns the
//! actor: what a process owns does not begin to be made before it has its name.

use super::{
    AFTER_FAILURE, Durables, LOOK_AGAIN, calls,
    calls::{Part, durables},
    convert, future_id, object_id, store_error,
};
use crate::{
    cell::Outcome,
    control::durable::{
        ActorSpec, DurableError, NamedActor, Owner, Refused, Retention, Submission, Whereabouts,
    },
    core::{Effects, Gate, Origin},
    error::{Error, Result},
    exec::Argument,
    handle::Handle,
    id::{ObjectId, ProcessId},
    runtime::{Process, calls::submit_behind, failed},
    template::Template,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

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

/// An actor that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActorInfo {
    /// The name.
    pub name: String,
    /// The name of its type.
    pub type_name: String,
    /// The process that owns it; none if the cluster does.
    pub owner: Option<ProcessId>,
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

/// The actor of that name.
///
/// # Errors
/// [`Error::NoSuchActor`], [`Error::OtherActor`], or the store does not answer.
pub async fn named(name: &str, type_name: &'static str) -> Result<Handle> {
    let (process, durables) = durables()?;
    durables.start();
    let found = durables.look_up(process, name, type_name).await?;
    found.ok_or_else(|| Error::NoSuchActor { name: name.to_owned() })
}

/// The actors of the cluster that have names, by name.
///
/// # Errors
/// There is no cluster, or the store does not answer.
pub async fn actors() -> Result<Vec<ActorInfo>> {
    let (_, durables) = durables()?;
    let durable = durables.durable().await.map_err(|e| store_error(&e))?;
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (page, next) =
            durables.persist(|| durable.actors(after.clone())).await.map_err(|e| store_error(&e))?;
        all.extend(page.into_iter().map(|NamedActor { name, actor }| ActorInfo {
            name,
            type_name: actor.type_name,
            owner: match actor.owner {
                Owner::Process { process, .. } => Some(process),
                Owner::Cluster(_) => None,
            },
        }));
        if next.is_none() {
            return Ok(all);
        }
        after = next;
    }
}

/// Waits until an actor that the cluster owns has been made.
pub(crate) async fn made(id: ObjectId) -> Result<()> {
    let (_, durables) = durables()?;
    durables.locate(id).await.map(drop)
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

    /// Gives an actor of this process its name, and lets it be made.
    async fn begin_named(self: Arc<Self>, id: ObjectId, name: String, type_name: String) {
        let Some(process) = self.process() else { return };
        match self.give_name(&process, id, &name, &type_name).await {
            Ok(()) => {}
            Err(error) => process.with_core(true, |core, fx| core.refuse(id.seq, error, fx)),
        }
    }

    /// The same; where the name belongs to another one, the actor waits on.
    async fn give_name(
        self: &Arc<Self>,
        process: &Arc<Process>,
        id: ObjectId,
        name: &str,
        of: &str,
    ) -> Result<()> {
        let durable = self.durable().await.map_err(|e| store_error(&e))?;
        // First, since it may end as soon as that is told.
        self.state().named.insert(id.seq, name.to_owned());
        let followed = process.with_core(false, |core, _| core.follow_actor(id.seq));
        if !followed {
            self.state().named.remove(&id.seq);
            return Ok(());
        }
        let named =
            self.persist(|| durable.name_actor(name.to_owned(), of.to_owned(), self.me, id.seq)).await;
        let ended = match named.map_err(|e| store_error(&e)) {
            Ok(Ok(())) => {
                if self.state().named.contains_key(&id.seq) {
                    process.with_core(true, |core, fx| core.open_gate(id.seq, fx));
                } else {
                    // It ended meanwhile.
                    self.free_name(name.to_owned(), id.seq).await;
                }
                return Ok(());
            }
            Ok(Err(refused)) => Err(convert::refused(refused)),
            Err(error) => {
                // It may have got the name nevertheless.
                let (durables, name) = (self.clone(), name.to_owned());
                self.io.spawn(async move { durables.free_name(name, id.seq).await });
                Err(error)
            }
        };
        self.state().named.remove(&id.seq);
        ended
    }

    async fn free_name(&self, name: String, seq: u64) {
        let freed = match self.durable().await {
            Ok(durable) => self.insist(|| durable.unname_actor(name.clone(), self.me, seq)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = freed {
            tracing::warn!("the name `{name}` of an actor that has ended is not free yet: {error}");
        }
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

    /// The actor that has a name, if one has it.
    async fn look_up(
        &self,
        process: &Arc<Process>,
        name: &str,
        type_name: &'static str,
    ) -> Result<Option<Handle>> {
        let durable = self.durable().await.map_err(|e| store_error(&e))?;
        let found = self.persist(|| durable.find_actor(name.to_owned())).await;
        let Some(named) = found.map_err(|e| store_error(&e))? else { return Ok(None) };
        if named.type_name != type_name {
            let (name, expected, found) = (name.to_owned(), type_name.to_owned(), named.type_name);
            return Err(Error::OtherActor { name, expected, found });
        }
        match named.owner {
            Owner::Cluster(id) => Ok(Some(handle_of(process, object_id(id)))),
            Owner::Process { process: owner, seq } => {
                let id = ObjectId { owner, seq };
                let handle =
                    Handle::counted(process.with_core(true, |core, fx| core.adopt(id, Origin::Here, fx)));
                let (sender, known) = oneshot::channel();
                self.state().confirming.entry(id).or_default().push(sender);
                process.with_core(true, |core, fx| core.confirm(id, fx));
                Ok(known.await.unwrap_or(false).then_some(handle))
            }
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

    /// Tells the core where an actor is that the cluster owns, once it is somewhere, unless nobody wants to know any more.
    async fn find(self: Arc<Self>, id: ObjectId) {
        let found = tokio::select! {
            found = self.locate(id) => found,
            () = self.until_unwanted(id) => return,
        };
        // Before it is told: who asks after that is told of another search.
        self.state().finding.remove(&id);
        let Some(process) = self.process() else { return };
        process.with_core(true, |core, fx| match found {
            Ok(there) => core.actor_found(id, there.owner, there, fx),
            Err(error @ Error::Control { .. }) => core.actor_not_found(id, &error, fx),
            Err(error) => core.durable_ended(id, Outcome::Failed(Arc::new(error)), fx),
        });
    }

    /// Until no call here waits for the actor to be found.
    async fn until_unwanted(&self, id: ObjectId) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            // First, so that who asks from now on begins another search.
            self.state().finding.remove(&id);
            let Some(process) = self.process() else { return };
            if !process.with_core(false, |core, _| core.looks_for(id)) {
                return;
            }
            self.state().finding.insert(id);
        }
    }

    /// Where an actor is that the cluster owns, once it is somewhere; or how it ended.
    async fn locate(&self, id: ObjectId) -> Result<ObjectId> {
        self.until_submitted(id).await;
        loop {
            if let Some(Outcome::Failed(error)) = self.outcome(id) {
                return Err(Error::from(error));
            }
            let durable = self.durable().await.map_err(|e| store_error(&e))?;
            match self.persist(|| durable.whereabouts(future_id(id))).await {
                Ok((Whereabouts::At(owner, seq), _)) => return Ok(ObjectId { owner, seq }),
                Ok((Whereabouts::Nowhere, changed)) => {
                    tokio::select! {
                        changed = changed => if changed.is_err() {
                            tokio::time::sleep(AFTER_FAILURE).await;
                        },
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                }
                Ok((Whereabouts::Ended { failure: Some(failure), .. }, _)) => {
                    return Err(convert::error(id, failure));
                }
                Ok((Whereabouts::Ended { function, failure: None }, _)) => {
                    return Err(ended(function, "it was killed"));
                }
                Err(DurableError::NoSuchFuture(_)) => {
                    return Err(ended("a constructor".into(), "nothing is known of it any more"));
                }
                Err(error) => return Err(store_error(&error)),
            }
        }
    }

    fn outcome(&self, id: ObjectId) -> Option<Outcome> {
        self.process()?.with_core(false, |core, _| core.outcome(id))
    }
}

fn handle_of(process: &Arc<Process>, id: ObjectId) -> Handle {
    Handle::counted(process.with_core(false, |core, fx| core.durable(id, fx)))
}

fn ended(actor: String, why: &str) -> Error {
    Error::ActorEnded { actor, why: why.to_owned(), passed: Default::default() }
}

/// Why a name was refused.
pub(super) fn name_refused(refused: &Refused) -> Option<Error> {
    match refused {
        Refused::NameTaken { name, by } => Some(Error::NameTaken { name: name.clone(), by: by.clone() }),
        _ => None,
    }
}
