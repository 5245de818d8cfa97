//! Actors without their own types: what the handles and options that `#[actor]` makes are made of.

mod checkpoint;
mod creation;
mod state;

pub use checkpoint::{Checkpoint, lasting_alone, lasting_together};
pub use creation::{Creating, Creation};
pub use state::{Access, Alone, Together, state_of_an_actor, state_of_an_actor_with_shared_methods};

use crate::{
    RemoteFuture, Result,
    encoding::{adopt, collect, encode, is_described},
};
use fdbray_worker::{
    actors,
    exec::{Argument, Input},
    handle::Handle,
    id::ObjectId,
    options::Defaults,
    registry::{Entry, Function, Output, Registered, Role},
    runtime::durable,
    template::Template,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
    ser,
};
use std::{fmt, future::Future, sync::OnceLock, time::Duration};

/// What the handle of every actor can do, besides the actor's own methods.
///
/// In the [prelude](crate::prelude). A method of the actor that has the same name comes first; then write
/// `ActorHandle::stop(&handle)` for this one. See [`actor`](macro@crate::actor) for the life of actors.
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # struct Counter(i64);
/// #[actor]
/// impl Counter {
///     pub fn new(start: i64) -> Self {
///         Counter(start)
///     }
///     pub fn add(&mut self, k: i64) {
///         self.0 += k;
///     }
/// }
///
/// # async fn f() -> fdbray::Result<()> {
/// let counter = Counter::remote(0);
/// counter.ready().await?; // it has been made
/// let added = counter.add(5);
/// counter.stop().await?; // after the call above
/// added.await?;
/// # Ok(()) }
/// ```
pub trait ActorHandle: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    #[doc(hidden)]
    fn __actor(&self) -> &Actor;

    #[doc(hidden)]
    fn __of(actor: Actor) -> Self;

    #[doc(hidden)]
    fn __type_name() -> &'static str;

    /// The actor that has this name in the cluster.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # struct Counter(i64);
    /// # #[actor]
    /// # impl Counter {
    /// #     pub fn new(start: i64) -> Self { Counter(start) }
    /// #     pub fn add(&mut self, k: i64) { self.0 += k; }
    /// # }
    /// # async fn f() -> fdbray::Result<()> {
    /// let total = CounterHandle::named("total").await?;
    /// total.add(5).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchActor`](crate::Error::NoSuchActor); [`Error::OtherActor`](crate::Error::OtherActor) if its type is
    /// another one; or the control plane does not answer.
    fn named(name: &str) -> impl Future<Output = Result<Self>> + Send + use<Self> {
        let name = name.to_owned();
        async move { Ok(Self::__of(Actor::new(durable::named(&name, Self::__type_name()).await?))) }
    }

    /// Waits until the actor has been made.
    ///
    /// # Errors
    /// Why it has not been, and will not be: the error or the panic of its constructor, what an argument of that failed
    /// with, or [`Error::ActorEnded`](crate::Error::ActorEnded).
    fn ready(&self) -> impl Future<Output = Result<()>> + Send + use<Self> {
        let handle = self.__actor().handle.clone();
        async move { actors::ready(&handle).await }
    }

    /// Ends the actor in order: calls that were made before it still run, then its state is dropped. Takes effect in the
    /// order of this caller's calls, and also if what it returns is not awaited. Calls that come later end with
    /// [`Error::ActorEnded`](crate::Error::ActorEnded).
    ///
    /// # Errors
    /// As for any call of a method: the actor was never made, has ended before, or was lost meanwhile.
    fn stop(&self) -> impl Future<Output = Result<()>> + Send + use<Self> {
        method::<(), 0>(&STOP, &Actor::new(self.__actor().handle.clone()), [])
    }

    /// Has the actor take a [checkpoint](Checkpoint) now, also if what this returns is not awaited; that resolves when it is
    /// kept. Takes effect in the order of this caller's calls. With `#[actor(checkpoint)]` nothing waits for this, since
    /// every answer has a checkpoint behind it; with `#[actor(checkpoint = "on_demand")]` nothing else takes one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint): why there is none. [`Error::Control`](crate::Error::Control) if the
    /// actor's type has no checkpoints. And as for any call of a method: the actor was never made, has ended before, or was
    /// lost meanwhile.
    fn checkpoint(&self) -> impl Future<Output = Result<()>> + Send + use<Self> {
        method::<(), 0>(&SAVE, self.__actor(), [])
    }

    /// Ends the actor at once, also if what this returns is not awaited: what runs is dropped where it awaits, or runs to
    /// its end unseen, and all calls that have not ended end with [`Error::ActorEnded`](crate::Error::ActorEnded).
    ///
    /// # Errors
    /// The cluster owns the actor ([`detached`](macro@crate::actor#actors-of-the-cluster)), and the control plane does not
    /// answer. An actor that has ended already stays so.
    fn kill(&self) -> impl Future<Output = Result<()>> + Send + use<Self> {
        actors::kill(&self.__actor().handle)
    }

    /// Another handle of the same actor, each call of whose methods may take `limit` from when it is made; then it ends with
    /// [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded), is dropped where it awaits, and is not begun if it has not
    /// been. So what is called later need not wait behind it, except for one that runs on a thread, which ends by itself.
    ///
    /// Clones of that handle have the same limit. It takes the place of an earlier one, and stays in this process: a handle
    /// that comes out of an argument, a result or another value has none. [`ready`](Self::ready), [`stop`](Self::stop) and
    /// [`kill`](Self::kill) are as without.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # use std::time::Duration;
    /// # struct Model;
    /// #[actor]
    /// impl Model {
    ///     # pub fn new() -> Self { Model }
    ///     pub async fn answer(&self, question: String) -> String {
    ///         // ..
    ///         # question
    ///     }
    /// }
    ///
    /// # async fn f(model: ModelHandle) -> fdbray::Result<()> {
    /// let quick = model.with_deadline(Duration::from_millis(200));
    /// match quick.answer("why?").await {
    ///     Err(Error::DeadlineExceeded { .. }) => println!("that takes too long"),
    ///     answer => println!("{}", answer?),
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use = "the handle that it is called on stays as it is"]
    fn with_deadline(&self, limit: Duration) -> Self {
        Self::__of(Actor { handle: self.__actor().handle.clone(), limit: Some(limit) })
    }
}

