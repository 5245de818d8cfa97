//! What a process leaves behind when it is no member any more. Any live process clears it up, whether or not anybody
//! waits for it.

use super::FutureId;
use super::error::DurableError;
use super::inbox::process;
use super::record::State;
use super::shape;
use super::transition::Durable;
use super::work::Work;
use crate::control::store::Range;
use crate::id::ProcessId;
use std::collections::BTreeSet;

/// How many claims, marks or index entries one transaction clears up. Few in tests.
const BATCH: usize = if cfg!(test) { 3 } else { 100 };

impl Durable {
    /// Gives back the claims of a process that is no member any more, and removes its inbox and what it wrote ahead of
    /// submissions. Does nothing for a member. Doing it twice, or two at once, is as doing it once.
    pub async fn recover(&self, dead: ProcessId) -> Result<(), DurableError> {
        let mut after = None;
        loop {
            let from = after;
            let next = self
                .transition(move |work| Box::pin(async move { work.recover_claims(dead, from).await }))
                .await?;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        while self.transition(move |work| Box::pin(async move { work.recover_rest(dead).await })).await? {}
        Ok(())
    }

    /// Processes that are no members but have something to be cleared up: for those whose death nobody saw.
    pub async fn left_behind(&self) -> Result<Vec<ProcessId>, DurableError> {
        let members = self.members().clone();
        self.look(move |tx, keys| {
            let members = members.clone();
            Box::pin(async move {
                let tx = tx.snapshot();
                let mut processes = BTreeSet::new();
                for kind in
                    [keys.claims(), keys.inboxes(), keys.bells(), keys.all_staged(), keys.all_namings()]
                {
                    let (mut cursor, end) = kind.children();
                    // One seek for each process, whatever it has.
                    while let Some((key, _)) = tx.range(Range::new(cursor, end.clone()).limit(1)).await?.pop()
                    {
                        let Some(process) = process(keys.rest(&key).first()) else { break };
                        processes.insert(process);
                        cursor = kind.clone().u64(process.get()).children().1;
                    }
                }
                for (id, _) in shape::all(&tx, keys).await? {
                    // Those that are to run in a certain process are behind those that may run anywhere.
                    let (mut cursor, end) =
                        (keys.ready_place(id, None).children().1, keys.ready_shape(id).children().1);
                    while let Some((key, _)) = tx.range(Range::new(cursor, end.clone()).limit(1)).await?.pop()
                    {
                        let Some(process) = process(keys.rest(&key).get(1)) else { break };
                        processes.insert(process);
                        cursor = keys.ready_place(id, Some(process)).children().1;
                    }
                }
                let mut dead = Vec::new();
                for process in processes {
                    if tx.get(members.key(process)).await?.is_none() {
                        dead.push(process);
                    }
                }
                Ok(dead)
            })
        })
        .await
    }
}

impl Work {
    /// Gives back a batch of claims. Returns behind which one to go on.
    async fn recover_claims(
        &mut self,
        dead: ProcessId,
        after: Option<FutureId>,
    ) -> Result<Option<FutureId>, DurableError> {
        if self.is_member(dead).await? {
            return Ok(None);
        }
        let mut range = Range::children(&self.keys.claims_of(dead)).limit(BATCH);
        if let Some(after) = after {
            range = range.after(self.keys.claim(dead, after));
        }
        // Nobody adds to the claims of the dead.
        let claims = self.tx.snapshot().range(range).await?;
        let ids: Vec<_> =
            claims.iter().filter_map(|(key, _)| FutureId::from_elements(&self.keys.rest(key))).collect();
        self.load(ids.iter().copied()).await?;
        for id in &ids {
            let held = match self.get(*id) {
                Ok(Some(record)) => match record.state {
                    State::Claimed(claim) if claim.by == dead => Some(claim),
                    _ => None,
                },
                // Left to a process that can read it.
                Ok(None) | Err(DurableError::NewerRecord { .. }) => None,
                Err(error) => return Err(error),
            };
            if let Some(claim) = held {
                if claim.attempt.is_some() && claim.lives.is_none() {
                    self.edit(*id)?.suspect = true;
                }
                self.unclaim(*id, &[], true).await?;
            }
        }
        Ok(ids.last().copied().filter(|_| claims.len() == BATCH))
    }

    /// Removes a process's inbox and marks, and has decided what becomes of that which was to run there. Returns whether there is more.
    async fn recover_rest(&mut self, dead: ProcessId) -> Result<bool, DurableError> {
        if self.is_member(dead).await? {
            return Ok(false);
        }
        self.clear(&self.keys.inbox(dead))?;
        self.tx.clear(self.keys.bell(dead))?;
        let staged = self.tx.range(Range::children(&self.keys.staged_by(dead)).limit(BATCH)).await?;
        for id in staged.iter().filter_map(|(key, _)| FutureId::from_elements(&self.keys.rest(key))) {
            self.unstage(id)?;
        }
        self.unname_all(dead).await?;
        let mut placed = Vec::new();
        for (shape, _) in shape::all(&self.tx.snapshot(), &self.keys).await? {
            let there = Range::children(&self.keys.ready_place(shape, Some(dead))).limit(BATCH);
            placed.extend(self.tx.snapshot().range(there).await?);
            if placed.len() >= BATCH {
                break;
            }
        }
        let ids: Vec<_> = placed.iter().filter_map(|(key, _)| Some(self.keys.parse_ready(key)?.id)).collect();
        self.load(ids.iter().copied()).await?;
        let mut moved = false;
        for id in ids {
            match self.edit(id) {
                // What becomes of it is decided with all that is ready.
                Ok(_) => {}
                Err(DurableError::NewerRecord { .. } | DurableError::NoSuchFuture(_)) => continue,
                Err(error) => return Err(error),
            }
            moved = true;
        }
        Ok(staged.len() == BATCH || (moved && placed.len() >= BATCH))
    }
}
