//! What user code asks for: submit a call, attach to a future, release it.

use super::{Attach, Durables, future_id, object_id, store_error};
use crate::{
    cell::{Outcome, WaitSet},
    control::{
        durable::{LARGEST, Near, Place, Retention, Submission, Target},
        members::Capacity,
    },
    core::shape::Resources,
    error::{Error, Result},
    exec::{Argument, push_varint},
    handle::Handle,
    id::ObjectId,
    options::{self, At},
    payload::{Encoded, Payload},
    registry::{Function, signature_hash},
    runtime::{Process, failed, not_started, process},
    template::Template,
};
use std::{future::poll_fn, sync::Arc};
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
};

/// A durable call, but for its arguments.
#[derive(Clone, Copy, Debug)]
pub struct DurableCall<'a> {
    /// The function with its options.
    pub template: &'a Template,
    /// The name of the type of its result.
    pub returns: &'a str,
}

/// Makes a durable call. Its arguments have to be in the self-describing encoding.
pub fn submit(call: DurableCall<'_>, arguments: impl IntoIterator<Item = Argument>) -> Handle {
    let (process, durables) = match durables() {
        Ok(both) => both,
        Err(error) => return failed(error),
    };
    let parts = match parts(arguments) {
        Ok(parts) => parts,
        Err(error) => return failed(error),
    };
    match durables.submission(call) {
        Ok(submission) => durables.send(process, submission, parts, beside(call.template)),
        Err(error) => failed(error),
    }
}

/// The future of a process with whose value calls are to run, if they are; and whether nowhere else.
pub(super) fn beside(template: &Template) -> Option<(Handle, bool)> {
    match &template.options().place {
        Some(options::Place { at: At::Value(handle), hard }) if !handle.id().is_durable() => {
            Some((handle.clone(), *hard))
        }
        _ => None,
    }
}

/// An argument on its way into the store.
pub(super) enum Part {
    Value(Payload),
    Durable(ObjectId),
    /// Owned by this process: its value is stored in its place.
    Owned(Handle, Describe),
}

pub(super) type Describe = fn(&Handle, &Payload) -> Result<Encoded, String>;

pub(super) fn parts(arguments: impl IntoIterator<Item = Argument>) -> Result<Vec<Part>> {
    let part = |argument| match argument {
        Argument::Value(value) => Ok(Part::Value(value.payload)),
        Argument::ToDescribe(handle, describe) => Ok(Part::Owned(handle, describe)),
        Argument::Future(handle) if handle.id().is_durable() => Ok(Part::Durable(handle.id())),
        Argument::Future(handle) => Err(Error::encode(
            "an argument of a durable call",
            format!("future {} is owned by a process, and its type is not known here", handle.id()),
        )),
        Argument::Failed(error) => Err(error),
    };
    arguments.into_iter().map(part).collect()
}

/// Puts the values of what this process owns in its place. User code describes them, so not on the I/O thread.
async fn gather(parts: Vec<Part>, function: &str) -> Result<Vec<Part>> {
    let mut gathered = Vec::with_capacity(parts.len());
    for part in parts {
        let Part::Owned(handle, describe) = part else {
            gathered.push(part);
            continue;
        };
        let value = poll_fn(|cx| handle.poll(cx)).await.map_err(|e| e.passed_to(function))?;
        let described = spawn_blocking(move || describe(&handle, &value)).await;
        let described = described.map_err(|_| "its encoding panicked".to_owned()).and_then(|d| d);
        let what = || format!("an argument of the durable call of `{function}`");
        gathered.push(Part::Value(described.map_err(|why| Error::encode(what(), why))?.payload));
    }
    Ok(gathered)
}

/// The process that has the value of a future that a process owns, when it has one; waited for if it must be known.
async fn whereabouts(
    process: &Arc<Process>,
    future: &Handle,
    hard: bool,
    function: &str,
) -> Result<Option<Place>> {
    if hard {
        let ended = WaitSet::new();
        future.watch(&ended, 0);
        poll_fn(|cx| ended.poll_next(cx)).await;
    }
    match future.cell().outcome() {
        Some(Outcome::Value(_) | Outcome::Stored { .. }) => {}
        Some(Outcome::Failed(error)) if hard => return Err(Error::from(error).passed_to(function)),
        Some(Outcome::Failed(_)) | None => return Ok(None),
    }
    let holder = process.with_core(false, |core, _| core.whereabouts(future.id()));
    Ok(Some(Place { process: holder, hard }))
}

