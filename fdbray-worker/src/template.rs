//! A remote function together with options, resolved once and used for many calls.

use crate::{core::Gate, options::Options, registry::Function};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A remote function together with options for its calls. Cheap to clone.
#[derive(Clone)]
pub struct Template(Arc<Inner>);

struct Inner {
    function: &'static Function,
    options: Options,
    gate: Option<Gate>,
    /// The number that this process's core gave it.
    index: OnceLock<u32>,
}

impl Template {
    /// `function` with `options`; what they leave open, the function's attribute says. `gate` bounds how many of the calls
    /// are under way at once.
    pub fn new(function: &'static Function, options: Options, gate: Option<Gate>) -> Self {
        let said = function.options;
        let named = said.resources.iter().map(|(name, n)| ((*name).to_owned(), *n));
        let options = Options {
            cpus: options.cpus.or(said.cpus),
            gpus: options.gpus.or(said.gpus),
            memory: options.memory.or(said.memory),
            resources: if options.resources.is_empty() { named.collect() } else { options.resources },
            retries: options.retries.or(said.retries),
            retry_errors: options.retry_errors.or(said.retry_errors),
            deadline: options.deadline,
            logs: options.logs.or(said.logs),
            place: options.place,
            durable: options.durable.or_else(|| said.durable.then(Default::default)),
            max_restarts: options.max_restarts.or(said.max_restarts),
        };
        Template(Arc::new(Inner { function, options, gate, index: OnceLock::new() }))
    }

    /// `function` as its attribute says.
    pub fn plain(function: &'static Function) -> &'static Self {
        function.template.get_or_init(|| Template::new(function, Options::default(), None))
    }

    /// The function.
    pub fn function(&self) -> &'static Function {
        self.0.function
    }

    /// The options, with the attribute's filled in.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// From submission to result.
    pub fn deadline(&self) -> Option<Duration> {
        self.0.options.deadline
    }

    pub(crate) fn gate(&self) -> Option<Gate> {
        self.0.gate
    }

    /// Whether the cluster owns the futures of these calls.
    pub fn is_durable(&self) -> bool {
        self.0.options.durable.is_some()
    }

    /// The number that this process's core gave it.
    pub(crate) fn index(&self) -> &OnceLock<u32> {
        &self.0.index
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", (self.0.function.name)())
    }
}
