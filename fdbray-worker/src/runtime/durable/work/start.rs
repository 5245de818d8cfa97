//! Starts what was claimed, as calls of this process for this process.

use super::{
    super::{Durables, object_id},
    Running, Worker,
};
use crate::{
    control::durable::{Arguments, Claimed, Durable, DurableError, FutureId, Record, ShapeId, Token},
    core::{Submission, checkpoint, shape::TemplateSpec},
    handle::Handle,
    registry::Role,
    runtime::{Process, start::resources},
};
use bytes::Bytes;
use std::{sync::Arc, time::Instant};

/// The last checkpoint of an actor, without what it has answered to callers that are gone.
async fn last_checkpoint(durable: &Durable, id: FutureId) -> Result<Option<Vec<u8>>, DurableError> {
    let Some(last) = durable.checkpoint(id).await? else { return Ok(None) };
    // What is damaged is said by who reads the state in it.
    let Ok(callers) = checkpoint::callers_in(&last) else { return Ok(Some(last)) };
    let gone = durable.departed(callers).await?;
    Ok(Some(if gone.is_empty() { last } else { checkpoint::without(&last, &gone).unwrap_or(last) }))
}

/// A claimed call that can start.
struct Prepared {
    token: Token,
    attempt: u32,
    record: Record,
    arguments: Vec<u8>,
    /// From which an actor is made instead.
    checkpoint: Option<Bytes>,
    kind: u64,
    shape: ShapeId,
    place: u32,
    name: &'static str,
}

impl Durables {
    /// Starts what was claimed, in one turn of the core. What cannot run here is given back.
    pub(super) async fn begin(
        self: &Arc<Self>,
        process: &Arc<Process>,
        worker: &Worker,
        durable: &Durable,
        claimed: Vec<Claimed>,
    ) {
        let (mut calls, mut unwanted) = (Vec::with_capacity(claimed.len()), Vec::new());
        for claimed in claimed {
            let token = claimed.token;
            match self.prepare(process, worker, durable, claimed).await {
                Some(call) => calls.push(call),
                None => unwanted.push((token, Vec::new())),
            }
        }
        self.start_calls(process, worker, calls);
        if !unwanted.is_empty()
            && let Err(error) = self.insist(|| durable.give_back(self.me, unwanted.clone())).await
        {
            tracing::debug!("claims could not be given back: {error}");
        }
    }

    /// What it takes to start a call, unless another worker should have it.
    async fn prepare(
        &self,
        process: &Process,
        worker: &Worker,
        durable: &Durable,
        Claimed { token, attempt, mut record }: Claimed,
    ) -> Option<Prepared> {
        let attempt = attempt?;
        let kind = record.kind();
        let place = *worker.places.get(&kind)?;
        let name = (process.registry().get(place)?.name)();
        let arguments = match std::mem::replace(&mut record.spec.arguments, Arguments::Dropped) {
            Arguments::Inline(bytes) => bytes,
            Arguments::Chunks(_) => match self.persist(|| durable.arguments(record.id)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!("the arguments of durable future {} cannot be read: {error}", record.id);
                    return None;
                }
            },
            Arguments::Dropped => return None,
        };
        let mut checkpoint = None;
        if record.spec.actor.is_some() && record.claims > 1 {
            match self.persist(|| last_checkpoint(durable, record.id)).await {
                Ok(last) => checkpoint = last.map(Bytes::from),
                Err(error) => {
                    tracing::warn!("the checkpoint of actor {} cannot be read: {error}", record.id);
                    return None;
                }
            }
        }
        let shape = ShapeId::of(&record.spec.shape);
        Some(Prepared { token, attempt, record, arguments, checkpoint, kind, shape, place, name })
    }

    fn start_calls(&self, process: &Arc<Process>, worker: &Worker, calls: Vec<Prepared>) {
        // One may start before it is known here which future it is for.
        let beginning = self.beginning();
        let begun: Vec<_> = process.with_core(false, |core, fx| {
            let mut templates = worker.templates();
            let mut begin = |call: &Prepared| {
                let spec = &call.record.spec;
                let template = *templates.entry((call.kind, call.shape)).or_insert_with(|| {
                    core.template(TemplateSpec {
                        function: call.place,
                        name: call.name,
                        shape: resources(spec.shape.clone()),
                        retries: 0,
                        restarts: 0,
                        role: if spec.actor.is_some() { Role::Constructor } else { Role::Function },
                        retry_errors: 0,
                        checkpoints: None,
                        logs: false,
                        here: true,
                    })
                });
                let futures: Vec<_> = spec.futures.iter().map(|id| object_id(*id)).collect();
                let held: Vec<_> = futures.iter().map(|id| core.durable(*id, fx)).collect();
                let submission = Submission {
                    gate: None,
                    place: None,
                    actor: None,
                    template,
                    arguments: &call.arguments,
                    described: true,
                    futures,
                    contained: Vec::new(),
                    deadline: None,
                    parent: None,
                };
                let cell = match call.checkpoint.clone() {
                    Some(checkpoint) => core.submit_from(checkpoint, submission, fx),
                    None => core.submit(submission, fx),
                };
                (cell, held)
            };
            calls.iter().map(&mut begin).collect()
        });
        let mut watched = Vec::with_capacity(begun.len());
        let mut state = self.state();
        for (Prepared { token, attempt, record, shape, place, name, .. }, (cell, held)) in
            calls.into_iter().zip(begun)
        {
            let handle = Handle::counted(cell);
            let running = Running {
                token,
                shape,
                needs: resources(record.spec.shape),
                place,
                function: name,
                durable_value: record.spec.durable_value,
                attempt,
                waiter: record.waiter,
                suspect_since: record.suspect.then(Instant::now),
                handle: handle.clone(),
                actor: record.spec.actor.is_some(),
                lives: false,
                said: false,
                futures: held.into_iter().map(Handle::counted).collect(),
            };
            state.running.insert(record.id, running);
            state.local.insert(handle.id().seq, record.id);
            watched.push(handle);
        }
        drop((state, beginning));
        for handle in watched {
            handle.watch(&worker.ends, handle.id().seq);
        }
    }
}
