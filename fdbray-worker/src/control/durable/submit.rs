//! Submitting: a batch of calls becomes records, each alone or under a key of its own.

use super::FutureId;
use super::actors::{Named, bad_name};
use super::entries::distinct;
use super::error::{DurableError, Refused};
use super::record::{
    ActorSpec, Arguments, INLINE_ARGUMENTS, LARGEST, Near, Place, Record, Retention, Spec, State,
};
use super::settle::failed_by;
use super::shape::ShapeId;
use super::transition::Durable;
use super::work::{Ahead, Work};
use crate::control::members::Capacity;
use crate::id::ProcessId;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most durable futures that one call may have as arguments.
const ARGUMENTS: usize = 1000;
/// The longest key.
const KEY: usize = 256;
/// The most that a record may take without its value.
const RECORD: usize = 90_000;
/// What one transaction submits, at most, about.
const BATCH_BYTES: usize = 1 << 20;
const BATCH: usize = 500;

/// A call to be submitted. Times are in ticks, which are seconds or a little longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its name, chosen by the submitter, who never uses one twice.
    pub id: FutureId,
    /// The function's stable name.
    pub function: String,
    /// The hash of the function's signature.
    pub signature: u64,
    /// The hash of the name of its result's type.
    pub returns: u64,
    /// What one attempt holds.
    pub shape: Capacity,
    /// The higher one is claimed first.
    pub priority: i32,
    /// Where it should run, or must.
    pub place: Option<Place>,
    /// The future beside whose value it should run, or must, instead of a place.
    pub near: Option<Near>,
    /// The encoded arguments.
    pub arguments: Vec<u8>,
    /// The durable futures among them, in the order in which the encoded arguments refer to them.
    pub futures: Vec<FutureId>,
    /// Attempts after the first when a process dies.
    pub retries: u32,
    /// Attempts after one that returned an error or panicked.
    pub retry_errors: u32,
    /// From now on.
    pub deadline: Option<u64>,
    /// How long it is kept after its end.
    pub retention: Retention,
    /// Its whole value belongs into the store.
    pub durable_value: bool,
    /// Whether what it prints and logs is shown in the driver's terminal.
    pub logs: bool,
    /// If it is an actor: what it is beside a call of its constructor.
    pub actor: Option<ActorSpec>,
    /// A future of this key that is there already is the one.
    pub key: Option<String>,
    /// Who is told of its end.
    pub waiter: Option<ProcessId>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is in the store.
    New(FutureId),
    /// Its key has a future with the same function and arguments already. Attach to that.
    Existing(FutureId),
}

impl Submitted {
    /// The future.
    pub fn id(self) -> FutureId {
        let (Submitted::New(id) | Submitted::Existing(id)) = self;
        id
    }
}

impl Submission {
    /// A call without options.
    pub fn new(id: FutureId, function: &str, signature: u64, arguments: Vec<u8>) -> Self {
        Submission {
            id,
            function: function.to_owned(),
            signature,
            returns: 0,
            shape: Capacity { cpus: 10_000, ..Capacity::default() },
            priority: 0,
            place: None,
            near: None,
            arguments,
            futures: Vec::new(),
            retries: 3,
            retry_errors: 0,
            deadline: None,
            retention: Retention::default(),
            durable_value: false,
            logs: false,
            actor: None,
            key: None,
            waiter: None,
        }
    }

    /// The name of the actor.
    pub(super) fn name(&self) -> Option<&str> {
        self.actor.as_ref()?.name.as_deref()
    }

    fn size(&self) -> usize {
        let names: usize = self.shape.named.iter().map(|(name, _)| 20 + name.len()).sum();
        let actor =
            self.actor.as_ref().map_or(0, |a| a.type_name.len() + a.name.as_ref().map_or(0, String::len));
        let text = self.function.len() + self.key.as_ref().map_or(0, String::len) + names + actor;
        500 + text + self.futures.len() * 150 + self.arguments.len().min(INLINE_ARGUMENTS)
    }

