//! Where the state of an actor is. The runtime runs nothing beside a method that takes `&mut self`; these locks make that
//! safe and are never waited for.

use super::checkpoint::Lasting;
use crate::{Error, Result, encoding::encode};
use fdbray_worker::{
    actors,
    exec::{Input, Save, State},
    registry::{Function, Output},
};
use std::{fmt, sync::Arc};
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How entry points get at states of one type. Made once for each actor, so that a type that cannot be a state is told
/// once.
pub struct Access<C> {
    /// The state of the actor whose method is called.
    pub of: fn(&Input) -> Result<Arc<C>>,
    install: fn(C, Option<Save>, &'static Function) -> Output,
    lasting: Option<Lasting<C>>,
}

/// For an actor whose methods all run alone.
pub const fn state_of_an_actor<T: Send + 'static>() -> Access<Alone<T>> {
    Access { of: |input| input.actor(), install, lasting: None }
}

/// For an actor that has methods with `&self`, which run beside each other.
pub const fn state_of_an_actor_with_shared_methods<T: Send + Sync + 'static>() -> Access<Together<T>> {
    Access { of: |input| input.actor(), install, lasting: None }
}

impl<C> Access<C> {
    /// The same, for an actor with checkpoints.
    #[must_use]
    pub const fn lasting(self, lasting: Lasting<C>) -> Self {
        Access { of: self.of, install: self.install, lasting: Some(lasting) }
    }

    /// Makes `state` that of the actor whose constructor runs.
    ///
    /// # Errors
    /// No constructor runs on this thread.
    pub fn install(&self, state: C, function: &'static Function) -> Output {
        (self.install)(state, self.lasting.as_ref().map(|lasting| lasting.save), function)
    }

    /// Makes the actor of what was saved, if that is how it is to be made: the constructor's answer then.
    pub fn restored(&self, input: &Input, function: &'static Function) -> Option<Output> {
        let state = match (input.saved(), &self.lasting) {
            (Ok(Some(state)), Some(lasting)) => (lasting.restore)(&state),
            (Err(error), _) => Err(error),
            _ => return None,
        };
        Some(state.and_then(|state| self.install(state, function)))
    }
}

/// The state of an actor whose methods all run alone; it need not be `Sync`.
pub struct Alone<T>(Mutex<T>);

impl<T> Alone<T> {
    /// Holds `state`.
    pub fn new(state: T) -> Self {
        Alone(Mutex::new(state))
    }

    /// For a method that runs alone.
    ///
    /// # Errors
    /// Another one runs.
    pub fn exclusive(&self, function: &'static Function) -> Result<MutexGuard<'_, T>> {
        self.0.try_lock().map_err(|_| contended(function))
    }

    /// What `save` makes of it.
    pub(super) fn saved(&self, save: fn(&T) -> Output) -> Output {
        save(&*self.0.try_lock().map_err(|_| contended(&super::SAVE))?)
    }
}

/// The state of an actor that has methods which run beside each other.
pub struct Together<T>(RwLock<T>);

impl<T> Together<T> {
    /// Holds `state`.
    pub fn new(state: T) -> Self {
        Together(RwLock::new(state))
    }

    /// For a method that runs alone.
    ///
    /// # Errors
    /// Another one runs.
    pub fn exclusive(&self, function: &'static Function) -> Result<RwLockWriteGuard<'_, T>> {
        self.0.try_write().map_err(|_| contended(function))
    }

    /// For a method that runs beside others.
    ///
    /// # Errors
    /// One runs that is to run alone.
    pub fn shared(&self, function: &'static Function) -> Result<RwLockReadGuard<'_, T>> {
        self.0.try_read().map_err(|_| contended(function))
    }

    /// What `save` makes of it.
    pub(super) fn saved(&self, save: fn(&T) -> Output) -> Output {
        save(&*self.shared(&super::SAVE)?)
    }
}

impl<C> fmt::Debug for Access<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

impl<T> fmt::Debug for Alone<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alone")
    }
}

impl<T> fmt::Debug for Together<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Together")
    }
}

fn install<C: Send + Sync + 'static>(cell: C, save: Option<Save>, function: &'static Function) -> Output {
    actors::install(State { value: Arc::new(cell), save })?;
    encode(&()).map_err(|why| Error::encode(format!("the result of `{}`", (function.name)()), why))
}

fn contended(function: &'static Function) -> Error {
    Error::control(format!(
        "`{}` was to run beside a method of its actor that runs alone: this is a bug in fdbray, please report it",
        (function.name)()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn who_runs_alone_is_alone() {
        let together = Together::new(1);
        let function = &super::super::STOP;
        {
            let (one, other) = (together.shared(function).unwrap(), together.shared(function).unwrap());
            assert_eq!(*one + *other, 2);
            let error = together.exclusive(function).expect_err("others run").to_string();
            assert!(error.contains("stop") && error.contains("a bug in fdbray"), "{error}");
        }
        *together.exclusive(function).unwrap() += 1;
        let alone = together.exclusive(function).unwrap();
        assert!(together.shared(function).is_err() && together.exclusive(function).is_err());
        assert_eq!(*alone, 2);
    }

    #[test]
    fn a_state_whose_methods_all_run_alone_need_not_be_sync() {
        let alone = Arc::new(Alone::new(Cell::new(1)));
        let there = alone.clone();
        std::thread::spawn(move || there.exclusive(&super::super::STOP).unwrap().set(2)).join().unwrap();
        let state = alone.exclusive(&super::super::STOP).unwrap();
        assert!(alone.exclusive(&super::super::STOP).is_err());
        assert_eq!(state.get(), 2);
    }
}
