//! Values too large for a message: kept where they were made, fetched where they are needed.

use super::{Core, Effects, Fetch, grant::Fetched, message::TaskName, table::State};
use crate::{
    cell::Outcome,
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::{collections::BTreeMap, sync::Arc};

/// How often a value is asked for again that could not be fetched from where its owner said.
const TRIES: u32 = 3;

/// What this process keeps for others, and what it is fetching.
#[derive(Default)]
pub(super) struct Objects {
    stored: BTreeMap<ObjectId, Payload>,
    fetching: BTreeMap<ObjectId, Fetching>,
}

/// A value on its way here.
#[derive(Default)]
struct Fetching {
    tasks: Vec<TaskName>,
    /// Whether handles here wait for it, too.
    wanted: bool,
}

impl Objects {
    pub fn store(&mut self, id: ObjectId, value: Payload) {
        self.stored.insert(id, value);
    }

    pub fn free(&mut self, id: ObjectId) {
        self.stored.remove(&id);
    }

    pub fn free_all_of(&mut self, owner: ProcessId) {
        self.stored.retain(|id, _| id.owner != owner);
    }

    pub fn len(&self) -> usize {
        self.stored.len() + self.fetching.len()
    }
}

impl Core {
    /// The bytes of an object that this process has, to serve them.
    pub fn object(&self, id: ObjectId) -> Option<Payload> {
        if let Some(value) = self.objects.stored.get(&id) {
            return Some(value.clone());
        }
        match self.outcome_of(id) {
            Some(Outcome::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// The value of an argument, or has it fetched for `task`.
    pub(super) fn here_or_fetch(
        &mut self,
        id: ObjectId,
        holder: ProcessId,
        len: u64,
        task: TaskName,
        fx: &mut Effects,
    ) -> Fetched {
        if let Some(value) = self.object(id) {
            return Fetched::Here(value);
        }
        let new = !self.objects.fetching.contains_key(&id);
        self.objects.fetching.entry(id).or_default().tasks.push(task);
        if new {
            fx.fetch.push(Fetch { id, from: holder, len });
        }
        Fetched::Coming(id)
    }

    /// A handle here wants the bytes of a stored value.
    pub(super) fn fetch_for_handles(&mut self, id: ObjectId, holder: ProcessId, len: u64, fx: &mut Effects) {
        if let Some(value) = self.objects.stored.get(&id).cloned() {
            return self.value_came(id, value, fx);
        }
        let new = !self.objects.fetching.contains_key(&id);
        self.objects.fetching.entry(id).or_default().wanted = true;
        if new {
            fx.fetch.push(Fetch { id, from: holder, len });
        }
    }

    /// A stored result came in for which a handle here had asked before.
    pub(super) fn fetch_if_asked(&mut self, id: ObjectId, fx: &mut Effects) {
        let Some(record) = self.table.get(id.seq) else { return };
        if let (true, Some(Outcome::Stored { len })) = (record.cell.was_asked(), record.cell.outcome())
            && let Some(holder) = self.holder_of(id)
        {
            self.fetch_for_handles(id, holder, len, fx);
        }
    }

    /// A fetch ended; `None` when the value could not be had from there.
    pub fn fetched(&mut self, id: ObjectId, from: ProcessId, value: Option<Payload>, fx: &mut Effects) {
        let Some(fetching) = self.objects.fetching.remove(&id) else { return };
        for task in &fetching.tasks {
            self.argument_fetched(*task, id, value.as_ref(), fx);
        }
        match value {
            Some(value) if fetching.wanted => self.value_came(id, value, fx),
            None if fetching.wanted => self.fetch_failed(id, from, fx),
            _ => {}
        }
        self.turn(fx);
    }

    fn argument_fetched(&mut self, task: TaskName, id: ObjectId, value: Option<&Payload>, fx: &mut Effects) {
        let key = (task.lease, task.number);
        let Some(queued) = self.worker.fetching.get_mut(&key) else { return };
        let Some(value) = value else {
            if let Some(queued) = self.worker.fetching.remove(&key) {
                let why = "the process that had it could not deliver it".to_owned();
                let error = Error::ObjectLost { object: id, why, passed: Default::default() };
                self.refuse_accepted(task.lease, queued, error, fx);
            }
            return;
        };
        for future in &mut queued.futures {
            if matches!(future, Fetched::Coming(coming) if *coming == id) {
                *future = Fetched::Here(value.clone());
            }
        }
        let ready = queued.futures.iter().all(|f| matches!(f, Fetched::Here(_)));
        if let Some(queued) = ready.then(|| self.worker.fetching.remove(&key)).flatten() {
            self.queue_accepted(task.lease, queued);
        }
    }

    fn value_came(&mut self, id: ObjectId, value: Payload, fx: &mut Effects) {
        let cell = if id.owner == self.me() {
            self.table.get(id.seq).map(|r| r.cell.clone())
        } else {
            self.borrows.get(id).map(|b| b.cell.clone())
        };
        if let Some(cell) = cell {
            fx.wake.append(cell.settle(Outcome::Value(value)));
        }
    }

    fn fetch_failed(&mut self, id: ObjectId, from: ProcessId, fx: &mut Effects) {
        if id.owner == self.me() {
            return self.value_lost(id.seq, from, fx);
        }
        self.ask_owner_again(id, from, TRIES, fx);
    }

    /// Who has the bytes of a stored value, as far as this process knows.
    pub(super) fn holder_of(&self, id: ObjectId) -> Option<ProcessId> {
        if id.owner == self.me() {
            self.table.get(id.seq)?.extra.as_ref()?.holder
        } else {
            self.borrows.get(id)?.holder
        }
    }

    /// A process is gone: the values that it kept for this one are computed again.
    pub(super) fn values_lost(&mut self, holder: ProcessId, fx: &mut Effects) {
        for seq in self.table.seqs() {
            if self.table.get(seq).is_some_and(|r| r.extra.as_ref().is_some_and(|x| x.holder == Some(holder)))
            {
                self.value_lost(seq, holder, fx);
            }
        }
    }

    /// The value of the own future `seq` is gone from `holder`. Its task runs again if it may, unless the bytes came
    /// here before.
    fn value_lost(&mut self, seq: u64, holder: ProcessId, fx: &mut Effects) {
        let Some(record) = self.table.get_mut(seq).filter(|r| r.state == State::Settled) else { return };
        let extra = record.extra();
        if extra.holder != Some(holder) {
            return;
        }
        extra.holder = None;
        if !matches!(record.cell.outcome(), Some(Outcome::Stored { .. })) {
            return;
        }
        record.died += 1;
        let spec = self.templates.spec(record.template);
        if u32::from(record.died) > spec.retries {
            let id = ObjectId { owner: self.settings.me, seq };
            let why = format!(
                "worker {holder}, which kept it, is gone, and all attempts of `{}` are spent",
                spec.name
            );
            let lost = Error::ObjectLost { object: id, why, passed: Default::default() };
            fx.wake.append(record.cell.settle(Outcome::Failed(Arc::new(lost))));
            return;
        }
        record.cell.reopen();
        self.enqueue(seq);
    }
}