    /// Has it refer to other futures by the names under which the store has them.
    pub fn rename(&mut self, real: impl Fn(FutureId) -> Option<FutureId>) {
        let near = self.near.as_mut().map(|near| &mut near.future);
        for id in self.futures.iter_mut().chain(near) {
            *id = real(*id).unwrap_or(*id);
        }
    }

    fn needs(&self) -> impl Iterator<Item = FutureId> {
        self.futures.iter().copied().chain(self.near.map(|near| near.future))
    }

    fn digest(&self) -> Option<Vec<u8>> {
        self.key.as_ref()?;
        let mut hash = Sha256::new();
        hash.update((self.arguments.len() as u64).to_le_bytes());
        hash.update(&self.arguments);
        for id in &self.futures {
            hash.update(id.process.get().to_le_bytes());
            hash.update(id.seq.to_le_bytes());
        }
        Some(hash.finalize()[..16].to_vec())
    }

    /// Its record, if nothing is in the way.
    fn record(&self, now: u64) -> Record {
        let arguments = match self.arguments.len() {
            0..=INLINE_ARGUMENTS => Arguments::Inline(self.arguments.clone()),
            len => Arguments::Chunks(len as u64),
        };
        let spec = Spec {
            function: self.function.clone(),
            signature: self.signature,
            returns: self.returns,
            shape: self.shape.clone(),
            priority: self.priority,
            place: self.place,
            near: self.near,
            arguments,
            futures: self.futures.clone(),
            retries: self.retries,
            retry_errors: self.retry_errors,
            deadline: self.deadline.map(|ticks| now.saturating_add(ticks).saturating_add(1)),
            retention: self.retention,
            durable_value: self.durable_value,
            logs: self.logs,
            actor: self.actor.clone(),
            key: self.key.clone(),
            digest: self.digest(),
        };
        Record {
            // As low as what is in it allows, when it is written.
            v: 0,
            id: self.id,
            spec,
            state: State::Unclaimed { since: now, not_before: None },
            submitted: now,
            claims: 0,
            attempts: 0,
            died: 0,
            suspect: false,
            failed: 0,
            restarts: 0,
            last_error: None,
            waiter: self.waiter,
            waiters: false,
            dependents: false,
            spreading: false,
            released: false,
            expires: None,
        }
    }
}

