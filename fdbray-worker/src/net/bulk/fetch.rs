//! Fetching one object: from everybody who has it, each asked for the next part.

use super::{
    UNIT,
    pull::Pull,
    transfer::{Room, Transfer},
};
use crate::{
    id::{ObjectId, ProcessId},
    net::{error::FetchError, link::Link, manager::Manager},
    payload::Payload,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{SemaphorePermit, oneshot},
    time::{Instant, sleep},
};

/// See [`Net::fetch`](crate::net::Net::fetch).
pub(crate) async fn fetch<R: Future<Output = Result<Room, String>>>(
    manager: Arc<Manager>,
    from: Vec<ProcessId>,
    id: ObjectId,
    attempt: u32,
    len: u64,
    room: impl FnOnce(usize) -> R,
) -> Result<Payload, FetchError> {
    let limit = manager.options.max_value;
    if len > limit {
        return Err(FetchError::TooLarge { id, len, limit });
    }
    let lane = &manager.bulk;
    let permits = len.div_ceil(UNIT).clamp(1, u64::from(lane.permits)) as u32;
    // The semaphore is never closed.
    let _reserved = lane.budget.acquire_many(permits).await.ok();
    let room = match len {
        0 => None,
        _ => Some(room(len as usize).await.map_err(|why| FetchError::Full { id, len, why })?),
    };
    let transfer = Arc::new(Transfer::new(id, attempt, len, room));
    // With the first there should be a session; one with another that comes soon is good enough.
    let patience = |n| if n == 0 { Duration::ZERO } else { SOON };
    let pulls = from.iter().enumerate();
    let mut sources: FuturesUnordered<_> =
        pulls.map(|(n, peer)| pull_from(&manager, *peer, transfer.clone(), patience(n))).collect();
    let mut failed = None;
    while let Some(ended) = sources.next().await {
        match ended {
            Ok(last) => {
                drop(sources);
                return transfer.value().map_err(|why| FetchError::Damaged { peer: last, id, why });
            }
            Err(why) => {
                tracing::debug!("{why}");
                failed = Some(why);
            }
        }
    }
    let peer = from.first().copied().unwrap_or(id.owner);
    Err(failed.unwrap_or(FetchError::PeerLost { peer, id }))
}

/// Asks `peer` for one part after the other, until everything is here, whoever brought it.
async fn pull_from(
    manager: &Arc<Manager>,
    peer: ProcessId,
    transfer: Arc<Transfer>,
    patience: Duration,
) -> Result<ProcessId, FetchError> {
    let lost = || FetchError::PeerLost { peer, id: transfer.id };
    let until = Instant::now() + patience;
    let link = loop {
        match manager.link(peer) {
            Some(link) => break link,
            None if transfer.complete() => return Ok(peer),
            None if Instant::now() < until => sleep(LOOK_AGAIN).await,
            None => return Err(lost()),
        }
    };
    let mut asked = FuturesUnordered::new();
    loop {
        let changed = transfer.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if transfer.complete() {
            return Ok(peer);
        }
        while asked.len() < AHEAD {
            let slots = &link.bulk().slots;
            // With something under way already, what others keep waiting is left to other sources.
            let slot = match slots.try_acquire() {
                Ok(slot) => slot,
                Err(_) if !asked.is_empty() => break,
                Err(_) => slots.acquire().await.map_err(|_| lost())?,
            };
            let Some(rest) = transfer.take() else { break };
            let (done, ended) = oneshot::channel();
            let pull = Pull { transfer: transfer.clone(), rest, damaged: 0, done: Some(done) };
            let request = link.bulk().begin(pull).ok_or_else(lost)?;
            let part = Asked { link: &link, request, _slot: slot };
            super::open_if_wanted(manager, &link);
            asked.push(async move {
                let _part = part;
                ended.await
            });
        }
        tokio::select! {
            Some(ended) = asked.next() => ended.unwrap_or_else(|_| Err(lost()))?,
            () = changed => {}
        }
    }
}

/// A part that the peer was asked for. Dropped before it is here, it is no longer wanted from there.
struct Asked<'a> {
    link: &'a Link,
    request: u64,
    _slot: SemaphorePermit<'a>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.link.bulk().cancel(self.request);
    }
}

/// How long one more source is waited for with which there is no session yet, and how often that is looked for.
const SOON: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Parts that one source is asked for at once, so that it has the next to send when it is done with one.
const AHEAD: usize = 2;
