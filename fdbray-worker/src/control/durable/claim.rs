//! Claiming: a worker with room takes a batch of ready futures, starts attempts, or gives them back.

use super::FutureId;
use super::error::DurableError;
use super::failure::Cause;
use super::keys::{FIRST, Ready};
use super::record::{Claim, Record, State};
use super::settle::failed;
use super::shape::ShapeId;
use super::transition::Durable;
use super::work::{Ahead, Work, number};
use crate::control::store::{KeyValue, Range, Watch};
use crate::id::ProcessId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most futures that one transaction claims.
const BATCH: usize = 500;
/// How many kinds and priorities of one shape are looked at in one transaction.
const GROUPS: usize = 64;

/// What a worker wants to claim.
#[derive(Clone, Debug)]
pub struct Wants {
    /// For each shape that fits: how many of it, best first.
    pub shapes: Vec<(ShapeId, Room)>,
    /// How many in all.
    pub most: usize,
    /// How many of them are started at once, in the same transaction, because there is room right now.
    pub start: usize,
    /// The functions it has: see [`function_hash`](crate::registry::function_hash).
    pub kinds: Arc<BTreeSet<u64>>,
    /// Those of them that are known to be quick.
    pub quick: Arc<BTreeSet<u64>>,
    /// How many of them may be [suspect](Record::suspect): those that kill their workers spend their own attempts, and
    /// not those of their neighbours, when they come one by one.
    pub suspects: usize,
    /// A random number that is used for one batch only. It names the claim, and where in the index the search begins,
    /// so that those who search at once get in each other's way less.
    pub nonce: u64,
    /// Set when some were left that this worker could run: what lacks is room, and not work. Nothing tells of them again,
    /// so whoever waits for work has to look when there is room.
    pub held_back: Arc<AtomicBool>,
    /// An earlier call with this nonce failed, and may have taken effect nevertheless: what it claimed is the answer.
    pub again: bool,
}

impl Wants {
    fn hold_back(&self) {
        self.held_back.store(true, Ordering::Relaxed);
    }
}

/// How many futures of one shape a worker takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of all functions.
    pub all: usize,
    /// Of functions that are not known to be [quick](Wants::quick): what is claimed and cannot run at once is kept from
    /// others for as long as what runs takes.
    pub slow: usize,
    /// Those that begin at once. One on its last attempt is not started behind others, since it would fail with its worker
    /// without having run; nor is anything behind it in line, which would keep it waiting.
    pub now: usize,
}

/// Names one claim of one future. What is done in its name is discarded when it is not current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The future.
    pub id: FutureId,
    /// The number of the claim, from 1.
    pub claim: u32,
}

/// A future that a worker has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The claim.
    pub token: Token,
    /// The attempt, from 1, if it was started too.
    pub attempt: Option<u32>,
    /// All there is to know.
    pub record: Record,
}

impl Durable {
    /// Claims futures that are ready. An empty answer means that there are none for this worker.
    pub async fn claim(&self, by: ProcessId, wants: Wants) -> Result<Vec<Claimed>, DurableError> {
        Ok(self.claim_and_watch(by, wants).await?.0)
    }

    /// The same. When it finds less than it wants, it watches the signals of those shapes from that moment on.
    pub async fn claim_and_watch(
        &self,
        by: ProcessId,
        wants: Wants,
    ) -> Result<(Vec<Claimed>, Vec<(ShapeId, Watch)>), DurableError> {
        let again = Arc::new(AtomicBool::new(wants.again));
        let wants = Arc::new(wants);
        let places = |shape: ShapeId| [Some(by), None].map(|place| self.keys.first_ready(shape, place));
        let ranges = wants.shapes.iter().flat_map(|(shape, _)| places(*shape)).collect();
        let ahead = Ahead { members: [by].into(), ranges, ..Ahead::default() };
        self.transition_with(ahead, move |work| {
            let (wants, again) = (wants.clone(), again.clone());
            Box::pin(async move {
                work.require_member(by).await?;
                // An earlier run may have taken effect without our knowledge.
                if again.swap(true, Ordering::Relaxed) {
                    let claimed = work.claimed_as(by, wants.nonce).await?;
                    if !claimed.is_empty() {
                        return Ok((claimed, Vec::new()));
                    }
                }
                let claimed = work.claim(by, &wants).await?;
                let mut watches = Vec::new();
                if claimed.len() < wants.most.min(BATCH) {
                    for (shape, _) in &wants.shapes {
                        watches.push((*shape, work.tx.watch(work.keys.signal(*shape))?));
                    }
                }
                Ok((claimed, watches))
            })
        })
        .await
    }