impl Durable {
    /// Submits calls, in as few transactions as they fit into, in order: a call may have one before it as argument.
    /// Each is submitted or refused on its own. Submitting the same ones again, while none of them is released, is as
    /// submitting them once.
    ///
    /// Arguments that do not fit into a record are written ahead, for which the submitter has to be a member.
    pub async fn submit(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Result<Submitted, Refused>>, DurableError> {
        for submission in &submissions {
            self.write_ahead(submission).await?;
        }
        self.submit_written(submissions).await
    }

    /// As [`Durable::submit`], of submissions whose arguments have been [written ahead](Durable::write_ahead).
    pub(super) async fn submit_written(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Result<Submitted, Refused>>, DurableError> {
        let mut results = Vec::with_capacity(submissions.len());
        let mut rest = submissions.into_iter().peekable();
        // What a call with a key turned out to be, for those that refer to it.
        let mut existing: BTreeMap<FutureId, FutureId> = BTreeMap::new();
        while rest.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            let mut keyed = BTreeSet::new();
            while let Some(mut next) = rest.next_if(|next| {
                bytes < BATCH_BYTES && batch.len() < BATCH && !next.needs().any(|id| keyed.contains(&id))
            }) {
                bytes += next.size();
                keyed.extend(next.key.is_some().then_some(next.id));
                next.rename(|id| existing.get(&id).copied());
                batch.push(next);
            }
            let batch = Arc::new(batch);
            let calls = batch.clone();
            // Also the records themselves: an earlier run may have written them.
            let ahead = Ahead {
                futures: batch
                    .iter()
                    .flat_map(|call| call.futures.iter().copied().chain([call.id]))
                    .collect(),
                shapes: batch.iter().map(|call| ShapeId::of(&call.shape)).collect(),
                ..Ahead::default()
            };
            let submitted = self.transition_with(ahead, move |work| {
                let batch = calls.clone();
                Box::pin(async move { work.submit(&batch).await })
            });
            let submitted = submitted.await?;
            for (call, result) in batch.iter().zip(&submitted) {
                if let Ok(Submitted::Existing(id)) = result {
                    existing.insert(call.id, *id);
                }
            }
            let unneeded = batch.iter().zip(&submitted).filter(|(call, result)| {
                call.arguments.len() > INLINE_ARGUMENTS && !matches!(result, Ok(Submitted::New(_)))
            });
            // Not in the same transaction: run again, it might find the key free and the chunks gone.
            for (call, _) in unneeded {
                let id = call.id;
                self.transition(move |work| Box::pin(async move { work.unstage(id) })).await?;
            }
            results.extend(submitted);
        }
        Ok(results)
    }

    /// Writes arguments that do not fit into the record.
    pub(super) async fn write_ahead(&self, submission: &Submission) -> Result<(), DurableError> {
        if submission.arguments.len() <= INLINE_ARGUMENTS {
            return Ok(());
        }
        if submission.arguments.len() > LARGEST {
            return Err(DurableError::TooLarge {
                what: "arguments",
                len: submission.arguments.len(),
                limit: LARGEST,
                hint: "pass large values as futures, or by a name under which the function finds them",
            });
        }
        self.write_chunks(submission.id, 0, None, &submission.arguments).await
    }
}

impl Work {
    async fn submit(
        &mut self,
        batch: &[Submission],
    ) -> Result<Vec<Result<Submitted, Refused>>, DurableError> {
        self.load(batch.iter().flat_map(|call| call.needs().chain([call.id]))).await?;
        let keys = batch.iter().filter_map(|call| call.key.as_deref()).filter(|key| bad_key(key).is_none());
        self.find_keys(keys.collect()).await?;
        let named = batch.iter().filter_map(Submission::name).filter(|name| bad_name(name).is_none());
        self.find_names(named.collect()).await?;
        let mut results = Vec::with_capacity(batch.len());
        for call in batch {
            results.push(self.submit_one(call).await?);
        }
        Ok(results)
    }

