//! Learns how durable futures end, through this process's one inbox, and tells the core.

use super::{
    AFTER_FAILURE, Attach, Durables, LOOK_AGAIN, calls::described, convert, future_id, object_id, store_error,
};
use crate::{
    cell::Outcome,
    control::{
        durable::{Cause, DurableError, FutureId, Handled, Notice, Record, State, Target, Value},
        store::Watch,
    },
    error::Error,
    handle::Handle,
    id::{ObjectId, ProcessId},
    net::FetchError,
    payload::Payload,
};
use rustc_hash::FxHashSet;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Futures that are attached to at once.
const AT_ONCE: usize = 200;
/// How long a process that is a member and cannot be reached is asked for a value. Then it is computed again elsewhere.
const REACH: Duration = Duration::from_secs(10);
/// Records that are read at once.
const RECORDS: usize = 200;
/// For how long there is no mail before what was handled is removed.
const QUIET: Duration = Duration::from_millis(50);
/// So many notices that were handled are not left lying in any case.
const UNCLEARED: usize = 2_000;

impl Durables {
    /// What the core wants for durable futures.
    pub fn carry_out(
        self: &Arc<Self>,
        attach: &mut Vec<ObjectId>,
        detach: &mut Vec<ObjectId>,
        cancel: &mut Vec<ObjectId>,
    ) {
        self.start();
        let mut state = self.state();
        for id in attach.drain(..) {
            let known = state.expected.contains(&id) || state.real.contains_key(&id);
            if !known {
                state.to_attach.push(Attach::of(id));
                self.attaching.notify_one();
            }
        }
        for id in detach.drain(..) {
            state.expected.remove(&id);
            state.submitting.remove(&id);
            if let Some(real) = state.real.remove(&id)
                && let Some(aliases) = state.aliases.get_mut(&real)
            {
                aliases.retain(|alias| *alias != id);
            }
        }
        for id in cancel.drain(..) {
            let (durables, real) = (self.clone(), state.real.get(&id).copied().unwrap_or(id));
            self.io.spawn(async move { durables.cancel(real).await });
        }
    }

    /// Waits until what was submitted here is in the store, or was refused.
    pub(super) async fn until_submitted(&self, id: ObjectId) {
        let submitting = self.state().submitting.get(&id).map(tokio::sync::watch::Sender::subscribe);
        if let Some(mut submitting) = submitting {
            // The sender goes once the submission is in the store.
            let _ = submitting.wait_for(Option::is_some).await;
        }
    }

    async fn cancel(&self, id: ObjectId) {
        let cancelled = |function| Error::Cancelled { function, passed: Default::default() };
        if self.stop_preparing(id, cancelled) {
            return;
        }
        self.until_submitted(id).await;
        let cancelled = match self.durable().await {
            Ok(durable) => self.persist(|| durable.cancel(future_id(id))).await.map(drop),
            Err(error) => Err(error),
        };
        match cancelled {
            Ok(()) | Err(DurableError::NoSuchFuture(_)) => {}
            Err(error) => tracing::warn!("durable future {id} could not be cancelled: {error}"),
        }
    }

    /// Has this process told of the ends of futures that others submitted, many in one transaction.
    pub(super) async fn attach_all(self: Arc<Self>) {
        loop {
            self.attaching.notified().await;
            let mut wanted = std::mem::take(&mut self.state().to_attach);
            while !wanted.is_empty() {
                let rest = wanted.split_off(wanted.len().min(AT_ONCE));
                self.attach_some(std::mem::replace(&mut wanted, rest)).await;
            }
        }
    }

