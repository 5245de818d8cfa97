//! Options for the creation of an actor, without its type.

use super::Actor;
use crate::{ProcessId, RemoteFuture};
use fdbray_worker::{
    exec::Argument,
    options::{At, Options, Place},
    registry::Function,
    runtime,
    template::Template,
};
use std::{fmt, ptr, sync::OnceLock};

/// What `options()` of an actor's type holds. What the methods mean is said on those of that type's options.
#[derive(Clone, Default)]
pub struct Creation {
    /// `None` where all is as the constructor's attribute says.
    options: Option<Box<Options>>,
    /// Resolved by the first creation, for its constructor.
    template: OnceLock<Template>,
}

impl Creation {
    /// All as the constructor's attribute says.
    pub const fn new() -> Self {
        Creation { options: None, template: OnceLock::new() }
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

    /// Makes an actor by its `constructor`.
    pub fn create<const N: usize>(&self, constructor: &'static Function, arguments: [Argument; N]) -> Actor {
        let Some(options) = &self.options else {
            return Actor::new(runtime::submit(Template::plain(constructor), arguments));
        };
        let new = || Template::new(constructor, Options::clone(options), None);
        let template = self.template.get_or_init(new);
        let handle = if ptr::eq(template.function(), constructor) {
            runtime::submit(template, arguments)
        } else {
            runtime::submit(&new(), arguments)
        };
        Actor::new(handle)
    }

    fn set(&mut self, change: impl FnOnce(&mut Options)) {
        change(self.options.get_or_insert_default());
        self.template = OnceLock::new();
    }
}

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.options {
            Some(options) => options.fmt(f),
            None => f.write_str("as the constructor says"),
        }
    }
}
