//! Checkpoints of lasting actors as they travel, and their owners' side: the last one of each actor is kept here, from
//! which it is made again.

use super::{
    Core, Effects,
    ledger::{Ledger, Said},
    message::{Message, Raw},
    table::State,
};
use crate::id::ProcessId;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// A checkpoint has at most so many bytes, with what its actor has answered: it travels in one frame, which has at most
/// 16 MiB.
pub const MOST_CHECKPOINT: usize = 12 << 20;

/// The state of an actor, and what it has answered by then.
#[derive(Serialize, Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    state: Raw<'a>,
    #[serde(borrow)]
    answers: Vec<(ProcessId, Vec<Said<'a>>)>,
}

/// Bytes that are no checkpoint.
#[derive(Clone, Debug, thiserror::Error)]
#[error("its bytes are damaged ({0})")]
pub struct Damaged(String);

/// The state that the actor has saved in `checkpoint`, all of which is read.
///
/// # Errors
/// It is no checkpoint.
pub fn state_in(checkpoint: &Bytes) -> Result<Bytes, Damaged> {
    let whole: Whole<'_> = postcard::from_bytes(checkpoint).map_err(|e| Damaged(e.to_string()))?;
    Ledger::of(&whole.answers).map_err(|_| Damaged("an answer in it".to_owned()))?;
    Ok(checkpoint.slice_ref(whole.state.0))
}

/// What the actor has answered by the time of `checkpoint`, which a thread has read before.
pub(super) fn ledger_in(checkpoint: &Bytes) -> Ledger {
    let whole: Option<Whole<'_>> = postcard::from_bytes(checkpoint).ok();
    whole.and_then(|whole| Ledger::of(&whole.answers).ok()).unwrap_or_default()
}

/// Those to whom the actor has answered what they may not have yet.
///
/// # Errors
/// It is no checkpoint.
pub fn callers_in(checkpoint: &[u8]) -> Result<Vec<ProcessId>, Damaged> {
    let whole: Whole<'_> = postcard::from_bytes(checkpoint).map_err(|e| Damaged(e.to_string()))?;
    Ok(whole.answers.iter().map(|(caller, _)| *caller).collect())
}

/// The checkpoint without what was answered to callers that are `gone` for good, and will not ask again.
///
/// # Errors
/// It is no checkpoint.
pub fn without(checkpoint: &[u8], gone: &[ProcessId]) -> Result<Vec<u8>, Damaged> {
    let damaged = |error: postcard::Error| Damaged(error.to_string());
    let mut whole: Whole<'_> = postcard::from_bytes(checkpoint).map_err(damaged)?;
    whole.answers.retain(|(caller, _)| !gone.contains(caller));
    postcard::to_stdvec(&whole).map_err(damaged)
}

/// Puts together what [`state_in`] and [`ledger_in`] take apart.
pub(super) fn checkpoint_of(state: &[u8], ledger: &Ledger) -> Result<Vec<u8>, String> {
    let whole = Whole { state: Raw(state), answers: ledger.said() };
    let bytes = postcard::to_stdvec(&whole).map_err(|e| e.to_string())?;
    if bytes.len() > MOST_CHECKPOINT {
        return Err(format!(
            "it has {} bytes, {} of them the state, and at most {MOST_CHECKPOINT} (12 MiB) can be kept: keep large parts \
             elsewhere, and what finds them in the state",
            bytes.len(),
            state.len()
        ));
    }
    Ok(bytes)
}

/// The last checkpoint of each lasting actor that this process owns.
#[derive(Default)]
pub(super) struct Kept(FxHashMap<u64, Bytes>);

impl Kept {
    pub fn get(&self, seq: u64) -> Option<Bytes> {
        if self.0.is_empty() { None } else { self.0.get(&seq).cloned() }
    }

    pub fn keep(&mut self, seq: u64, checkpoint: Bytes) {
        self.0.insert(seq, checkpoint);
    }

    /// The actor will not be made again.
    pub fn forget(&mut self, seq: u64) {
        if !self.0.is_empty() {
            self.0.remove(&seq);
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Core {
    /// The process in which the own actor lives, made there in this attempt, wants a checkpoint kept. That of an attempt that
    /// is not current any more concerns nobody.
    pub(super) fn keep_checkpoint(
        &mut self,
        peer: ProcessId,
        (seq, attempt): (u64, u32),
        version: u64,
        checkpoint: &[u8],
        fx: &mut Effects,
    ) {
        let current = self.table.get(seq).filter(|r| r.state == State::Settled && r.attempt == attempt);
        let Some(record) = current.filter(|r| r.extra.as_ref().is_some_and(|x| x.holder == Some(peer)))
        else {
            return;
        };
        // One that cannot be made again needs none.
        if u32::from(record.restarts) < self.templates.spec(record.template).restarts {
            self.kept.keep(seq, Bytes::copy_from_slice(checkpoint));
        }
        self.say(peer, &Message::CheckpointKept { seq, attempt, version }, fx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::ledger::Entry, payload::Payload};

    #[test]
    fn what_was_answered_to_callers_that_are_gone_can_be_left_out() {
        let (one, other) = (ProcessId::new(1).unwrap(), ProcessId::new(2).unwrap());
        let mut ledger = Ledger::default();
        for caller in [one, other] {
            ledger.add(caller, 7, Entry { at: 0, ran: 1, answer: Ok(Payload::copy_from(b"answer")) });
        }
        let whole = checkpoint_of(b"state", &ledger).unwrap();
        assert_eq!(callers_in(&whole).unwrap(), [one, other]);
        let rest = Bytes::from(without(&whole, &[one]).unwrap());
        assert_eq!(callers_in(&rest).unwrap(), [other]);
        assert_eq!(state_in(&rest).unwrap(), &b"state"[..]);
        assert!(ledger_in(&rest).get(other, 7).is_some());
        assert!(callers_in(b"no checkpoint").is_err() && without(b"no checkpoint", &[]).is_err());
    }
}