    async fn attach_some(&self, wanted: Vec<Attach>) {
        // Before the store knows, so that no word comes unexpected.
        for wanted in &wanted {
            if let Target::Id(id) = &wanted.target {
                self.state().expected.insert(object_id(*id));
            }
        }
        let targets: Vec<_> = wanted.iter().map(|w| (w.target.clone(), w.returns)).collect();
        let attached = match self.durable().await {
            Ok(durable) => self.persist(|| durable.attach(targets.clone(), self.me)).await,
            Err(error) => Err(error),
        };
        let attached = match attached {
            Ok(attached) => attached,
            Err(error) => wanted.iter().map(|_| Err(error.clone())).collect(),
        };
        let (mut settled, mut by_key) = (Vec::new(), Vec::new());
        for (wanted, attached) in wanted.into_iter().zip(attached) {
            match (attached, wanted.reply) {
                (Ok(record), reply) => {
                    let id = object_id(record.id);
                    self.state().expected.insert(id);
                    if let Some(reply) = reply {
                        // Before the end is told, so that there is a future to tell it of.
                        if let Some(process) = self.process() {
                            let held =
                                Handle::counted(process.with_core(true, |core, fx| core.durable(id, fx)));
                            // Who asked may be gone.
                            let _ = reply.send(Ok(held));
                        }
                    }
                    if record.settled() {
                        settled.push(record);
                    } else if matches!(wanted.target, Target::Key(_)) {
                        by_key.push(record.id);
                    }
                }
                (Err(error), Some(reply)) => {
                    // Who asked may be gone.
                    let _ = reply.send(Err(store_error(&error)));
                }
                (Err(error), None) => {
                    if let Target::Id(id) = wanted.target {
                        self.tell(object_id(id), Outcome::Failed(Arc::new(lost_or(object_id(id), &error))));
                    }
                }
            }
        }
        self.waiting.notify_one();
        for record in settled {
            self.ended(record).await;
        }
        // It may have ended before it was known which one it is.
        self.look_at(by_key).await;
    }