/// Waits for what a submission needs of what this process owns: values among its arguments, and where it is to run.
pub(super) async fn prepare(
    process: &Arc<Process>,
    submission: &mut Submission,
    parts: Vec<Part>,
    beside: Option<(Handle, bool)>,
) -> Result<Vec<Part>> {
    let parts = gather(parts, &submission.function).await?;
    if let Some((future, hard)) = beside {
        submission.place = whereabouts(process, &future, hard, &submission.function).await?;
    }
    Ok(parts)
}

/// Makes many.
pub fn submit_all<A: IntoIterator<Item = Argument>>(
    call: DurableCall<'_>,
    calls: impl IntoIterator<Item = A>,
) -> Vec<Handle> {
    calls.into_iter().map(|arguments| submit(call, arguments)).collect()
}

/// Waits until the store has the call.
///
/// # Errors
/// Why it was refused, or that the store does not answer.
pub async fn submitted(handle: &Handle) -> Result<()> {
    if !handle.id().is_durable() {
        return Err(Error::control(
            "only a durable future is submitted to the cluster: `options().durable()`",
        ));
    }
    let (_, durables) = durables()?;
    let receiver = durables.state().submitting.get(&handle.id()).map(watch::Sender::subscribe);
    let Some(mut receiver) = receiver else { return Ok(()) };
    let ended = receiver.wait_for(Option::is_some).await.map(|ended| ended.clone());
    // The sender goes once the submission is in the store.
    ended.ok().flatten().unwrap_or(Ok(()))
}

/// The id under which the cluster knows the future: another one than the handle's if its key had a future already.
pub fn real_id(id: ObjectId) -> ObjectId {
    match durables() {
        Ok((_, durables)) if id.is_durable() => durables.state().real.get(&id).copied().unwrap_or(id),
        _ => id,
    }
}

/// The future with this id or key; `returns` is the name of the type of its value.
///
/// # Errors
/// There is none, its value is of another type, or the store does not answer.
pub async fn attach(id_or_key: &str, returns: &str) -> Result<Handle> {
    let (_, durables) = durables()?;
    durables.start();
    let (reply, answer) = oneshot::channel();
    let attach = Attach {
        target: Target::from(id_or_key),
        returns: Some(signature_hash(returns)),
        reply: Some(reply),
    };
    durables.state().to_attach.push(attach);
    durables.attaching.notify_one();
    answer.await.map_err(|_| Error::Shutdown)?
}

/// Ends the retention of a durable future: its value may be removed.
///
/// # Errors
/// The store does not answer.
pub async fn release(handle: &Handle) -> Result<()> {
    submitted(handle).await?;
    let (_, durables) = durables()?;
    let id = future_id(real_id(handle.id()));
    let durable = durables.durable().await.map_err(|e| store_error(&e))?;
    durables.persist(|| durable.release(vec![id])).await.map_err(|e| store_error(&e))
}

pub(super) fn durables() -> Result<(&'static Arc<Process>, &'static Arc<Durables>)> {
    let process = process().ok_or_else(not_started)?;
    let durables = process.outside().and_then(|o| o.durables()).ok_or_else(|| {
        Error::control("there is no cluster that could own a future: everything happens in this process")
    })?;
    Ok((process, durables))
}

impl Durables {
    /// The submission, but for its arguments.
    pub(super) fn submission(&self, call: DurableCall<'_>) -> Result<Submission> {
        let function: &Function = call.template.function();
        let name = (function.name)();
        let options = call.template.options();
        let asked = options.durable.clone().unwrap_or_default();
        let Resources { cpus, gpus, memory, named } = Resources::of_options(options)?;
        let signature = signature_hash((function.signature)());
        let mut submission = Submission::new(future_id(self.next_id()), name, signature, Vec::new());
        submission.returns = signature_hash(call.returns);
        submission.shape = Capacity { cpus, gpus, memory, named };
        submission.priority = asked.priority;
        submission.retries = options.retries.unwrap_or(3);
        submission.retry_errors = options.retry_errors.unwrap_or(0);
        submission.deadline = options.deadline.map(|d| d.as_secs() + u64::from(d.subsec_nanos() > 0));
        submission.retention = match asked.retention {
            None => Retention::default(),
            Some(limit) if limit.is_zero() => Retention::Forever,
            Some(limit) => Retention::Ticks(limit.as_secs().max(1)),
        };
        match &options.place {
            Some(options::Place { at: At::Process(process), hard }) => {
                submission.place = Some(Place { process: *process, hard: *hard });
            }
            Some(options::Place { at: At::Value(handle), hard }) if handle.id().is_durable() => {
                submission.near = Some(Near { future: future_id(real_id(handle.id())), hard: *hard });
            }
            // Known when its arguments are there.
            Some(options::Place { at: At::Value(_), .. }) | None => {}
        }
        submission.durable_value = asked.value;
        submission.key = asked.key;
        submission.waiter = Some(self.me);
        Ok(submission)
    }

