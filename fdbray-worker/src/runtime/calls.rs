//! Making calls: arguments into wire form, templates into numbers, one lock for a call or a batch of them.

use super::{Process, failed, not_started, process};
use crate::{
    cell::Cell,
    core::{At, Gate, Nanos, Place, Submission, shape::Resources, shape::TemplateSpec},
    error::{Error, Result},
    exec::{self, Argument, push_varint},
    handle::Handle,
    id::ObjectId,
    options,
    payload::Encoded,
    template::Template,
};
use std::{
    cell::RefCell,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// Calls of a batch that are made under one lock.
const CHUNK: usize = 256;

/// Submits one call; never blocks.
pub fn submit(template: &Template, arguments: impl IntoIterator<Item = Argument>) -> Handle {
    submit_to(template, None, arguments)
}

/// The same, of a method of the actor `to` if there is one, within its limit if that has one.
pub(super) fn submit_to(
    template: &Template,
    to: Option<(&Handle, Option<Duration>)>,
    arguments: impl IntoIterator<Item = Argument>,
) -> Handle {
    let Some(process) = process() else { return failed(not_started()) };
    with_scratch(|scratch| {
        let call = match prepare(process, template, arguments, scratch) {
            Ok(call) => call,
            Err(error) => return failed(error),
        };
        let cell = process.with_core(false, |core, fx| {
            let mut submission = call.submission(process, template, scratch);
            if let Some((actor, limit)) = to {
                submission.actor = Some(actor.id());
                submission.deadline = limit.map(|limit| deadline(process, limit)).or(submission.deadline);
            }
            core.submit(submission, fx)
        });
        Handle::counted(cell)
    })
}

/// Submits one call that waits behind `gate`.
pub(super) fn submit_behind(
    gate: Gate,
    template: &Template,
    arguments: impl IntoIterator<Item = Argument>,
) -> Handle {
    let Some(process) = process() else { return failed(not_started()) };
    let mut bytes = Vec::new();
    let call = match prepare(process, template, arguments, &mut bytes) {
        Ok(call) => call,
        Err(error) => return failed(error),
    };
    let submission = Submission { gate: Some(gate), ..call.submission(process, template, &bytes) };
    Handle::counted(process.with_core(false, |core, fx| core.submit(submission, fx)))
}

/// Submits many calls as one batch.
pub fn submit_all<A: IntoIterator<Item = Argument>>(
    template: &Template,
    calls: impl IntoIterator<Item = A>,
) -> Vec<Handle> {
    let calls = calls.into_iter();
    let mut handles = Vec::with_capacity(calls.size_hint().0);
    let Some(process) = process() else {
        handles.extend(calls.map(|_| failed(not_started())));
        return handles;
    };
    let mut calls = calls.peekable();
    with_scratch(|scratch| {
        while calls.peek().is_some() {
            scratch.clear();
            // The iterator is the user's code and may make calls of its own, so it runs before the lock is taken.
            let chunk: Vec<_> =
                calls.by_ref().take(CHUNK).map(|a| prepare(process, template, a, scratch)).collect();
            let add = |core: &mut crate::core::Core, fx: &mut crate::core::Effects| {
                let mut cells: Vec<Arc<Cell>> = Vec::with_capacity(chunk.len());
                let mut kept = Vec::new();
                for call in chunk {
                    match call {
                        Ok(call) => {
                            cells.push(core.add_call(call.submission(process, template, scratch), fx));
                            kept.push(call.keep);
                        }
                        Err(error) => cells.push(core.failed(error)),
                    }
                }
                core.end_batch(fx);
                (cells, kept)
            };
            let (cells, kept) = process.with_core(false, add);
            drop(kept);
            handles.extend(cells.into_iter().map(Handle::counted));
        }
    });
    handles
}

/// Waits until this process has room for the call (see `max_pending_bytes`), then submits it. A task gives its slot back
/// meanwhile.
pub async fn submit_when_room(template: &Template, arguments: impl IntoIterator<Item = Argument>) -> Handle {
    let Some(process) = process() else { return failed(not_started()) };
    let mut bytes = Vec::new();
    let call = match prepare(process, template, arguments, &mut bytes) {
        Ok(call) => call,
        Err(error) => return failed(error),
    };
    let attempt = || {
        process.with_core(false, |core, fx| {
            let submission = call.submission(process, template, &bytes);
            core.submit_if_room(submission, fx)
        })
    };
    Handle::counted(process.when_room(attempt).await)
}

/// Keeps a value as an object that this process owns.
///
/// # Errors
/// The runtime was not started, or has ended.
pub fn put(value: Encoded) -> Result<Handle> {
    let process = process().ok_or_else(not_started)?;
    let inside = value.handles.iter().map(Handle::id).collect();
    let payload = process.keep(value.payload)?;
    let cell = process.with_core(true, |core, fx| (!core.has_ended()).then(|| core.put(payload, inside, fx)));
    cell.map(Handle::counted).ok_or(Error::Shutdown)
}

/// A call whose arguments are in wire form, in the scratch buffer.
struct Prepared {
    template: u32,
    bytes: Range<usize>,
    futures: Vec<ObjectId>,
    contained: Vec<ObjectId>,
    /// What must live until the core knows of it.
    keep: Vec<Handle>,
}

impl Prepared {
    fn submission<'a>(&self, process: &Process, template: &Template, scratch: &'a [u8]) -> Submission<'a> {
        Submission {
            template: self.template,
            arguments: &scratch[self.bytes.clone()],
            described: false,
            futures: self.futures.clone(),
            contained: self.contained.clone(),
            deadline: template.deadline().map(|limit| deadline(process, limit)),
            parent: exec::running().map(|c| c.key),
            gate: template.gate(),
            place: template.options().place.as_ref().map(place),
            actor: None,
        }
    }
}