    async fn submit_one(&mut self, call: &Submission) -> Result<Result<Submitted, Refused>, DurableError> {
        if self.get(call.id)?.is_some() {
            return Ok(Ok(Submitted::New(call.id)));
        }
        if let Some(key) = &call.key {
            if let Some(why) = bad_key(key) {
                return Ok(Err(Refused::BadKey { key: key.clone(), why }));
            }
            if let Some(existing) = self.names.get(key).copied().flatten() {
                return Ok(self.same(call, key, existing));
            }
        }
        if let Some(name) = call.name() {
            if let Some(why) = bad_name(name) {
                return Ok(Err(Refused::BadName { name: name.to_owned(), why }));
            }
            if let Some(taken) = self.actors.get(name).cloned().flatten() {
                return Ok(Err(Refused::NameTaken { name: name.to_owned(), by: taken.type_name }));
            }
        }
        let mut record = call.record(self.now);
        let too_many = call.futures.len() > ARGUMENTS;
        if too_many {
            let (function, futures) = (call.function.clone(), call.futures.len());
            return Ok(Err(Refused::TooManyArguments { function, futures, limit: ARGUMENTS }));
        }
        // A waiting future's record names its arguments twice. Most calls are far from the limit, and not encoded for it.
        let len = match call.size() {
            small if small < RECORD / 2 => small,
            _ => record.encode()?.len() + call.futures.len() * 40,
        };
        if len > RECORD {
            return Ok(Err(Refused::TooLarge { function: call.function.clone(), len, limit: RECORD }));
        }
        let (mut missing, mut failure) = (Vec::new(), None);
        if let Some(near) = call.near.filter(|near| !near.hard)
            && !matches!(self.get(near.future), Ok(Some(_)))
        {
            // Not where one would rather have it, but it can run.
            record.spec.near = None;
        }
        let hard = call.near.filter(|near| near.hard).map(|near| near.future);
        for argument in distinct(call.futures.iter().copied().chain(hard)) {
            let refuse = || Refused::NoSuchArgument { function: call.function.clone(), argument };
            match self.get(argument) {
                Ok(Some(record)) if record.settled() => failure = failure.or(record.failure()),
                Ok(Some(_)) => missing.push(argument),
                Ok(None) => return Ok(Err(refuse())),
                Err(DurableError::NewerRecord { .. }) => return Ok(Err(Refused::NewerArgument { argument })),
                Err(error) => return Err(error),
            }
        }
        let staged = call.arguments.len() > INLINE_ARGUMENTS;
        if staged && self.tx.get(self.keys.staged(call.id)).await?.is_none() {
            // The submitter was declared dead meanwhile, and somebody cleared up after it.
            return Err(DurableError::NotMember(call.id.process));
        }
        for argument in &missing {
            if !self.expect(*argument)?.dependents {
                self.edit(*argument)?.dependents = true;
            }
        }
        if !missing.is_empty() {
            record.state = State::Waiting { missing };
        }
        let end = failure.map(|failure| failed_by(&failure, &record, self.now));
        self.insert(record);
        if let Some(key) = &call.key {
            // For the rest of this batch.
            self.names.insert(key.clone(), Some(call.id));
        }
        if let Some(name) = call.name() {
            self.actors.insert(name.to_owned(), Named::of(call.id, call.actor.as_ref()));
        }
        if staged {
            self.tx.clear(self.keys.staged(call.id))?;
        }
        if let Some(end) = end {
            self.settle(call.id, end, None).await?;
        }
        Ok(Ok(Submitted::New(call.id)))
    }

    /// Finds the futures that these keys have, all at once, and loads them.
    pub(super) async fn find_keys(&mut self, keys: BTreeSet<&str>) -> Result<(), DurableError> {
        let values = self.tx.get_all(keys.iter().map(|key| self.keys.name(key))).await?;
        let mut found = Vec::new();
        for (key, value) in keys.into_iter().zip(values) {
            let id = value.and_then(|id| std::str::from_utf8(&id).ok()?.parse::<FutureId>().ok());
            found.extend(id);
            self.names.insert(key.to_owned(), id);
        }
        self.load(found).await
    }

    /// Whether a call is the one that its key stands for.
    fn same(&self, call: &Submission, key: &str, id: FutureId) -> Result<Submitted, Refused> {
        let taken = |differs: String| Err(Refused::KeyTaken { key: key.to_owned(), id, differs });
        match self.get(id) {
            Ok(Some(record)) if record.spec.function != call.function => {
                taken(format!("is a call of `{}`", record.spec.function))
            }
            Ok(Some(record)) if record.spec.signature != call.signature => {
                taken("is a call of a function of that name with other parameters or another result".into())
            }
            Ok(Some(record)) if record.spec.digest != call.digest() => taken("has other arguments".into()),
            Ok(Some(_)) => Ok(Submitted::Existing(id)),
            Ok(None) => taken("was removed but not its key: the store is damaged".into()),
            Err(error) => taken(format!("cannot be read: {error}")),
        }
    }

    /// Removes what was written ahead for a submission that is not needed.
    pub(super) fn unstage(&self, id: FutureId) -> Result<(), DurableError> {
        self.clear(&self.keys.chunks_of(id))?;
        Ok(self.tx.clear(self.keys.staged(id))?)
    }
}

fn bad_key(key: &str) -> Option<&'static str> {
    match key {
        "" => Some("it is empty"),
        key if key.len() > KEY => Some("it is longer than 256 bytes"),
        key if key.contains('\0') => Some("it has a zero byte"),
        key if key.parse::<FutureId>().is_ok() => Some("it looks like the id of a future"),
        _ => None,
    }
}