    /// `beside`: a future of a process with whose value it should run, or must.
    pub(super) fn send(
        self: &Arc<Self>,
        process: &Arc<Process>,
        mut submission: Submission,
        parts: Vec<Part>,
        beside: Option<(Handle, bool)>,
    ) -> Handle {
        let id = object_id(submission.id);
        let cell = process.with_core(false, |core, fx| core.durable(id, fx));
        {
            let mut state = self.state();
            state.submitting.insert(id, watch::channel(None).0);
            if submission.actor.is_none() {
                state.expected.insert(id);
            }
        }
        let owned = parts.iter().any(|part| matches!(part, Part::Owned(..)));
        if owned || beside.is_some() {
            let (durables, process) = (self.clone(), process.clone());
            let function = submission.function.clone();
            let mut state = self.state();
            let preparing = self.io.spawn(async move {
                let prepared = prepare(&process, &mut submission, parts, beside).await;
                if durables.state().preparing.remove(&id).is_none() {
                    return;
                }
                match prepared {
                    Ok(parts) => durables.queue(submission, parts),
                    Err(error) => durables.refused(id, error),
                }
            });
            state.preparing.insert(id, (preparing.abort_handle(), function));
        } else {
            self.queue(submission, parts);
        }
        Handle::counted(cell)
    }

    /// Ends a call that still waits for what it needs of this process, with the error that `why` makes of its function; whether
    /// it was one.
    pub(super) fn stop_preparing(&self, id: ObjectId, why: impl FnOnce(String) -> Error) -> bool {
        let stopped = self.state().preparing.remove(&id);
        let Some((preparing, function)) = stopped else { return false };
        preparing.abort();
        self.refused(id, why(function));
        true
    }

    fn queue(self: &Arc<Self>, mut submission: Submission, parts: Vec<Part>) {
        let id = object_id(submission.id);
        if let Err(error) = fill(&mut submission, parts) {
            return self.refused(id, error);
        }
        if self.start().send(Box::new(submission)).is_err() {
            return self.refused(id, Error::Shutdown);
        }
        self.waiting.notify_one();
    }
}

/// Puts arguments into a submission.
pub(super) fn fill(submission: &mut Submission, parts: Vec<Part>) -> Result<()> {
    for part in parts {
        match part {
            Part::Value(value) => {
                let bytes = value.in_message();
                push_varint(&mut submission.arguments, bytes.len() as u64 + 1);
                submission.arguments.extend_from_slice(bytes);
            }
            Part::Durable(id) => {
                push_varint(&mut submission.arguments, 0);
                submission.futures.push(future_id(id));
            }
            // All of them were gathered.
            Part::Owned(..) => {}
        }
    }
    let len = submission.arguments.len();
    if len > LARGEST {
        let message = format!(
            "they are {len} bytes, the control plane keeps at most {LARGEST}; pass large values as futures, or by a name \
             under which the function finds them"
        );
        let what = format!("the arguments of the durable call of `{}`", submission.function);
        return Err(Error::encode(what, message));
    }
    Ok(())
}

/// The durable future that the call `local` of this process computes, and in which attempt.
pub(crate) fn task_of(local: ObjectId) -> Option<(ObjectId, u32)> {
    let (_, durables) = durables().ok()?;
    drop(durables.beginning());
    let state = durables.state();
    let id = state.local.get(&local.seq)?;
    Some((object_id(*id), state.running.get(id)?.attempt()))
}

/// The bytes of a described value.
pub(super) fn described(bytes: Vec<u8>) -> Payload {
    Payload::Described(bytes.into())
}
