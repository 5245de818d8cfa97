//! Checkpoints of actors that the cluster owns: the last one of each, from which whoever claims it makes it again.
//!
//! Written ahead in chunks and adopted by the transaction that writes the last of them, each of which checks the claim: so
//! who has lost that changes nothing, and what it left behind goes with the next one.

use super::FutureId;
use super::claim::Token;
use super::encoding;
use super::error::DurableError;
use super::transition::Durable;
use super::work::Work;
use crate::control::store::Range;
use crate::id::ProcessId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The size of a chunk. Small in tests.
const CHUNK: usize = if cfg!(test) { 100 } else { 90_000 };
/// How many one transaction writes or reads. Few in tests.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 10 };

/// Which checkpoint is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    /// By which claim.
    claim: u32,
    /// Which of that claim.
    version: u64,
    len: u64,
}

impl Durable {
    /// Keeps a checkpoint of the actor of a claim instead of the one before. The versions of one claim count up.
    pub async fn save_checkpoint(
        &self,
        by: ProcessId,
        token: Token,
        version: u64,
        checkpoint: &[u8],
    ) -> Result<(), DurableError> {
        let last = Last { claim: token.claim, version, len: checkpoint.len() as u64 };
        let batches: Vec<Arc<[u8]>> = match checkpoint {
            [] => vec![[].into()],
            bytes => bytes.chunks(CHUNK * AT_ONCE).map(Arc::from).collect(),
        };
        let final_batch = batches.len() - 1;
        for (batch, bytes) in batches.into_iter().enumerate() {
            let write = self.transition(move |work| {
                let bytes = bytes.clone();
                Box::pin(async move {
                    work.require_member(by).await?;
                    work.load([token.id]).await?;
                    if work.current(by, token)?.1.lives.is_none() {
                        return Err(DurableError::Stale(token.id));
                    }
                    for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
                        let number = (batch * AT_ONCE + number) as u64;
                        work.tx
                            .set(work.keys.checkpoint_chunk(token.id, token.claim, version, number), chunk)?;
                    }
                    if batch == final_batch { work.adopt_checkpoint(token.id, last).await } else { Ok(()) }
                })
            });
            write.await?;
        }
        Ok(())
    }

    /// The last checkpoint of an actor, if there is one. To be read by who has claimed it, since nobody else writes then.
    pub async fn checkpoint(&self, id: FutureId) -> Result<Option<Vec<u8>>, DurableError> {
        let last = self.look(move |tx, keys| {
            Box::pin(async move {
                let key = keys.checkpoint(id);
                tx.get(&key).await?.map(|last| encoding::decode::<Last>(key.as_ref(), &last)).transpose()
            })
        });
        let Some(last) = last.await? else { return Ok(None) };
        let (mut bytes, mut next) = (Vec::with_capacity(last.len as usize), 0);
        while (bytes.len() as u64) < last.len {
            let read = self.look(move |tx, keys| {
                Box::pin(async move {
                    let chunk = |number| keys.checkpoint_chunk(id, last.claim, last.version, number);
                    Ok(tx.range(Range::new(chunk(next), chunk(next + AT_ONCE as u64))).await?)
                })
            });
            let read = read.await?;
            if read.is_empty() {
                // Another one has it, and wrote a later one.
                return Err(DurableError::Stale(id));
            }
            next += AT_ONCE as u64;
            read.iter().for_each(|(_, chunk)| bytes.extend_from_slice(chunk));
        }
        Ok(Some(bytes))
    }
}

impl Durable {
    /// Those of these processes that are no members any more, and will not be again.
    pub async fn departed(&self, processes: Vec<ProcessId>) -> Result<Vec<ProcessId>, DurableError> {
        let (members, processes) = (self.members().clone(), Arc::new(processes));
        self.look(move |tx, _| {
            let (members, processes) = (members.clone(), processes.clone());
            Box::pin(async move {
                let found = tx.get_all(processes.iter().map(|process| members.key(*process))).await?;
                let departed = processes.iter().zip(found).filter(|(_, found)| found.is_none());
                Ok(departed.map(|(process, _)| *process).collect())
            })
        })
        .await
    }
}

impl Work {
    /// From now on this is the last checkpoint, and there is no other.
    async fn adopt_checkpoint(&self, id: FutureId, last: Last) -> Result<(), DurableError> {
        let key = self.keys.checkpoint(id);
        if let Some(before) = self.tx.get(&key).await? {
            let before: Last = encoding::decode(key.as_ref(), &before)?;
            if before.claim == last.claim && before.version > last.version {
                // A later one was quicker.
                return self.clear(&self.keys.checkpoint_chunks(id, last.claim, last.version));
            }
        }
        let (begin, end) = key.children();
        let (first, behind) = self.keys.checkpoint_chunks(id, last.claim, last.version).children();
        self.tx.clear_range(begin, first)?;
        self.tx.clear_range(behind, end)?;
        Ok(self.tx.set(key, encoding::encode("checkpoint", &last)?)?)
    }

    /// The actor has ended.
    pub(super) fn forget_checkpoint(&self, id: FutureId) -> Result<(), DurableError> {
        self.tx.clear(self.keys.checkpoint(id))?;
        self.clear(&self.keys.checkpoint(id))
    }
}
