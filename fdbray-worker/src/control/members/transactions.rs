//! The transactions by which members come, go, beat and are declared dead.

use super::keys::Keys;
use super::record::{Cause, Change, Member, Role, Tombstone, decode, encode};
use crate::control::store::{Key, Range, Store, StoreError, Transaction, Watch};
use crate::id::ProcessId;

/// How many log entries are kept.
const LOG: usize = 256;
/// After how many changes the log is trimmed.
const TRIM_EVERY: u64 = 64;

/// The members of one cluster, in the store. A cheap clone.
#[derive(Clone)]
pub struct Members {
    store: Store,
    keys: Keys,
}

/// What a beat learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The epoch: another one than a reader knows means that its list is old.
    pub epoch: u64,
    /// The beats of the processes that were asked for, as far as they are members.
    pub beats: Vec<(ProcessId, u64)>,
}

/// Up to where a reader knows the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The epoch.
    pub epoch: u64,
    /// The key of the last entry it knows, if the log had one.
    last: Option<Vec<u8>>,
}

/// What happened since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// These changes, in order.
    Changes(Vec<Change>),
    /// More than the log still has: these are the members now.
    Reload(Vec<Member>),
}

/// Why a member's transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// The process was declared dead. It drops its work and joins again as a new process.
    #[error("this process is no member any more: {}", tombstone.as_ref().map_or("it left".into(), ToString::to_string))]
    Tombstoned {
        /// Who declared it dead and why; none if that was long ago, or if the process left.
        tombstone: Option<Tombstone>,
    },
    /// The id belongs to another registration. Ids are random: this is a mistake in the calling code.
    #[error("the process id {0} is registered already; every process needs a new one")]
    AlreadyRegistered(ProcessId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MemberError {
    /// Whether the same may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, MemberError::Store(error) if error.retryable())
    }
}

impl Members {
    /// The members of the cluster of that name.
    pub fn new(store: Store, cluster: &str) -> Self {
        Members { store, keys: Keys::new(cluster) }
    }

    /// The key that is there for as long as the process is a member. Who reads it in a transaction conflicts with the
    /// process's death.
    pub(crate) fn key(&self, id: ProcessId) -> Key {
        self.keys.member(id)
    }

    /// What a process is there for, as a transaction sees it; none if it is no member. Conflicts with its death.
    pub(crate) async fn role(&self, tx: &Transaction, id: ProcessId) -> Result<Option<Role>, StoreError> {
        let key = self.keys.member(id);
        let Some(record) = tx.get(&key).await? else { return Ok(None) };
        // One that cannot be read was written by a newer program: let it try.
        Ok(Some(decode::<Member>(key.as_ref(), &record).map_or(Role::Worker, |member| member.role)))
    }

    /// Whether all members are, and have always been, on this machine.
    pub fn one_machine(&self) -> bool {
        self.store.one_machine()
    }

    /// Adds a member. Registering the same one twice is as once.
    pub async fn register(&self, member: &Member) -> Result<(), MemberError> {
        let (keys, member) = (self.keys.clone(), member.clone());
        let trim = self
            .store
            .transact_idempotent(move |tx| {
                let (keys, member) = (keys.clone(), member.clone());
                async move {
                    let key = keys.member(member.id);
                    if let Some(known) = tx.get(&key).await? {
                        return match decode::<Member>(key.as_ref(), &known)? == member {
                            true => Ok(false),
                            false => Err(MemberError::AlreadyRegistered(member.id)),
                        };
                    }
                    // An earlier run may have taken effect without our knowledge, and the process been silent since.
                    if let Some(tombstone) = read_tombstone(&tx, &keys, member.id).await? {
                        return Err(MemberError::Tombstoned { tombstone: Some(tombstone) });
                    }
                    tx.set(&key, encode(&member)?)?;
                    tx.add(keys.beat(member.id), 1)?;
                    record(&tx, &keys, Change::Joined(member)).await
                }
            })
            .await?;
        self.trim_if(trim).await;
        Ok(())
    }

    /// Shows that a member lives, and reads the epoch and the beats of those it judges.
    pub async fn beat(&self, id: ProcessId, judged: &[ProcessId]) -> Result<Beat, MemberError> {
        let (keys, judged) = (self.keys.clone(), judged.to_vec());
        // Counting twice does no harm.
        self.store
            .transact_idempotent(move |tx| {
                let (keys, judged) = (keys.clone(), judged.clone());
                async move {
                    if tx.get(keys.member(id)).await?.is_none() {
                        return Err(MemberError::Tombstoned {
                            tombstone: read_tombstone(&tx, &keys, id).await?,
                        });
                    }
                    tx.add(keys.beat(id), 1)?;
                    let read = tx.snapshot();
                    let mut beats = Vec::with_capacity(judged.len());
                    for id in judged {
                        if let Some(beat) = read.get(keys.beat(id)).await? {
                            beats.push((id, number(&beat)));
                        }
                    }
                    Ok(Beat { epoch: epoch(&read, &keys).await?, beats })
                }
            })
            .await
    }

    /// Removes a member that ends in good order. False if it is none any more.
    pub async fn leave(&self, id: ProcessId) -> Result<bool, MemberError> {
        self.remove(id, None, Change::Left(id)).await
    }

    /// Declares a member dead. False if it is none any more, or if it has beaten after the beat that it is accused of.
    pub async fn bury(&self, tombstone: Tombstone) -> Result<bool, MemberError> {
        let beat = match tombstone.cause {
            Cause::Silent { beat } => Some(beat),
            Cause::Exited => None,
        };
        self.remove(tombstone.id, beat, Change::Died(tombstone)).await
    }

