//! Options for the creation of an actor, without its type.

use super::{Actor, ActorHandle};
use crate::{ProcessId, RemoteFuture, Result, encoding::Described};
use fdbray_worker::{
    exec::Argument,
    options::{At, Options, Place},
    registry::Function,
    runtime::{
        self,
        durable::{self, NewActor},
    },
    template::Template,
};
use std::{
    any::type_name,
    fmt,
    pin::Pin,
    ptr,
    sync::OnceLock,
    task::{Context, Poll},
};

/// What `options()` of an actor's type holds. What the methods mean is said on those of that type's options.
#[derive(Clone, Default)]
pub struct Creation {
    /// `None` where all is as the constructor's attribute says.
    options: Option<Box<Options>>,
    name: Option<String>,
    detached: bool,
    /// Resolved by the first creation, for its constructor.
    template: OnceLock<Template>,
}

impl Creation {
    /// All as the constructor's attribute says.
    pub const fn new() -> Self {
        Creation { options: None, name: None, detached: false, template: OnceLock::new() }
    }

    /// CPUs.
    pub fn cpus(&mut self, n: f64) {
        self.set(|options| options.cpus = Some(n));
    }

    /// GPUs.
    pub fn gpus(&mut self, n: f64) {
        self.set(|options| options.gpus = Some(n));
    }

    /// Bytes.
    pub fn memory(&mut self, bytes: u64) {
        self.set(|options| options.memory = Some(bytes));
    }

    /// A named resource.
    pub fn resource(&mut self, name: String, n: f64) {
        self.set(|options| {
            options.resources.retain(|(other, _)| *other != name);
            options.resources.push((name, n));
        });
    }

    /// Attempts of the constructor after the first.
    pub fn retries(&mut self, n: u32) {
        self.set(|options| options.retries = Some(n));
    }

    /// Attempts of the constructor after one that failed.
    pub fn retry_errors(&mut self, n: u32) {
        self.set(|options| options.retry_errors = Some(n));
    }

    /// How often it is made again.
    pub fn max_restarts(&mut self, n: u32) {
        self.set(|options| options.max_restarts = Some(n));
    }

    /// Its name in the cluster.
    pub fn name(&mut self, name: String) {
        self.name = Some(name);
    }

    /// The cluster owns it.
    pub fn detached(&mut self) {
        self.detached = true;
    }

    /// Whether what the constructor prints is shown.
    pub fn logs(&mut self, on: bool) {
        self.set(|options| options.logs = Some(on));
    }

    /// Rather beside a value, or, if it is `hard`, nowhere else.
    pub fn near<T>(&mut self, future: &RemoteFuture<T>, hard: bool) {
        let at = At::Value(future.handle().clone());
        self.set(|options| options.place = Some(Place { at, hard }));
    }

    /// Rather in this process, or, if it is `hard`, nowhere else.
    pub fn on(&mut self, member: ProcessId, hard: bool) {
        self.set(|options| options.place = Some(Place { at: At::Process(member), hard }));
    }

    /// How the arguments of the creation are to be encoded, on this thread as long as what this returns lives.
    pub fn encoding(&self) -> impl Drop + use<> {
        Described::set(self.detached)
    }

    /// Makes an actor of type `A` by its `constructor`.
    pub fn create<A, const N: usize>(
        &self,
        constructor: &'static Function,
        arguments: [Argument; N],
    ) -> Actor {
        let template = self.template(constructor);
        if self.name.is_none() && !self.detached {
            return Actor::new(runtime::submit(&template, arguments));
        }
        Actor::new(durable::create_actor(self.new_actor::<A>(&template), arguments))
    }

    /// The actor that has the name, or one made so.
    pub fn get_or_create<A, H: ActorHandle, const N: usize>(
        &self,
        constructor: &'static Function,
        arguments: [Argument; N],
    ) -> Creating<H> {
        let template = self.template(constructor);
        let handle = durable::get_or_create(self.new_actor::<A>(&template), arguments);
        Creating(Box::pin(async move { Ok(H::__of(Actor::new(handle.await?))) }))
    }

    fn new_actor<'a, A>(&'a self, template: &'a Template) -> NewActor<'a> {
        let (name, detached) = (self.name.as_deref(), self.detached);
        NewActor { template, type_name: type_name::<A>(), name, detached }
    }

    fn template(&self, constructor: &'static Function) -> Template {
        let Some(options) = &self.options else { return Template::plain(constructor).clone() };
        let new = || Template::new(constructor, Options::clone(options), None);
        let template = self.template.get_or_init(new);
        if ptr::eq(template.function(), constructor) { template.clone() } else { new() }
    }

    fn set(&mut self, change: impl FnOnce(&mut Options)) {
        change(self.options.get_or_insert_default());
        self.template = OnceLock::new();
    }
}

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.options {
            Some(options) => options.fmt(f)?,
            None => f.write_str("as the constructor says")?,
        }
        if let Some(name) = &self.name {
            write!(f, ", named `{name}`")?;
        }
        if self.detached { f.write_str(", detached") } else { Ok(()) }
    }
}

/// The future of an actor that is looked up by its name, and made if nobody has that. Borrows nothing.
#[must_use = "futures do nothing unless awaited"]
pub struct Creating<H>(Pin<Box<dyn Future<Output = Result<H>> + Send>>);

impl<H> Future for Creating<H> {
    type Output = Result<H>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<H>> {
        self.0.as_mut().poll(cx)
    }
}

impl<H> fmt::Debug for Creating<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Creating")
    }
}