/// When a call that is made now has to have ended.
fn deadline(process: &Process, limit: Duration) -> Nanos {
    let now = process.nanos_at(Instant::now());
    now.saturating_add(Nanos::try_from(limit.as_nanos()).unwrap_or(Nanos::MAX))
}

fn place(said: &options::Place) -> Place {
    let at = match &said.at {
        options::At::Process(process) => At::Process(*process),
        options::At::Value(future) => At::Value(future.id()),
    };
    Place { at, hard: said.hard }
}

fn prepare(
    process: &Arc<Process>,
    template: &Template,
    arguments: impl IntoIterator<Item = Argument>,
    scratch: &mut Vec<u8>,
) -> Result<Prepared> {
    let from = scratch.len();
    let (mut futures, mut contained, mut keep) = (Vec::new(), Vec::new(), Vec::new());
    for argument in arguments {
        match argument {
            Argument::Value(value) if !value.payload.is_large(process.inline()) => {
                push_varint(scratch, value.payload.len() as u64 + 1);
                scratch.extend_from_slice(value.payload.in_message());
                contained.extend(value.handles.iter().map(Handle::id));
                keep.extend(value.handles);
            }
            Argument::Value(value) => {
                let object = put(value)?;
                push_varint(scratch, 0);
                futures.push(object.id());
                keep.push(object);
            }
            Argument::Future(handle) | Argument::ToDescribe(handle, _) => {
                push_varint(scratch, 0);
                futures.push(handle.id());
                keep.push(handle);
            }
            Argument::Failed(error) => return Err(error),
        }
    }
    let template = number(process, template)?;
    Ok(Prepared { template, bytes: from..scratch.len(), futures, contained, keep })
}

/// The number that the core knows the template by.
fn number(process: &Arc<Process>, template: &Template) -> Result<u32> {
    if let Some(number) = template.index().get() {
        return Ok(*number);
    }
    let function = template.function();
    let name = (function.name)();
    let index = process.registry().index_of(function).ok_or_else(|| Error::NotRegistered {
        function: name.to_owned(),
        worker: process.me(),
        passed: Default::default(),
    })?;
    let options = template.options();
    if let Some(options::Place { at: options::At::Value(future), hard: true }) = &options.place
        && future.id().is_durable()
    {
        return Err(Error::control(format!(
            "the call of `{name}` is to run with the value of a durable future, of which the store knows where it is: \
             make it a durable call too, with `.durable()`"
        )));
    }
    let spec = TemplateSpec {
        function: index,
        name,
        shape: Resources::of_options(options)?,
        retries: options.retries.unwrap_or(if function.role.is_method() { 0 } else { 3 }),
        restarts: options.max_restarts.unwrap_or(0),
        role: function.role,
        retry_errors: options.retry_errors.unwrap_or(0),
        checkpoints: function.options.checkpoints,
        logs: options.logs.unwrap_or(true) && process.shows_output(),
        here: false,
    };
    let number = process.with_core(false, |core, _| core.template(spec));
    // Another thread may have been first, with the same number.
    let _ = template.index().set(number);
    Ok(number)
}

/// A buffer of this thread, empty.
fn with_scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = f(&mut scratch);
    if scratch.capacity() <= 1 << 20 {
        SCRATCH.set(scratch);
    }
    result
}
