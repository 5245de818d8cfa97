//! The panic boundary: user code runs behind it, and whatever it does becomes an outcome.

use super::context::{Current, within};
use crate::{
    core::{Steal, TaskKey},
    error::Error,
    exec::{Input, Source, State},
    handle::Handle,
    id::ProcessId,
    payload::{Encoded, Payload},
    registry::{Entry, Output, OutputFuture, Registry, Role},
    runtime,
};
use bytes::Bytes;
use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::RefCell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::Once,
    task::{Context, Poll, Waker},
};

/// What became of one run.
pub(crate) enum Ran {
    /// It ended; the handles inside the value must live until the core was told.
    Ended(Result<(Payload, Vec<Handle>), Error>),
    /// It is async and not done.
    Pending(OutputFuture),
}

/// A task as the boundary needs it.
pub(crate) struct Call {
    pub arguments: Payload,
    pub futures: Vec<Payload>,
    pub key: TaskKey,
    /// The state of the actor that is called.
    pub state: Option<State>,
    /// What a constructor makes an actor from in place of its arguments.
    pub checkpoint: Option<Box<Bytes>>,
}

/// Enters the function: a sync one runs to its end, an async one up to its first pause.
pub(crate) fn enter(current: Current, call: Call) -> Ran {
    let function = current.function;
    let input = Input::new(function, call.arguments, call.futures, Source::Task(call.key.get()));
    let input = input.of_actor(call.state).from_checkpoint(call.checkpoint);
    match function.entry {
        Entry::Sync(entry) => {
            let output = within(current, || catch_unwind(AssertUnwindSafe(|| entry(input))));
            Ran::Ended(ended(current, output))
        }
        Entry::Async(entry) => {
            let made = within(current, || {
                catch_unwind(AssertUnwindSafe(|| {
                    let mut future = entry(input);
                    // Polled again with a real waker when it is not done, so that this one need not wake.
                    let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    (future, polled)
                }))
            });
            match made {
                Ok((future, Poll::Pending)) => Ran::Pending(future),
                Ok((future, Poll::Ready(output))) => {
                    drop_quietly(future);
                    Ran::Ended(ended(current, Ok(output)))
                }
                Err(panic) => Ran::Ended(ended(current, Err(panic))),
            }
        }
    }
}

/// Polls an async task behind the boundary.
pub(crate) fn poll(current: Current, future: &mut OutputFuture, cx: &mut Context<'_>) -> Poll<Ended> {
    let polled = within(current, || catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))));
    match polled {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(ended(current, Ok(output))),
        Err(panic) => Poll::Ready(ended(current, Err(panic))),
    }
}

/// The outcome of one run.
pub(crate) type Ended = Result<(Payload, Vec<Handle>), Error>;

/// Drops a future of the user's, whose destructors may panic.
pub(crate) fn drop_quietly(future: OutputFuture) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        forget(panic);
    }
}

/// Runs a task that the current one awaits, on its stack. An async one is driven to its end by this thread.
pub(crate) fn run_inline(registry: &Registry, parent: Current, steal: Steal, worker: ProcessId) -> Ended {
    let Some(function) = registry.get(steal.function) else {
        return Err(not_registered(steal.function, worker));
    };
    let current = Current {
        id: steal.id,
        attempt: steal.attempt,
        function,
        worker,
        root: steal.root,
        key: steal.key,
        slot: parent.slot,
        depth: parent.depth + 1,
        described: steal.arguments.is_described(),
    };
    let Steal { arguments, futures, key, .. } = steal;
    let call = Call { arguments, futures, key, state: None, checkpoint: None };
    match enter(current, call) {
        Ran::Ended(ended) => ended,
        Ran::Pending(mut future) => {
            super::park::block_on(parent, std::future::poll_fn(|cx| poll(current, &mut future, cx)))
        }
    }
}

/// What is said when a binary lacks a function.
pub(crate) fn not_registered(function: u32, worker: ProcessId) -> Error {
    Error::NotRegistered { function: format!("number {function}"), worker, passed: Default::default() }
}

fn ended(current: Current, output: Result<Output, Box<dyn Any + Send>>) -> Ended {
    let function = || (current.function.name)();
    match output {
        // What is saved goes into a message at once.
        Ok(Ok(Encoded { payload, handles })) if current.function.role == Role::Checkpoint => {
            Ok((payload, handles))
        }
        Ok(Ok(Encoded { payload, handles })) => Ok((runtime::keep(payload)?, handles)),
        Ok(Err(Error::Application(e))) => Err(Error::Application(e.of_function(function()))),
        // It panicked elsewhere: see [`Error::is_own_panic`].
        Ok(Err(error @ Error::Panicked { .. })) => Err(error.passed_to(function())),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            let message = match panic.downcast_ref::<&str>() {
                Some(text) => (*text).to_owned(),
                None => match panic.downcast_ref::<String>() {
                    Some(text) => text.clone(),
                    None => "with a value that is no text".to_owned(),
                },
            };
            forget(panic);
            let (location, backtrace) = LAST_PANIC.take().unwrap_or_default();
            Err(Error::Panicked {
                function: function().to_owned(),
                message: cut(message),
                location,
                backtrace: cut(backtrace),
                worker: current.worker,
                passed: Default::default(),
            })
        }
    }
}

/// A panic's value may panic again when it is dropped.
fn forget(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

/// Text of user code is bounded before it goes into a message.
fn cut(mut text: String) -> String {
    const LONGEST: usize = 64 << 10;
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str(" [cut]");
    }
    text
}

thread_local! {
    /// Place and backtrace of the panic that is unwinding this thread.
    static LAST_PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Has panics inside tasks remembered instead of printed: they reach whoever awaits the task. Others are printed as before.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if super::context::running().is_none() {
                return before(info);
            }
            let location = info.location().map_or_else(String::new, ToString::to_string);
            let backtrace = Backtrace::capture();
            let backtrace = match backtrace.status() {
                BacktraceStatus::Captured => backtrace.to_string(),
                _ => String::new(),
            };
            LAST_PANIC.set(Some((location, backtrace)));
        }));
    });
}
