//! How long the calls of one handle of an actor may take.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// In nanoseconds; [`NONE`] where there is none.
///
/// Atomic, since a trait's method has only the handle that it has just cloned, and of that no more than a shared reference to
/// what is inside. Nobody else has that one yet.
pub(super) struct Limit(AtomicU64);

impl Limit {
    pub fn limit(&self) -> Option<Duration> {
        let nanos = self.0.load(Relaxed);
        (nanos != NONE).then(|| Duration::from_nanos(nanos))
    }

    pub fn set(&self, limit: Duration) {
        // What is longer than centuries is none.
        self.0.store(u64::try_from(limit.as_nanos()).unwrap_or(NONE), Relaxed);
    }
}

impl Default for Limit {
    fn default() -> Self {
        Limit(AtomicU64::new(NONE))
    }
}

impl Clone for Limit {
    fn clone(&self) -> Self {
        Limit(AtomicU64::new(self.0.load(Relaxed)))
    }
}

const NONE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_that_of_its_handle_and_of_the_clones_made_from_then_on() {
        let first = Limit::default();
        let second = first.clone();
        second.set(Duration::from_millis(3));
        let third = second.clone();
        third.set(Duration::ZERO);
        assert_eq!(
            [first.limit(), second.limit(), third.limit()],
            [None, Some(Duration::from_millis(3)), Some(Duration::ZERO)]
        );
    }

    #[test]
    fn one_longer_than_centuries_is_none() {
        let limit = Limit::default();
        limit.set(Duration::MAX);
        assert_eq!(limit.limit(), None);
    }
}
