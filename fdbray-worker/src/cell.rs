//! What a future's handles share with the core: its outcome once there is one, and who waits for it until then.

use crate::{error::Error, id::ObjectId, payload::Payload};
use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// How a future ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a value, whose bytes are in this process.
    Value(Payload),
    /// With a value whose bytes are elsewhere and can be fetched.
    Stored {
        /// Bytes.
        len: u64,
    },
    /// With an error.
    Failed(Arc<Error>),
}

/// One future in one process. The core settles it once; handles read it without the core's lock.
pub struct Cell {
    id: ObjectId,
    /// Handles in user code. The core's own reference does not count.
    handles: AtomicU32,
    /// Whether the core was told that somebody here wants the value.
    asked: AtomicBool,
    /// Taken for a few instructions at a time, by the core while it holds its own lock and by waiters alone.
    state: Mutex<State>,
}

enum State {
    Pending(Waiters),
    Settled(Outcome, Waiters),
}

impl Cell {
    /// A pending future without handles.
    pub fn pending(id: ObjectId) -> Arc<Self> {
        Self::with(id, State::Pending(Waiters::default()))
    }

    /// A future that has ended already.
    pub fn settled(id: ObjectId, outcome: Outcome) -> Arc<Self> {
        Self::with(id, State::Settled(outcome, Waiters::default()))
    }

