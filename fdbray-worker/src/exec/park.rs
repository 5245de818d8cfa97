//! Threads that wait for futures: inside a task they give the slot back, or run what they wait for themselves.

use super::{
    boundary::run_inline,
    context::{Current, running, take_waiting},
    pool::{call_put_off, report_rest_of_this_thread},
};
use crate::{
    cell::{Cell, Outcome},
    core::{Finished, message::TaskName},
    error::{Error, Result},
    handle::Handle,
    payload::Payload,
    runtime::{self, Process},
};
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};

/// How many awaited children run on one stack, one below the other.
pub(super) const DEEPEST: u32 = 48;

/// Blocks this thread until the value's bytes are in this process.
pub(crate) fn wait(cell: &Arc<Cell>) -> Result<Payload> {
    let mut value = bytes_of(cell);
    let Some((current, process)) = running().and_then(|c| Some((c, runtime::process()?))) else {
        return block_thread_on(value);
    };
    while !cell.is_settled() && current.depth < DEEPEST {
        let Some(steal) = process.steal(cell.id(), current.slot) else { break };
        let (key, id, attempt, function) = (steal.key, steal.id, steal.attempt, steal.function);
        let began = Instant::now();
        let ended = run_inline(process.registry(), current, steal, process.me());
        let ran = began.elapsed().as_nanos() as u64;
        let mut handles = Vec::new();
        let outcome = ended.map(|(value, inside)| {
            handles = inside;
            (value, handles.iter().map(Handle::id).collect())
        });
        let task = TaskName { lease: 0, number: 0 };
        process.finish_inline(key, Finished { task, id, attempt, function, ran, outcome });
        drop(handles);
    }
    // What is there already costs no slot.
    match pin!(&mut value).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => while_blocked(process, current, || block_thread_on(value))?,
    }
}

/// The same for at most `limit`; `None` when they have not come by then. The task that makes the value is left to others,
/// since it may take longer.
pub(crate) fn wait_timeout(cell: &Arc<Cell>, limit: Duration) -> Result<Option<Payload>> {
    let until = Instant::now().checked_add(limit);
    let mut value = bytes_of(cell);
    match pin!(&mut value).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => return value.map(Some),
        Poll::Pending if limit.is_zero() => return Ok(None),
        Poll::Pending => {}
    }
    let blocked = || block_thread_until(value, until);
    match running().and_then(|c| Some((c, runtime::process()?))) {
        None => blocked(),
        Some((current, process)) => while_blocked(process, current, blocked)?,
    }
    .transpose()
}

/// Ends with the value's bytes, or what became of it.
fn bytes_of(cell: &Arc<Cell>) -> impl Future<Output = Result<Payload>> + Unpin {
    let mut asked = false;
    std::future::poll_fn(move |cx| match cell.poll_local(cx) {
        Poll::Ready(Outcome::Value(value)) => Poll::Ready(Ok(value)),
        Poll::Ready(Outcome::Failed(error)) => Poll::Ready(Err(Error::from(error))),
        Poll::Ready(Outcome::Stored { .. }) | Poll::Pending => {
            // What came may have left this process's memory again before this thread saw it.
            if !std::mem::replace(&mut asked, true) || cell.is_stored() {
                runtime::ask(cell);
            }
            Poll::Pending
        }
    })
}

/// Drives an async child of a sync task on this thread.
pub(super) fn block_on<T>(parent: Current, future: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(process) = runtime::process() else { return Err(Error::Shutdown) };
    let mut future = pin!(future);
    with_thread_waker(|cx| {
        loop {
            take_waiting();
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => return value,
                Poll::Pending if take_waiting() => while_blocked(process, parent, std::thread::park)?,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}

/// Runs `wait` while the task's slot serves others.
///
/// # Errors
/// So many tasks wait already that no thread would be left for what they wait for.
fn while_blocked<R>(process: &Arc<Process>, current: Current, wait: impl FnOnce() -> R) -> Result<R> {
    if !process.pool().park() {
        return Err(Error::control(format!(
            "`{}` cannot wait for a future here: too many sync tasks of this worker wait already (`max_parked`); make \
             them async functions, which wait without a thread, or raise `max_parked`",
            (current.function.name)()
        )));
    }
    report_rest_of_this_thread(process);
    call_put_off(process);
    process.block(current.slot);
    let got = wait();
    with_thread_waker(|cx| {
        while !process.unblock(current.slot, cx.waker()) {
            std::thread::park();
        }
    });
    process.pool().unpark();
    Ok(got)
}

fn block_thread_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    with_thread_waker(|cx| {
        loop {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}

/// The same until a point in time.
fn block_thread_until<T>(future: impl Future<Output = T>, until: Option<Instant>) -> Option<T> {
    let Some(until) = until else { return Some(block_thread_on(future)) };
    let mut future = pin!(future);
    with_thread_waker(|cx| {
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Some(value);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    })
}

fn with_thread_waker<R>(f: impl FnOnce(&mut Context<'_>) -> R) -> R {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }
    thread_local!(static WAKER: Waker = Arc::new(Unpark(std::thread::current())).into());
    let waker = WAKER.with(Clone::clone);
    f(&mut Context::from_waker(&waker))
}