    /// The tombstone of a process, if it has one and if that is not trimmed.
    pub async fn tombstone(&self, id: ProcessId) -> Result<Option<Tombstone>, MemberError> {
        let keys = self.keys.clone();
        self.store
            .read(move |tx| {
                let keys = keys.clone();
                async move { read_tombstone(&tx, &keys, id).await }
            })
            .await
    }

    /// All members, and the position from which to follow.
    pub async fn list(&self) -> Result<(Vec<Member>, Position), MemberError> {
        let keys = self.keys.clone();
        self.store
            .read(move |tx| {
                let keys = keys.clone();
                async move { list(&tx, &keys).await }
            })
            .await
    }

    /// What happened since a position, the new position, and a watch that fires when more happens.
    pub async fn follow(&self, position: &Position) -> Result<(Tail, Position, Watch), MemberError> {
        let (keys, position) = (self.keys.clone(), position.clone());
        self.store
            .read(move |tx| {
                let (keys, position) = (keys.clone(), position.clone());
                async move {
                    let now = epoch(&tx, &keys).await?;
                    let watch = tx.watch(keys.epoch())?;
                    let mut tail = Range::children(&keys.log());
                    if let Some(last) = &position.last {
                        tail = tail.after(last);
                    }
                    let entries = tx.range(tail).await?;
                    if entries.len() as u64 != now.wrapping_sub(position.epoch) {
                        let (members, position) = list(&tx, &keys).await?;
                        return Ok((Tail::Reload(members), position, watch));
                    }
                    let last = entries.last().map(|(key, _)| key.clone()).or(position.last);
                    let changes =
                        entries.iter().map(|(key, value)| decode(key, value)).collect::<Result<_, _>>()?;
                    Ok((Tail::Changes(changes), Position { epoch: now, last }, watch))
                }
            })
            .await
    }

    async fn remove(&self, id: ProcessId, beat: Option<u64>, change: Change) -> Result<bool, MemberError> {
        let keys = self.keys.clone();
        let removed = self
            .store
            .transact_idempotent(move |tx| {
                let (keys, change) = (keys.clone(), change.clone());
                async move {
                    let now = tx.get(keys.beat(id)).await?.map(|beat| number(&beat));
                    if tx.get(keys.member(id)).await?.is_none() || beat.is_some_and(|beat| now != Some(beat))
                    {
                        return Ok::<_, MemberError>(None);
                    }
                    tx.clear(keys.member(id))?;
                    tx.clear(keys.beat(id))?;
                    if let Change::Died(tombstone) = &change {
                        tx.set(keys.tombstone(id), encode(tombstone)?)?;
                    }
                    record(&tx, &keys, change).await.map(Some)
                }
            })
            .await?;
        self.trim_if(removed.unwrap_or(false)).await;
        Ok(removed.is_some())
    }

    async fn trim_if(&self, trim: bool) {
        if trim && let Err(error) = self.trim().await {
            tracing::debug!(%error, "the log of members was not trimmed; somebody will later");
        }
    }

    /// Removes the oldest log entries, and the tombstones that they tell of.
    pub(super) async fn trim(&self) -> Result<(), MemberError> {
        let keys = self.keys.clone();
        self.store
            .transact_idempotent(move |tx| {
                let keys = keys.clone();
                async move {
                    // Nobody changes an entry: no need to conflict with who appends.
                    let entries = tx.snapshot().range(Range::children(&keys.log())).await?;
                    let old = &entries[..entries.len().saturating_sub(LOG)];
                    for (key, value) in old {
                        tx.clear(key)?;
                        if let Ok(Change::Died(tombstone)) = decode(key, value) {
                            tx.clear(keys.tombstone(tombstone.id))?;
                        }
                    }
                    Ok(())
                }
            })
            .await
    }
}

/// Appends to the log and counts the epoch. True if the log should be trimmed.
async fn record(tx: &Transaction, keys: &Keys, change: Change) -> Result<bool, MemberError> {
    let before = epoch(&tx.snapshot(), keys).await?;
    tx.add(keys.epoch(), 1)?;
    tx.set_stamped(keys.next_log(), encode(&change)?)?;
    Ok(before % TRIM_EVERY == TRIM_EVERY - 1)
}

async fn epoch(tx: &Transaction, keys: &Keys) -> Result<u64, MemberError> {
    Ok(tx.get(keys.epoch()).await?.map_or(0, |epoch| number(&epoch)))
}

async fn list(tx: &Transaction, keys: &Keys) -> Result<(Vec<Member>, Position), MemberError> {
    let epoch = epoch(tx, keys).await?;
    let records = tx.range(Range::children(&keys.members())).await?;
    let last = tx.range(Range::children(&keys.log()).reverse().limit(1)).await?;
    let members = records.iter().map(|(key, value)| decode(key, value)).collect::<Result<_, _>>()?;
    Ok((members, Position { epoch, last: last.into_iter().next().map(|(key, _)| key) }))
}

async fn read_tombstone(
    tx: &Transaction,
    keys: &Keys,
    id: ProcessId,
) -> Result<Option<Tombstone>, MemberError> {
    let key = keys.tombstone(id);
    tx.get(&key).await?.map(|value| decode(key.as_ref(), &value)).transpose()
}

/// A number that atomic addition keeps.
fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
