//! What a task needs and what a worker has: resources in fixed point, and the templates of calls.

use crate::{
    error::Error,
    options::{Checkpoints, Options},
    registry::Role,
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One CPU, GPU or unit of a named resource, in the units of [`Resources`].
pub const ONE: u64 = 10_000;

/// An amount of each resource. CPUs, GPUs and named resources in ten-thousandths, memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// In ten-thousandths.
    pub cpus: u64,
    /// In ten-thousandths.
    pub gpus: u64,
    /// In bytes.
    pub memory: u64,
    /// Sorted by name; in ten-thousandths.
    pub named: Vec<(String, u64)>,
}

impl Resources {
    /// What a call with `options` needs.
    ///
    /// # Errors
    /// An amount that is negative, infinite or not a number.
    pub fn of_options(options: &Options) -> Result<Self, Error> {
        let mut named = Vec::with_capacity(options.resources.len());
        for (name, amount) in &options.resources {
            named.push((name.clone(), fixed(name, *amount)?));
        }
        named.sort();
        Ok(Resources {
            cpus: fixed("cpus", options.cpus.unwrap_or(1.0))?,
            gpus: fixed("gpus", options.gpus.unwrap_or(0.0))?,
            memory: options.memory.unwrap_or(0),
            named,
        })
    }

    /// Whether `shape` fits into this.
    pub fn fits(&self, shape: &Resources) -> bool {
        self.times(shape, 1) > 0
    }

    /// How many of `shape` fit into this, at most `limit`.
    pub fn times(&self, shape: &Resources, limit: u32) -> u32 {
        let mut times = u64::from(limit);
        let mut each = |have: u64, need: u64| {
            if let Some(n) = have.checked_div(need) {
                times = times.min(n);
            }
        };
        each(self.cpus, shape.cpus);
        each(self.gpus, shape.gpus);
        each(self.memory, shape.memory);
        for (name, need) in &shape.named {
            each(self.amount(name), *need);
        }
        times as u32
    }

    /// Takes `shape` out; the caller saw that it fits.
    pub fn take(&mut self, shape: &Resources) {
        self.take_many(shape, 1);
    }

    /// Takes `times` of `shape` out, or what there is.
    pub fn take_many(&mut self, shape: &Resources, times: u32) {
        let all = |need: u64| need.saturating_mul(u64::from(times));
        self.cpus = self.cpus.saturating_sub(all(shape.cpus));
        self.gpus = self.gpus.saturating_sub(all(shape.gpus));
        self.memory = self.memory.saturating_sub(all(shape.memory));
        for (name, need) in &shape.named {
            if let Some(have) = self.named.iter_mut().find(|(n, _)| n == name) {
                have.1 = have.1.saturating_sub(all(*need));
            }
        }
    }

    /// Puts `shape` back.
    pub fn give(&mut self, shape: &Resources) {
        self.give_many(shape, 1);
    }

    /// Puts `times` of `shape` back.
    pub fn give_many(&mut self, shape: &Resources, times: u32) {
        let all = |need: u64| need.saturating_mul(u64::from(times));
        self.cpus = self.cpus.saturating_add(all(shape.cpus));
        self.gpus = self.gpus.saturating_add(all(shape.gpus));
        self.memory = self.memory.saturating_add(all(shape.memory));
        for (name, need) in &shape.named {
            if let Some(have) = self.named.iter_mut().find(|(n, _)| n == name) {
                have.1 = have.1.saturating_add(all(*need));
            }
        }
    }

    /// None of all that this names.
    pub fn nothing(&self) -> Self {
        let named = self.named.iter().map(|(name, _)| (name.clone(), 0)).collect();
        Resources { named, ..Resources::default() }
    }

    /// What of `shape` this can never give, for a person; empty when it fits.
    pub fn lacks(&self, shape: &Resources) -> String {
        let mut said = Vec::new();
        let mut each = |name: &str, have: u64, need: u64, of_one: bool| {
            if need > have {
                said.push(match of_one {
                    true => format!("has {} {name}", decimal(have)),
                    false => format!("has {have} bytes of {name}"),
                });
            }
        };
        each("cpus", self.cpus, shape.cpus, true);
        each("gpus", self.gpus, shape.gpus, true);
        each("memory", self.memory, shape.memory, false);
        for (name, need) in &shape.named {
            each(name, self.amount(name), *need, true);
        }
        said.join(" and ")
    }

    fn amount(&self, name: &str) -> u64 {
        self.named.iter().find(|(n, _)| n == name).map_or(0, |(_, amount)| *amount)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cpus", decimal(self.cpus))?;
        if self.gpus > 0 {
            write!(f, ", {} gpus", decimal(self.gpus))?;
        }
        if self.memory > 0 {
            write!(f, ", {} bytes of memory", self.memory)?;
        }
        for (name, amount) in &self.named {
            write!(f, ", {} {name}", decimal(*amount))?;
        }
        Ok(())
    }
}

fn fixed(name: &str, amount: f64) -> Result<u64, Error> {
    let units = (amount * ONE as f64).round();
    if !(0.0..1e15).contains(&units) {
        return Err(Error::control(format!(
            "a call cannot ask for {amount} {name}: give a number from 0 up"
        )));
    }
    Ok(units as u64)
}

