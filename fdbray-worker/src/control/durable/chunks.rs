//! Bytes that are too large for a record: arguments written ahead of their submission, values ahead of their end.
//!
//! Both are written in several transactions, each of which checks that it may: arguments that the submitter is a member
//! and leaves a mark, values that the claim is current. So whatever is left behind by a death is found by whoever
//! clears up after the dead process, and nothing is written behind its back.

use super::FutureId;
use super::claim::Token;
use super::error::DurableError;
use super::record::{Arguments, LARGEST, State, Value};
use super::transition::Durable;
use super::work::Work;
use crate::control::store::Range;
use crate::id::ProcessId;
use std::sync::Arc;

/// The size of a chunk.
const CHUNK: usize = 90_000;
/// How many one transaction writes or reads.
const AT_ONCE: usize = 10;

impl Durable {
    /// Writes the value of a started attempt whose future has `durable_value`, ahead of its completion with
    /// [`Outcome::Chunks`](super::Outcome::Chunks). Writing again overwrites.
    pub async fn write_value(&self, by: ProcessId, token: Token, value: &[u8]) -> Result<(), DurableError> {
        if value.len() > LARGEST {
            return Err(DurableError::TooLarge {
                what: "a durable value",
                len: value.len(),
                limit: LARGEST,
                hint: "leave out `durable_value`, so that it is kept by the process that computed it",
            });
        }
        let attempt = self
            .transition(move |work| {
                Box::pin(async move {
                    work.load([token.id]).await?;
                    let (record, claim) = work.current(by, token)?;
                    match claim.attempt {
                        Some(_) if !record.spec.durable_value => Err(DurableError::NoDurableValue(token.id)),
                        Some(attempt) => Ok(attempt),
                        None => Err(DurableError::Stale(token.id)),
                    }
                })
            })
            .await?;
        self.write_chunks(token.id, attempt, Some((by, token)), value).await
    }

    pub(super) async fn write_chunks(
        &self,
        id: FutureId,
        attempt: u32,
        claim: Option<(ProcessId, Token)>,
        bytes: &[u8],
    ) -> Result<(), DurableError> {
        for (batch, bytes) in bytes.chunks(CHUNK * AT_ONCE).enumerate() {
            let bytes: Arc<[u8]> = bytes.into();
            let write = self.transition(move |work| {
                let bytes = bytes.clone();
                Box::pin(async move {
                    match claim {
                        Some((by, token)) => {
                            work.require_member(by).await?;
                            work.load([id]).await?;
                            if work.current(by, token)?.1.attempt != Some(attempt) {
                                return Err(DurableError::Stale(id));
                            }
                        }
                        None => {
                            work.require_member(id.process).await?;
                            work.load([id]).await?;
                            if work.get(id)?.is_some() {
                                // Submitted already, by an earlier run.
                                return Ok(());
                            }
                            work.tx.set(work.keys.staged(id), b"")?;
                        }
                    }
                    for (number, chunk) in bytes.chunks(CHUNK).enumerate() {
                        let number = (batch * AT_ONCE + number) as u64;
                        work.tx.set(work.keys.chunk(id, attempt, number), chunk)?;
                    }
                    Ok(())
                })
            });
            write.await?;
        }
        Ok(())
    }

    /// The encoded arguments of a future, wherever they are. Those of one that has ended may be gone.
    pub async fn arguments(&self, id: FutureId) -> Result<Vec<u8>, DurableError> {
        match self.record(id).await?.spec.arguments {
            Arguments::Inline(bytes) => Ok(bytes),
            Arguments::Chunks(len) => self.read_chunks(id, 0, len).await,
            Arguments::Dropped => Err(DurableError::NoSuchFuture(id.to_string())),
        }
    }

    /// The value of a realized future, unless it is kept by a process.
    pub async fn value(&self, id: FutureId) -> Result<Option<Vec<u8>>, DurableError> {
        let State::Realized(realized) = self.record(id).await?.state else { return Ok(None) };
        match realized.value {
            Value::Inline(bytes) => Ok(Some(bytes)),
            Value::Chunks(len) => self.read_chunks(id, realized.attempt, len).await.map(Some),
            Value::Kept(_) => Ok(None),
        }
    }

    async fn read_chunks(&self, id: FutureId, attempt: u32, len: u64) -> Result<Vec<u8>, DurableError> {
        let mut bytes = Vec::with_capacity(len.min(LARGEST as u64) as usize);
        let mut next = 0_u64;
        while (bytes.len() as u64) < len {
            let read = self.look(move |tx, keys| {
                Box::pin(async move {
                    let begin = keys.chunk(id, attempt, next);
                    let end = keys.chunk(id, attempt, next + AT_ONCE as u64);
                    Ok(tx.snapshot().range(Range::new(begin, end)).await?)
                })
            });
            let read = read.await?;
            if read.len() < AT_ONCE && ((bytes.len() + CHUNK * read.len()) as u64) < len {
                // Removed meanwhile.
                return Err(DurableError::NoSuchFuture(id.to_string()));
            }
            next += AT_ONCE as u64;
            read.iter().for_each(|(_, chunk)| bytes.extend_from_slice(chunk));
        }
        Ok(bytes)
    }
}

impl Work {
    /// Whether the last chunk of a value is there. The claimer's mistake if not: nothing may realize what is not there.
    pub(super) async fn has_written(
        &self,
        id: FutureId,
        attempt: u32,
        len: u64,
    ) -> Result<bool, DurableError> {
        let (last, rest) = (len.saturating_sub(1) / CHUNK as u64, len % CHUNK as u64);
        let chunk = self.tx.get(self.keys.chunk(id, attempt, last)).await?;
        Ok(len == 0 || chunk.is_some_and(|chunk| chunk.len() % CHUNK == rest as usize))
    }
}