    /// Starts attempts, which spends them. For each the attempt's number, or none if the claim is not current any more.
    pub async fn start(&self, by: ProcessId, tokens: Vec<Token>) -> Result<Vec<Option<u32>>, DurableError> {
        let futures = tokens.iter().map(|token| token.id).collect();
        let (tokens, ahead) = (Arc::new(tokens), Ahead { members: [by].into(), futures, ..Ahead::default() });
        self.transition_with(ahead, move |work| {
            let tokens = tokens.clone();
            Box::pin(async move {
                work.require_member(by).await?;
                work.load(tokens.iter().map(|token| token.id)).await?;
                tokens.iter().map(|token| work.start(by, *token)).collect()
            })
        })
        .await
    }

    /// Gives claims back: to whoever wants them next, or, with futures in `missing` that have no value any more, to
    /// wait for those. What was started has spent its attempt. What is not current is left alone.
    pub async fn give_back(
        &self,
        by: ProcessId,
        tokens: Vec<(Token, Vec<FutureId>)>,
    ) -> Result<(), DurableError> {
        let tokens = Arc::new(tokens);
        self.transition(move |work| {
            let tokens = tokens.clone();
            Box::pin(async move {
                work.require_member(by).await?;
                work.load(
                    tokens.iter().flat_map(|(token, missing)| missing.iter().copied().chain([token.id])),
                )
                .await?;
                for (token, missing) in tokens.iter() {
                    if work.current(by, *token).is_ok() {
                        work.unclaim(token.id, missing, false).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }
}

impl Work {
    async fn claim(&mut self, by: ProcessId, wants: &Wants) -> Result<Vec<Claimed>, DurableError> {
        let mut unreadable = BTreeSet::new();
        let found = loop {
            let found = self.find(by, wants, &unreadable).await?;
            self.load(found.iter().map(|(id, _)| *id)).await?;
            let before = unreadable.len();
            let is_newer = |id: &FutureId| matches!(self.get(*id), Err(DurableError::NewerRecord { .. }));
            unreadable.extend(found.iter().map(|(id, _)| *id).filter(is_newer));
            // What this program cannot read, it cannot run; but what is behind it.
            if unreadable.len() == before || unreadable.len() > BATCH {
                break found;
            }
        };
        let mut claimed = Vec::with_capacity(found.len());
        let mut suspects = wants.suspects;
        let mut now: Vec<Option<usize>> = wants.shapes.iter().map(|(_, room)| Some(room.now)).collect();
        for (id, shape) in found {
            let Some(free) = now[shape] else { continue };
            let last = matches!(self.get(id), Ok(Some(record)) if record.died >= record.spec.retries);
            if last && free == 0 && claimed.len() < wants.start {
                now[shape] = None;
                wants.hold_back();
                continue;
            }
            match self.edit(id) {
                Ok(record) if record.suspect && suspects == 0 => {
                    wants.hold_back();
                    continue;
                }
                Ok(record) if matches!(record.state, State::Unclaimed { .. }) => {
                    suspects -= usize::from(record.suspect);
                    record.claims += 1;
                    record.state =
                        State::Claimed(Claim { by, nonce: wants.nonce, attempt: None, lives: None });
                }
                Ok(_) | Err(DurableError::NewerRecord { .. } | DurableError::NoSuchFuture(_)) => continue,
                Err(error) => return Err(error),
            }
            now[shape] = Some(free.saturating_sub(1));
            let token = Token { id, claim: self.expect(id)?.claims };
            let attempt = if claimed.len() < wants.start { self.start(by, token)? } else { None };
            claimed.push(Claimed { token, attempt, record: self.expect(id)?.clone() });
        }
        Ok(claimed)
    }

    /// Ready futures that are wanted, with the places of their shapes in the list.
    async fn find(
        &mut self,
        by: ProcessId,
        wants: &Wants,
        unreadable: &BTreeSet<FutureId>,
    ) -> Result<Vec<(FutureId, usize)>, DurableError> {
        let mut found = Vec::new();
        let most = wants.most.min(BATCH);
        for (number, (shape, times)) in wants.shapes.iter().enumerate() {
            let mut room = Room { all: times.all.min(most - found.len()), ..*times };
            if room.all == 0 {
                break;
            }
            for place in [Some(by), None] {
                let first = self.range_ahead(self.keys.first_ready(*shape, place)).await?;
                let picked = self.pick(*shape, place, &first, &mut room, wants, unreadable).await?;
                found.extend(picked.into_iter().map(|id| (id, number)));
            }
        }
        Ok(found)
    }

    /// Ready futures of one shape and place, of which `first` are the first, the highest priority first. Reads by
    /// snapshot: only what is taken conflicts.
    async fn pick(
        &self,
        shape: ShapeId,
        place: Option<ProcessId>,
        first: &[KeyValue],
        room: &mut Room,
        wants: &Wants,
        unreadable: &BTreeSet<FutureId>,
    ) -> Result<Vec<FutureId>, DurableError> {
        if first.len() < FIRST {
            let all = first.iter().filter_map(|(key, _)| self.keys.parse_ready(key));
            let all = all.filter(|ready| !unreadable.contains(&ready.id));
            return Ok(pick_of(all, room, wants));
        }
        let tx = self.tx.snapshot();
        let (mut cursor, end) = self.keys.ready_place(shape, place).children();
        let mut picked: Vec<FutureId> = Vec::new();
        let mut seen = 0;
        let mut next: Option<Ready> = None;
        while room.all > 0 {
            // The groups of the next priority: one seek each, whatever is in them.
            let mut groups: Vec<Ready> = next.take().into_iter().collect();
            while seen < GROUPS {
                let first = tx.range(Range::new(cursor.clone(), end.clone()).limit(1)).await?;
                let Some((key, _)) = first.first() else { break };
                seen += 1;
                let Some(ready) = self.keys.parse_ready(key) else { break };
                cursor = self.keys.ready_group(&ready).children().1;
                let quick = wants.quick.contains(&ready.kind);
                if !wants.kinds.contains(&ready.kind) {
                    continue;
                }
                if room.slow == 0 && !quick {
                    wants.hold_back();
                    continue;
                }
                if groups.first().is_some_and(|group| group.priority != ready.priority) {
                    next = Some(ready);
                    break;
                }
                groups.push(ready);
            }
            if groups.is_empty() {
                if seen == GROUPS {
                    wants.hold_back();
                }
                break;
            }
            // None of one priority comes always first.
            let turn = wants.nonce as usize % groups.len();
            groups.rotate_left(turn);
            for group in groups {
                let quick = wants.quick.contains(&group.kind);
                let (begin, end) = self.keys.ready_group(&group).children();
                let middle: Vec<u8> = self.keys.ready_shard(&group, wants.nonce >> 32).into();
                for range in [Range::new(middle.clone(), end), Range::new(begin, middle.clone())] {
                    let most = if quick { room.all } else { room.all.min(room.slow) };
                    if most == 0 {
                        wants.hold_back();
                        continue;
                    }
                    let found = tx.range(range.limit(most + unreadable.len())).await?;
                    let ids = found.iter().filter_map(|(key, _)| Some(self.keys.parse_ready(key)?.id));
                    let before = picked.len();
                    picked.extend(ids.filter(|id| !unreadable.contains(id)).take(most));
                    let found = picked.len() - before;
                    if found == most {
                        wants.hold_back();
                    }
                    room.all -= found;
                    room.slow -= if quick { 0 } else { found };
                }
            }
        }
        Ok(picked)
    }

    /// What a process has claimed in one batch.
    async fn claimed_as(&mut self, by: ProcessId, nonce: u64) -> Result<Vec<Claimed>, DurableError> {
        let claims = self.tx.range(Range::children(&self.keys.claims_of(by))).await?;
        let mine = claims.iter().filter(|(_, value)| number(value) == nonce);
        let ids: Vec<_> = mine.filter_map(|(key, _)| FutureId::from_elements(&self.keys.rest(key))).collect();
        self.load(ids.iter().copied()).await?;
        let mut claimed = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.expect(id)?.clone();
            let State::Claimed(claim) = &record.state else { continue };
            claimed.push(Claimed {
                token: Token { id, claim: record.claims },
                attempt: claim.attempt,
                record,
            });
        }
        Ok(claimed)
    }

    fn start(&mut self, by: ProcessId, token: Token) -> Result<Option<u32>, DurableError> {
        match self.current(by, token) {
            Ok((_, Claim { attempt: Some(attempt), .. })) => return Ok(Some(attempt)),
            Ok(_) => {}
            Err(DurableError::Stale(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        let record = self.edit(token.id)?;
        record.attempts += 1;
        let attempt = Some(record.attempts);
        if let State::Claimed(claim) = &mut record.state {
            claim.attempt = attempt;
        }
        Ok(attempt)
    }

    /// The record that a claim is about, if it is current.
    pub(super) fn current(&self, by: ProcessId, token: Token) -> Result<(&Record, Claim), DurableError> {
        match self.get(token.id)? {
            Some(record) => match record.state {
                State::Claimed(claim) if claim.by == by && record.claims == token.claim => {
                    Ok((record, claim))
                }
                _ => Err(DurableError::Stale(token.id)),
            },
            None => Err(DurableError::Stale(token.id)),
        }
    }

    /// Takes a claimed future from its claimer, which has died or gave it up: its attempt, if there was one, is spent. An
    /// actor that lived is `lost`, or moves of its claimer's own will.
    pub(super) async fn unclaim(
        &mut self,
        id: FutureId,
        missing: &[FutureId],
        lost: bool,
    ) -> Result<(), DurableError> {
        let now = self.now;
        let State::Claimed(claim) = self.expect(id)?.state else { return Ok(()) };
        if claim.lives.is_some() {
            if lost && let Some(cause) = self.restart(id, claim.by)? {
                return self.settle(id, failed(cause, now), Some(claim.by)).await;
            }
        } else if let Some(attempt) = claim.attempt {
            if self.expect(id)?.spec.durable_value {
                self.clear(&self.keys.chunks(id, attempt))?;
            }
            let record = self.edit(id)?;
            record.died += 1;
            if record.died > record.spec.retries {
                let (function, attempts) = (record.spec.function.clone(), record.attempts);
                let cause = Cause::WorkerDied { function, worker: claim.by, attempts };
                return self.settle(id, failed(cause, now), Some(claim.by)).await;
            }
        }
        // Only what it was submitted with, and is there and without a value, can be waited for.
        let futures = self.expect(id)?.spec.futures.clone();
        let mut unsettled: Vec<FutureId> = Vec::new();
        for argument in missing.iter().filter(|argument| futures.contains(argument)) {
            if !unsettled.contains(argument) && self.get(*argument)?.is_some_and(|record| !record.settled()) {
                self.edit(*argument)?.dependents = true;
                unsettled.push(*argument);
            }
        }
        self.edit(id)?.state = match unsettled.is_empty() {
            true => State::Unclaimed { since: now, not_before: None },
            false => State::Waiting { missing: unsettled },
        };
        Ok(())
    }
}

/// The same, where all that there is has been read.
fn pick_of(all: impl Iterator<Item = Ready>, room: &mut Room, wants: &Wants) -> Vec<FutureId> {
    let mut all: Vec<Ready> = all.filter(|ready| wants.kinds.contains(&ready.kind)).collect();
    let mut picked = Vec::new();
    for same in all.chunk_by_mut(|one, next| one.priority == next.priority) {
        // None of one priority comes always first.
        same.rotate_left(wants.nonce as usize % same.len());
        for ready in same {
            let quick = wants.quick.contains(&ready.kind);
            if room.all == 0 || (room.slow == 0 && !quick) {
                wants.hold_back();
                continue;
            }
            room.all -= 1;
            room.slow -= usize::from(!quick);
            picked.push(ready.id);
        }
    }
    picked
}
