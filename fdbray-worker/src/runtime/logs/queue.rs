//! A bounded queue that never makes its writers wait: what does not fit is counted and dropped.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

pub(super) struct Queue<T> {
    /// The most bytes kept.
    limit: usize,
    state: Mutex<State<T>>,
    more: Condvar,
}

struct State<T> {
    items: Vec<T>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(limit: usize) -> Self {
        let state = State { items: Vec::new(), bytes: 0, dropped: 0, closed: false };
        Queue { limit, state: Mutex::new(state), more: Condvar::new() }
    }

    /// Adds an item of about so many bytes, or drops it.
    pub(super) fn push(&self, item: T, bytes: usize) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        // Once something was dropped, all is until the reader came, so that the gap is one and in one place.
        if state.dropped > 0 || state.bytes + bytes > self.limit {
            state.dropped += 1;
            return;
        }
        let first = state.items.is_empty();
        state.bytes += bytes;
        state.items.push(item);
        drop(state);
        if first {
            self.more.notify_one();
        }
    }

    /// Waits for items; with how many were dropped after them. `None` once it is closed and empty.
    pub(super) fn take(&self) -> Option<(Vec<T>, u64)> {
        let empty = |s: &mut State<T>| s.items.is_empty() && s.dropped == 0 && !s.closed;
        let mut state = self.more.wait_while(self.state(), empty).unwrap_or_else(PoisonError::into_inner);
        let taken = (mem::take(&mut state.items), mem::take(&mut state.dropped));
        state.bytes = 0;
        (!taken.0.is_empty() || taken.1 > 0).then_some(taken)
    }

    /// Takes nothing more; the reader gets what is in it and then `None`.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.more.notify_all();
    }

    /// Whole after a panic: nothing of the callers' runs under it.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_the_gap_is_in_one_place() {
        let queue = Queue::new(10);
        for (item, bytes) in [(1, 6), (2, 4), (3, 6), (4, 1)] {
            queue.push(item, bytes);
        }
        assert_eq!(queue.take(), Some((vec![1, 2], 2)));
        queue.push(5, 10);
        queue.close();
        queue.push(6, 1);
        assert_eq!((queue.take(), queue.take()), (Some((vec![5], 0)), None));
    }
}