fn decimal(amount: u64) -> String {
    format!("{}", amount as f64 / ONE as f64)
}

/// A function with resolved options, as the core keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateSpec {
    /// The function's place in the registry.
    pub function: u32,
    /// Its stable name.
    pub name: &'static str,
    /// What one attempt holds.
    pub shape: Resources,
    /// Attempts after the first when a worker dies.
    pub retries: u32,
    /// Attempts after one that returned an error or panicked.
    pub retry_errors: u32,
    /// Of a constructor: how often the actor is made again after it was lost.
    pub restarts: u32,
    /// What the function is to an actor.
    pub role: Role,
    /// Of a function of a type with checkpoints: when they are taken.
    pub checkpoints: Option<Checkpoints>,
    /// Whether its output goes to the driver.
    pub logs: bool,
    /// To be run by this very process.
    pub here: bool,
}

/// Templates and shapes that were used, numbered. They are few, and kept for the life of the process.
#[derive(Default)]
pub(super) struct Templates {
    all: Vec<(TemplateSpec, u32)>,
    by_spec: FxHashMap<TemplateSpec, u32>,
    /// With whether they are for this process alone.
    shapes: Vec<(Resources, bool)>,
    /// By function: how long it runs.
    timings: Vec<Timing>,
}

/// What the owner knows about the run time of a function.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    /// Moving average in nanoseconds; zero while nothing is known.
    pub average: u64,
    /// How many are sent ahead for each slot.
    pub ahead: u32,
}

impl Timing {
    pub(super) fn learn(&mut self, ran: u64) {
        self.average = match self.average {
            0 => ran.max(1),
            average => (average * 7 + ran).div_ceil(8),
        };
    }
}

impl Templates {
    pub(super) fn intern(&mut self, spec: TemplateSpec) -> u32 {
        if let Some(index) = self.by_spec.get(&spec) {
            return *index;
        }
        let shape = self.shapes.iter().position(|(s, here)| *s == spec.shape && *here == spec.here);
        let shape = shape.unwrap_or_else(|| {
            self.shapes.push((spec.shape.clone(), spec.here));
            self.shapes.len() - 1
        });
        self.know_function(spec.function);
        let index = self.all.len() as u32;
        self.by_spec.insert(spec.clone(), index);
        self.all.push((spec, shape as u32));
        index
    }

    fn know_function(&mut self, function: u32) {
        let functions = function as usize + 1;
        if self.timings.len() < functions {
            self.timings.resize(functions, Timing::default());
        }
    }

    pub(super) fn spec(&self, template: u32) -> &TemplateSpec {
        &self.all[template as usize].0
    }

    pub(super) fn get(&self, template: u32) -> Option<&TemplateSpec> {
        self.all.get(template as usize).map(|(spec, _)| spec)
    }

    pub(super) fn role_of(&self, template: u32) -> Role {
        self.get(template).map_or(Role::Function, |spec| spec.role)
    }

    pub(super) fn shape_of(&self, template: u32) -> u32 {
        self.all[template as usize].1
    }

    pub(super) fn shape(&self, shape: u32) -> &Resources {
        &self.shapes[shape as usize].0
    }

    /// Whether a shape is for this process alone.
    pub(super) fn is_for_here(&self, shape: u32) -> bool {
        self.shapes[shape as usize].1
    }

    pub(super) fn timing(&mut self, function: u32) -> &mut Timing {
        &mut self.timings[function as usize]
    }

    pub(super) fn timing_of(&mut self, template: u32) -> &mut Timing {
        let function = self.spec(template).function;
        self.timing(function)
    }

    /// How long the function at this place in the registry runs, as far as is known; zero if nothing is.
    pub(super) fn run_time(&self, function: u32) -> u64 {
        self.timings.get(function as usize).map_or(0, |t| t.average)
    }

    /// A worker learns from what it ran for others.
    pub(super) fn ran_here(&mut self, function: u32, ran: u64) {
        // The number came from a peer.
        if function < 1 << 20 {
            self.know_function(function);
            self.timings[function as usize].learn(ran);
        }
    }

    pub(super) fn ahead(&self, function: u32) -> u32 {
        self.timings[function as usize].ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_add_up_exactly() {
        let tenth = Resources::of_options(&Options { cpus: Some(0.1), ..Options::default() }).unwrap();
        let mut one = Resources { cpus: ONE, ..Resources::default() };
        assert_eq!(one.times(&tenth, 100), 10);
        for _ in 0..10 {
            one.take(&tenth);
        }
        assert!(!one.fits(&tenth));
        one.give(&tenth);
        assert!(one.fits(&tenth));
    }

    #[test]
    fn what_is_lacking_is_named() {
        let shape = Resources { cpus: 4 * ONE, named: vec![("tpu".into(), ONE)], ..Resources::default() };
        let have = Resources { cpus: 2 * ONE, ..Resources::default() };
        assert_eq!(have.lacks(&shape), "has 2 cpus and has 0 tpu");
        assert_eq!(shape.to_string(), "4 cpus, 1 tpu");
        assert!(Resources::of_options(&Options { gpus: Some(-1.0), ..Options::default() }).is_err());
    }
}