    /// Reads what this process is told, for as long as it waits for anything.
    pub(super) async fn read_mail(self: Arc<Self>) {
        let mut handled: Option<Handled> = None;
        // How much was handled and is still there.
        let mut uncleared = 0;
        loop {
            let idle = {
                let state = self.state();
                state.expected.is_empty() && state.running.is_empty()
            };
            if idle && uncleared == 0 {
                self.waiting.notified().await;
            }
            let mail = match self.durable().await {
                Ok(durable) => self.persist(|| durable.mail(self.me, handled.clone())).await,
                Err(error) => Err(error),
            };
            let mail = match mail {
                Ok(mail) => mail,
                // Declared dead, or leaving: the core has ended, or does.
                Err(DurableError::NotMember(_)) => return,
                Err(error) => {
                    // No wait without end: the work goes on, and can be attached to again.
                    tracing::warn!("the ends of durable futures cannot be learned: {error}");
                    let expected: Vec<ObjectId> = self.state().expected.iter().copied().collect();
                    for id in expected {
                        self.tell(id, Outcome::Failed(Arc::new(store_error(&error))));
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            handled = mail.handled;
            let noticed = mail.notices.len();
            let mut settled: Vec<FutureId> = Vec::new();
            for notice in mail.notices {
                match notice {
                    Notice::Settled(id) => settled.push(id),
                    Notice::Revoked(id) => self.revoked(id),
                }
            }
            let read: FxHashSet<FutureId> = mail.records.iter().map(|record| record.id).collect();
            for record in mail.records {
                let wanted = self.state().expected.contains(&object_id(record.id));
                if wanted && record.settled() {
                    self.ended(record).await;
                }
            }
            settled.retain(|id| !read.contains(id));
            self.look_at(settled).await;
            uncleared += noticed;
            if mail.more {
                continue;
            }
            let mut fired = mail.watch;
            if uncleared > 0 {
                // What was handled is removed when it is quiet, or much.
                let quiet = uncleared > UNCLEARED || !self.rings(&mut fired, QUIET).await;
                if !quiet {
                    continue;
                }
                if let Some(handled) = &handled
                    && self.clear_mail(handled.clone()).await
                {
                    uncleared = 0;
                }
            }
            if !self.rings(&mut fired, LOOK_AGAIN).await {
                self.look_at_expected().await;
            }
        }
    }

    /// Waits until the bell rings, by itself or because somebody says so; whether it does in that time.
    async fn rings(&self, fired: &mut Watch, limit: Duration) -> bool {
        tokio::select! {
            () = rung(fired) => true,
            () = self.mail.notified() => true,
            () = tokio::time::sleep(limit) => false,
        }
    }

    /// A process that completed something for this one says so.
    pub fn has_mail(&self) {
        self.mail.notify_one();
    }

    /// Removes what was handled, now that it is quiet; whether it could.
    async fn clear_mail(&self, handled: Handled) -> bool {
        match self.durable().await {
            Ok(durable) => durable.clear_mail(self.me, handled).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Looks whether anything has ended of which no word came.
    async fn look_at_expected(&self) {
        let ids: Vec<FutureId> = {
            let state = self.state();
            let submitted = state.expected.iter().filter(|id| !state.submitting.contains_key(id));
            submitted.map(|id| future_id(*id)).collect()
        };
        self.look_at(ids).await;
    }

    async fn look_at(&self, ids: Vec<FutureId>) {
        let ids: Vec<FutureId> = {
            let state = self.state();
            ids.into_iter().filter(|id| state.expected.contains(&object_id(*id))).collect()
        };
        for ids in ids.chunks(RECORDS) {
            let records = match self.durable().await {
                Ok(durable) => self.persist(|| durable.records(ids.to_vec())).await,
                Err(error) => Err(error),
            };
            match records {
                Ok(records) => {
                    for (id, record) in ids.iter().zip(records) {
                        match record {
                            Some(record) if record.settled() => self.ended(record).await,
                            Some(_) => {}
                            // Released by somebody else before this process heard of its end.
                            None => {
                                let gone = DurableError::NoSuchFuture(id.to_string());
                                let error = lost_or(object_id(*id), &gone);
                                self.tell(object_id(*id), Outcome::Failed(Arc::new(error)));
                            }
                        }
                    }
                }
                Err(error) => tracing::warn!("the ends of durable futures cannot be read: {error}"),
            }
        }
    }

    /// A future has ended, as its record tells.
    pub(super) async fn ended(&self, record: Record) {
        let (id, function) = (object_id(record.id), record.spec.function);
        let failed = |cause: Cause| Outcome::Failed(Arc::new(convert::error(id, cause.into())));
        let outcome = match record.state {
            State::Realized(realized) => match realized.value {
                Value::Inline(bytes) => Outcome::Value(described(bytes)),
                Value::Chunks(_) => match self.stored_value(record.id).await {
                    Ok(Some(bytes)) => Outcome::Value(described(bytes)),
                    Ok(None) => return,
                    Err(error) => Outcome::Failed(Arc::new(store_error(&error))),
                },
                Value::Kept(len) => {
                    // It may take long, and others have ended too.
                    if let Some(durables) = self.process().and_then(|p| p.outside()?.durables().cloned())
                        && self.state().bringing.insert(id)
                    {
                        self.io.spawn(
                            async move { durables.bring(id, realized.by, realized.attempt, len).await },
                        );
                    }
                    return;
                }
            },
            State::Failed(now) => Outcome::Failed(Arc::new(convert::error(id, now.failure))),
            State::Cancelled { .. } => failed(Cause::Cancelled { function }),
            State::Waiting { .. } | State::Unclaimed { .. } | State::Claimed(_) => return,
        };
        self.tell(id, outcome);
    }

    async fn stored_value(&self, id: FutureId) -> Result<Option<Vec<u8>>, DurableError> {
        let durable = self.durable().await?;
        self.persist(|| durable.value(id)).await
    }

    /// Brings a value here that a process keeps, or has it computed again if that has it no more.
    async fn bring(&self, id: ObjectId, holder: ProcessId, attempt: u32, len: u64) {
        let value = self.value_of(holder, id, attempt, len).await;
        self.state().bringing.remove(&id);
        match value {
            Ok(value) => self.tell(id, Outcome::Value(value)),
            Err(Some(error)) if !self.runs_with(id) => self.tell(id, Outcome::Failed(Arc::new(error))),
            // Then word comes again. What this process was to run with it, it can run with another value.
            Err(_) => self.value_lost(id, holder).await,
        }
    }

    /// The error says why the value cannot be had although it is there; none if it is lost.
    async fn value_of(
        &self,
        holder: ProcessId,
        id: ObjectId,
        attempt: u32,
        len: u64,
    ) -> Result<Payload, Option<Error>> {
        if holder == self.me {
            return self.process().ok_or(None)?.object_here(id, attempt).await.ok_or(None);
        }
        let until = Instant::now() + REACH;
        let mut pause = Duration::from_millis(20);
        loop {
            let process = self.process().ok_or(None)?;
            let outside = process.outside().ok_or(None)?;
            let shared = process.shared().clone();
            let fetched = outside.net.fetch(vec![holder], id, attempt, len, |len| shared.room(len));
            let why = match fetched.await {
                Ok(value) => return Ok(Payload::Described(value.contiguous())),
                Err(why) => why,
            };
            tracing::debug!("the value of durable future {id} was not fetched from {holder}: {why}");
            match why {
                FetchError::TooLarge { .. } => return Err(Some(Error::control(why))),
                FetchError::Full { .. } => return Err(Some(Error::StoreFull { message: why.to_string() })),
                _ => {}
            }
            if let Some(refused) = process.with_core(false, |core, _| core.refused_by(holder)) {
                return Err(Some(not_for_this_build(id, holder, &refused)));
            }
            let is_there = outside.members().is_some_and(|members| members.members().contains_key(&holder));
            if !is_there || !matches!(why, FetchError::PeerLost { .. }) || Instant::now() > until {
                return Err(None);
            }
            // There may be no session yet, or a new one soon.
            process.with_core(true, |core, fx| core.reach(holder, fx));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether a call that was claimed here has this future among its arguments.
    fn runs_with(&self, id: ObjectId) -> bool {
        self.state().running.values().any(|running| running.has_argument(id))
    }

    async fn value_lost(&self, id: ObjectId, holder: ProcessId) {
        let lost = match self.durable().await {
            Ok(durable) => self.persist(|| durable.lost(future_id(id), holder)).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = lost {
            tracing::warn!("that the value of durable future {id} is lost could not be said: {error}");
        }
        // Nobody is told twice of one end, so this asks to be told of the next.
        let mut state = self.state();
        state.expected.remove(&id);
        state.to_attach.push(Attach::of(id));
        self.attaching.notify_one();
    }

    fn tell(&self, id: ObjectId, outcome: Outcome) {
        let aliases = {
            let mut state = self.state();
            state.expected.remove(&id);
            state.aliases.remove(&id).unwrap_or_default()
        };
        let Some(process) = self.process() else { return };
        process.with_core(true, |core, fx| {
            for alias in aliases {
                core.durable_ended(alias, outcome.clone(), fx);
            }
            core.durable_ended(id, outcome, fx);
        });
    }
}

/// Waits until a watch fires, or fails: it may have missed something then. One that fails at once, again and again, is
/// looked at now and then.
async fn rung(watch: &mut Watch) {
    if watch.await.is_err() {
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

/// Why a value that is there cannot be had here.
fn not_for_this_build(id: ObjectId, holder: ProcessId, refused: &str) -> Error {
    let message = format!(
        "the value of durable future {id} is kept by process {holder}, which gives this process nothing: {refused}. Values \
         in the store are for every build: submit the call with `durable_value()`, or set `allow_mixed_binaries` in both"
    );
    Error::Incompatible { message }
}

/// What a future that cannot be attached to ends with.
fn lost_or(id: ObjectId, error: &DurableError) -> Error {
    match error {
        DurableError::NoSuchFuture(_) => {
            let why = "the cluster does not know it: it was released, or its retention is over".to_owned();
            Error::ObjectLost { object: id, why, passed: Default::default() }
        }
        error => store_error(error),
    }
}