    fn with(id: ObjectId, state: State) -> Arc<Self> {
        Arc::new(Cell {
            id,
            handles: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    /// The object.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        match &*self.state() {
            State::Pending(_) => None,
            State::Settled(outcome, _) => Some(outcome.clone()),
        }
    }

    /// Whether it has ended.
    pub fn is_settled(&self) -> bool {
        matches!(&*self.state(), State::Settled(..))
    }

    /// Whether it has ended with a value whose bytes are elsewhere.
    pub fn is_stored(&self) -> bool {
        matches!(&*self.state(), State::Settled(Outcome::Stored { .. }, _))
    }

    /// Whether it has ended, and with which error if with one. Cheaper than the outcome.
    pub fn ended(&self) -> Option<Result<(), Arc<Error>>> {
        match &*self.state() {
            State::Pending(_) => None,
            State::Settled(Outcome::Failed(error), _) => Some(Err(error.clone())),
            State::Settled(..) => Some(Ok(())),
        }
    }

    /// Bytes of its value, if it has one of more than `inline`, and whether they are here. Cheaper than the outcome.
    pub fn large(&self, inline: usize) -> Option<(u64, bool)> {
        match &*self.state() {
            State::Settled(Outcome::Value(value), _) if value.is_large(inline) => {
                Some((value.len() as u64, true))
            }
            State::Settled(Outcome::Stored { len }, _) => Some((*len, false)),
            _ => None,
        }
    }

    /// Sets the outcome and returns who waited for it. A second outcome replaces the first only where it brings the
    /// bytes of a stored value, or says that they are lost; anything else is ignored.
    pub fn settle(&self, outcome: Outcome) -> Waiters {
        let mut state = self.state();
        match &mut *state {
            State::Pending(waiters) => {
                let waiters = mem::take(waiters);
                *state = State::Settled(outcome, Waiters::default());
                waiters
            }
            State::Settled(now @ Outcome::Stored { .. }, waiters) => {
                *now = outcome;
                mem::take(waiters)
            }
            State::Settled(..) => Waiters::default(),
        }
    }

    /// Makes a stored value pending again, because it has to be computed again.
    pub fn reopen(&self) {
        let mut state = self.state();
        if let State::Settled(Outcome::Stored { .. }, waiters) = &mut *state {
            *state = State::Pending(mem::take(waiters));
        }
    }

    /// Takes a value back whose bytes are about to leave this process's memory: from here on it is stored, and whoever wants
    /// it asks again.
    pub fn withdraw(&self) -> Option<Payload> {
        let mut state = self.state();
        let State::Settled(outcome @ Outcome::Value(_), _) = &mut *state else { return None };
        let Outcome::Value(value) = mem::replace(outcome, Outcome::Stored { len: 0 }) else { return None };
        *outcome = Outcome::Stored { len: value.len() as u64 };
        self.forget_ask();
        Some(value)
    }

    /// The outcome in this process, or registers `waker`. A stored value is not here yet: see [`Cell::first_ask`].
    pub fn poll_local(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.state();
        match &mut *state {
            State::Settled(outcome @ (Outcome::Value(_) | Outcome::Failed(_)), _) => {
                Poll::Ready(outcome.clone())
            }
            State::Settled(_, waiters) | State::Pending(waiters) => {
                waiters.add_waker(cx.waker());
                Poll::Pending
            }
        }
    }

    /// The outcome, wherever a stored value is, or registers `waker`.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self.state() {
            State::Settled(outcome, _) => Poll::Ready(outcome.clone()),
            State::Pending(waiters) => {
                waiters.add_waker(cx.waker());
                Poll::Pending
            }
        }
    }

    /// Whether this is the first time that somebody here wants the value.
    pub fn first_ask(&self) -> bool {
        !self.asked.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Whether somebody here wants the bytes.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Lets the next wish for the value reach the core again.
    pub fn forget_ask(&self) {
        self.asked.store(false, Ordering::Release);
    }

    /// Counts one handle more.
    pub fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one handle less; true for the last.
    pub fn drop_handle(&self) -> bool {
        self.handles.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Handles in user code.
    pub fn handles(&self) -> u32 {
        self.handles.load(Ordering::Acquire)
    }

    /// Tells `set` about the end of this future, by `token`; at once if it has ended.
    pub fn watch(&self, set: &Arc<WaitSet>, token: u64) {
        {
            let mut state = self.state();
            if let State::Pending(waiters) = &mut *state {
                waiters.0.push(Waiter::Set(set.clone(), token));
                return;
            }
        }
        set.ready(token);
    }

    /// Takes `set` off the list of who waits.
    pub fn unwatch(&self, set: &Arc<WaitSet>) {
        if let State::Pending(waiters) = &mut *self.state() {
            waiters.0.retain(|w| !matches!(w, Waiter::Set(s, _) if Arc::ptr_eq(s, set)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic; a poisoned lock still holds a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.id, if self.is_settled() { "settled" } else { "pending" })
    }
}

/// Who waits for one future. Woken after the core's lock is released.
#[derive(Default)]
pub struct Waiters(Vec<Waiter>);

enum Waiter {
    Waker(Waker),
    Set(Arc<WaitSet>, u64),
}

impl Waiters {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Wakes them all.
    pub fn wake(self) {
        for waiter in self.0 {
            match waiter {
                Waiter::Waker(waker) => waker.wake(),
                Waiter::Set(set, token) => set.ready(token),
            }
        }
    }

    /// Adds all of `other`.
    pub fn append(&mut self, mut other: Waiters) {
        if self.0.is_empty() { *self = other } else { self.0.append(&mut other.0) }
    }

    fn add_waker(&mut self, waker: &Waker) {
        if !self.0.iter().any(|w| matches!(w, Waiter::Waker(w) if w.will_wake(waker))) {
            self.0.push(Waiter::Waker(waker.clone()));
        }
    }
}

/// Waits for many futures at a constant cost for each that ends.
#[derive(Default)]
pub struct WaitSet(Mutex<Ready>);

#[derive(Default)]
struct Ready {
    tokens: VecDeque<u64>,
    waker: Option<Waker>,
}

impl WaitSet {
    /// A set that watches nothing yet; add futures with `Handle::watch`.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The token of the next future that ended.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<u64> {
        let mut ready = self.lock();
        match ready.tokens.pop_front() {
            Some(token) => Poll::Ready(token),
            None => {
                if !ready.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    ready.waker = Some(cx.waker().clone());
                }
                crate::exec::note_waiting();
                Poll::Pending
            }
        }
    }

    fn ready(&self, token: u64) {
        let waker = {
            let mut ready = self.lock();
            ready.tokens.push_back(token);
            ready.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for WaitSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WaitSet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ProcessId;

    fn cell() -> Arc<Cell> {
        Cell::pending(ObjectId { owner: ProcessId::new(1).unwrap(), seq: 1 })
    }

    fn value(bytes: &[u8]) -> Outcome {
        Outcome::Value(Payload::copy_from(bytes))
    }

    #[test]
    fn the_first_outcome_stays() {
        let cell = cell();
        cell.settle(value(b"first")).wake();
        cell.settle(value(b"second")).wake();
        assert!(matches!(cell.outcome(), Some(Outcome::Value(v)) if v.head() == b"first"));
    }

    #[test]
    fn a_stored_value_is_ended_but_not_here_until_its_bytes_come() {
        let cell = cell();
        cell.settle(Outcome::Stored { len: 3 }).wake();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(cell.is_settled() && cell.poll_local(&mut cx).is_pending());
        assert!(cell.first_ask() && !cell.first_ask());
        assert!(!cell.settle(value(b"abc")).is_empty());
        assert!(cell.poll_local(&mut cx).is_ready());
    }

    #[test]
    fn a_set_hears_of_each_future_once_whether_it_ended_before_or_after() {
        let (a, b, c) = (cell(), cell(), cell());
        let set = WaitSet::new();
        a.settle(value(b"")).wake();
        for (token, cell) in [&a, &b, &c].into_iter().enumerate() {
            cell.watch(&set, token as u64);
        }
        c.unwatch(&set);
        c.settle(value(b"")).wake();
        b.settle(value(b"")).wake();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(set.poll_next(&mut cx), Poll::Ready(0));
        assert_eq!(set.poll_next(&mut cx), Poll::Ready(1));
        assert_eq!(set.poll_next(&mut cx), Poll::Pending);
    }
}
