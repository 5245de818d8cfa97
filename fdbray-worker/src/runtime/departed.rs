//! Processes that are gone, the last ones. Ids are not used again.

use crate::id::ProcessId;
use rustc_hash::FxHashSet;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Their ids.
#[derive(Default)]
pub(super) struct Departed(Mutex<Ids>);

#[derive(Default)]
struct Ids {
    all: FxHashSet<ProcessId>,
    order: VecDeque<ProcessId>,
}

impl Departed {
    pub fn add(&self, id: ProcessId) {
        let mut ids = self.ids();
        if ids.all.insert(id) {
            ids.order.push_back(id);
        }
        if ids.order.len() > MOST
            && let Some(oldest) = ids.order.pop_front()
        {
            ids.all.remove(&oldest);
        }
    }

    pub fn contains(&self, id: ProcessId) -> bool {
        self.ids().all.contains(&id)
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of older ones it is found out again, more slowly, that they are gone.
const MOST: usize = 4096;