/// A counted handle of an actor, without its type.
#[derive(Clone)]
pub struct Actor {
    handle: Handle,
    /// Of the calls made through this handle.
    limit: Option<Duration>,
}

impl Actor {
    fn new(handle: Handle) -> Self {
        Actor { handle, limit: None }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.handle.id(), f)
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let collected = if is_described() && !self.handle.id().is_durable() {
            Err(
                "the handle of an actor that a process owns cannot be inside a checkpoint, or an argument or a result of a \
                 durable call, which may outlive the actor; make the actor `detached`",
            )
        } else if serializer.is_human_readable() {
            Err(ELSEWHERE)
        } else {
            collect(&self.handle).map_err(|_| ELSEWHERE)
        };
        collected.map_err(ser::Error::custom)?;
        self.handle.id().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom("the handle of an actor can only be deserialized by fdbray");
        if deserializer.is_human_readable() {
            return Err(refused());
        }
        let handle = adopt(ObjectId::deserialize(deserializer)?).ok_or_else(refused)?;
        Ok(Actor::new(handle))
    }
}

/// Calls a method.
pub fn method<R, const N: usize>(
    function: &'static Function,
    actor: &Actor,
    arguments: [Argument; N],
) -> RemoteFuture<R> {
    let handle = actors::call(Template::plain(function), &actor.handle, actor.limit, arguments);
    RemoteFuture::new(handle, Some(function))
}

/// The name of a function of the actor `T`, made by the first who asks.
pub fn name<T>(made: &'static OnceLock<String>, function: &str) -> &'static str {
    made.get_or_init(|| format!("{}::{function}", std::any::type_name::<T>()))
}

/// Ends whatever actor it is called on: the runtime does so after the last method.
static STOP: Function = Function {
    name: || "fdbray::ActorHandle::stop",
    signature: || "fn()",
    file: file!(),
    line: line!(),
    entry: Entry::Sync(stopped),
    role: Role::Stop,
    options: Defaults { cpus: Some(0.0), ..Defaults::NEW },
    template: OnceLock::new(),
};
inventory::submit!(Registered(&STOP));

fn stopped(_: Input) -> Output {
    encode(&()).map_err(|why| crate::Error::encode("the end of an actor", why))
}

/// Saves the state of whatever actor it is called on, which goes to who keeps it. The runtime calls it by itself where
/// checkpoints are due.
static SAVE: Function = Function {
    name: || "fdbray::ActorHandle::checkpoint",
    signature: || "fn()",
    file: file!(),
    line: line!(),
    entry: Entry::Sync(|input| input.save()),
    role: Role::Checkpoint,
    options: Defaults { cpus: Some(0.0), ..Defaults::NEW },
    template: OnceLock::new(),
};
inventory::submit!(Registered(&SAVE));

const ELSEWHERE: &str =
    "the handle of an actor can only be serialized inside an argument, a result or a put of fdbray";
