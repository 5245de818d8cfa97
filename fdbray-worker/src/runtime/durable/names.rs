//! Names of actors: one that a process owns gets its name before it is made; actors are looked up by name, and listed.

use super::{Durables, actors::handle_of, calls::durables, convert, object_id, store_error};
use crate::{
    control::durable::{NamedActor, Owner, Refused},
    core::Origin,
    error::{Error, Result},
    handle::Handle,
    id::{ObjectId, ProcessId},
    runtime::Process,
};
use std::sync::Arc;
use tokio::sync::oneshot;

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

impl Durables {
    /// Gives an actor of this process its name, and lets it be made.
    pub(super) async fn begin_named(self: Arc<Self>, id: ObjectId, name: String, type_name: String) {
        let Some(process) = self.process() else { return };
        match self.give_name(&process, id, &name, &type_name).await {
            Ok(()) => {}
            Err(error) => process.with_core(true, |core, fx| core.refuse(id.seq, error, fx)),
        }
    }

    /// The same; where the name belongs to another one, the actor waits on.
    pub(super) async fn give_name(
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

    pub(super) async fn free_name(&self, name: String, seq: u64) {
        let freed = match self.durable().await {
            Ok(durable) => self.insist(|| durable.unname_actor(name.clone(), self.me, seq)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = freed {
            tracing::warn!("the name `{name}` of an actor that has ended is not free yet: {error}");
        }
    }

    /// The actor that has a name, if one has it.
    pub(super) async fn look_up(
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
}

/// Why a name was refused.
pub(super) fn name_refused(refused: &Refused) -> Option<Error> {
    match refused {
        Refused::NameTaken { name, by } => Some(Error::NameTaken { name: name.clone(), by: by.clone() }),
        _ => None,
    }
}
