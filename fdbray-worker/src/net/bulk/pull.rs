//! The pulling side: transfers that wait for their bytes, over however many connections that takes.

use super::{UNIT, wire};
use crate::{
    id::{ObjectId, ProcessId},
    net::{error::FetchError, link::Link, manager::Manager},
    payload::Payload,
};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, Semaphore, oneshot};

/// The bulk lane of a session.
pub(crate) struct Bulk {
    peer: ProcessId,
    state: Mutex<State>,
    /// There is something to send.
    pub(super) work: Notify,
    /// A new connection is to take the place of the one in use.
    pub(super) replaced: Notify,
    /// Held by the connection in use.
    pub(super) carrying: tokio::sync::Mutex<()>,
    /// Transfers under way.
    slots: Semaphore,
}

#[derive(Default)]
struct State {
    pulls: FxHashMap<u64, Pull>,
    /// The number of the last request.
    last: u64,
    /// Messages to send, whole; for the connection in use only.
    outbox: VecDeque<Bytes>,
    /// Connections that are in use or about to be.
    connections: u32,
    opening: bool,
    /// The peer, which cannot dial, has asked for a connection since one last ended here.
    asked: bool,
    ended: bool,
}

struct Pull {
    id: ObjectId,
    len: u64,
    /// What has arrived. Its room was reserved before the bytes were asked for.
    buf: Vec<u8>,
    /// Whether that is a value's flat form; `None` before the first of it.
    flat: Option<bool>,
    done: oneshot::Sender<Result<Payload, FetchError>>,
}

/// See [`Net::fetch`](crate::net::Net::fetch).
pub(crate) async fn fetch(
    manager: Arc<Manager>,
    peer: ProcessId,
    id: ObjectId,
    len: u64,
) -> Result<Payload, FetchError> {
    let limit = manager.options.max_value;
    let too_large = |limit| FetchError::TooLarge { id, len, limit };
    if len > limit {
        return Err(too_large(limit));
    }
    let lane = &manager.bulk;
    let permits = len.div_ceil(UNIT).clamp(1, u64::from(lane.permits)) as u32;
    let lost = || FetchError::PeerLost { peer, id };
    // Neither semaphore is ever closed.
    let _reserved = lane.budget.acquire_many(permits).await.map_err(|_| lost())?;
    let link = manager.link(peer).ok_or_else(lost)?;
    let _slot = link.bulk().slots.acquire().await.map_err(|_| lost())?;
    let mut buf = Vec::new();
    buf.try_reserve_exact(len as usize).map_err(|_| too_large(0))?;
    let (done, result) = oneshot::channel();
    let request = link.bulk().begin(Pull { id, len, buf, flat: None, done }).ok_or_else(lost)?;
    let _cancel = CancelOnDrop { link: &link, request };
    super::open_if_wanted(&manager, &link);
    result.await.unwrap_or_else(|_| Err(lost()))
}

struct CancelOnDrop<'a> {
    link: &'a Link,
    request: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.link.bulk().cancel(self.request);
    }
}

impl Bulk {
    pub(crate) fn new(peer: ProcessId) -> Self {
        Bulk {
            peer,
            state: Mutex::default(),
            work: Notify::new(),
            replaced: Notify::new(),
            carrying: tokio::sync::Mutex::new(()),
            slots: Semaphore::new(MAX_PULLS),
        }
    }

    /// Whether transfers wait for a connection.
    pub(crate) fn wanted(&self) -> bool {
        let state = self.state();
        !state.pulls.is_empty() && state.connections == 0
    }

    /// The session is over: nothing more is fetched in it.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.fail_all();
    }

    /// Fails all transfers.
    pub(super) fn fail_all(&self) {
        let pulls = std::mem::take(&mut self.state().pulls);
        for pull in pulls.into_values() {
            let id = pull.id;
            pull.finish(Err(FetchError::PeerLost { peer: self.peer, id }));
        }
    }

    /// Whether a connection is to be opened: there is none, or the peer has `asked` and so has none; and nobody is at it.
    pub(super) fn begin_opening(&self, asked: bool) -> bool {
        let mut state = self.state();
        state.asked |= asked;
        let begin = !state.opening && !state.ended && (asked || state.connections == 0);
        state.opening |= begin;
        begin
    }

    pub(super) fn end_opening(&self) {
        self.state().opening = false;
    }

    /// A connection is about to be used, in place of one that may be in use.
    pub(super) fn begin_attaching(&self) {
        self.state().connections += 1;
        self.replaced.notify_waiters();
    }

    /// Whether a newer connection waits to be used.
    pub(super) fn is_replaced(&self) -> bool {
        self.state().connections > 1
    }

    /// A connection is used from now on: asks for the rest of every transfer.
    pub(super) fn attached(&self) {
        let mut state = self.state();
        state.outbox.clear();
        let State { pulls, outbox, .. } = &mut *state;
        outbox.extend(pulls.iter().map(|(request, pull)| pull.request(*request)));
        drop(state);
        self.work.notify_one();
    }

    /// A connection is used no longer. Whether the peer may be waiting for another one.
    pub(super) fn detached(&self) -> bool {
        let mut state = self.state();
        state.connections -= 1;
        state.outbox.clear();
        std::mem::take(&mut state.asked)
    }

    /// Gives the connection in use up: the network that carried it is in doubt.
    pub(crate) fn restart(&self) {
        self.replaced.notify_waiters();
    }

    fn begin(&self, pull: Pull) -> Option<u64> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        state.last += 1;
        let request = state.last;
        let message = pull.request(request);
        state.pulls.insert(request, pull);
        state.outbox.push_back(message);
        drop(state);
        self.work.notify_one();
        Some(request)
    }

    fn cancel(&self, request: u64) {
        let mut state = self.state();
        let cancelled = state.pulls.remove(&request);
        if cancelled.is_some() && state.connections > 0 {
            self.send_in(&mut state, wire::cancel(request));
        }
    }

    /// Queues a message for the connection in use.
    pub(super) fn send(&self, message: Bytes) {
        self.send_in(&mut self.state(), message);
    }

    fn send_in(&self, state: &mut State, message: Bytes) {
        state.outbox.push_back(message);
        self.work.notify_one();
    }

    /// Moves the messages to send to `queue`.
    pub(super) fn take_outbox(&self, queue: &mut VecDeque<Bytes>) {
        queue.append(&mut self.state().outbox);
    }

    /// Takes the buffer of a transfer, to be filled with `len` more bytes, of a flat form or not. `Ok(None)`: it was given
    /// up.
    pub(super) fn fill(
        &self,
        request: u64,
        len: usize,
        flat: bool,
    ) -> Result<Option<Filling<'_>>, wire::Malformed> {
        let mut state = self.state();
        let Some(pull) = state.pulls.get_mut(&request) else { return Ok(None) };
        if (pull.buf.len() + len) as u64 > pull.len
            || len == 0 && pull.len > 0
            || *pull.flat.get_or_insert(flat) != flat
        {
            return Err(wire::Malformed);
        }
        Ok(Some(Filling { bulk: self, request, buf: std::mem::take(&mut pull.buf) }))
    }

    /// The peer has no such object, or one of another length.
    pub(super) fn gone(&self, request: u64, found: Option<u64>) {
        let Some(pull) = self.state().pulls.remove(&request) else { return };
        let (id, asked) = (pull.id, pull.len);
        pull.finish(Err(match found {
            None => FetchError::Gone { peer: self.peer, id },
            Some(found) => FetchError::Length { id, asked, found },
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pull {
    /// The message that asks for what has not arrived.
    fn request(&self, request: u64) -> Bytes {
        wire::Request { id: self.id, offset: self.buf.len() as u64, len: self.len }.message(request)
    }

    fn finish(self, result: Result<Payload, FetchError>) {
        // Nobody waits any more: then nobody cares.
        let _ = self.done.send(result);
    }
}

/// A transfer's buffer while a chunk is read into it; dropping gives it back, with as much as arrived.
pub(super) struct Filling<'a> {
    bulk: &'a Bulk,
    request: u64,
    pub(super) buf: Vec<u8>,
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let mut state = self.bulk.state();
        let Some(pull) = state.pulls.get_mut(&self.request) else { return };
        pull.buf = std::mem::take(&mut self.buf);
        if pull.buf.len() as u64 == pull.len
            && let Some(mut pull) = state.pulls.remove(&self.request)
        {
            drop(state);
            let (bytes, peer, id) = (Bytes::from(std::mem::take(&mut pull.buf)), self.bulk.peer, pull.id);
            let value = match pull.flat {
                Some(true) => Payload::from_flat(bytes).map_err(|why| FetchError::Damaged { peer, id, why }),
                _ => Ok(Payload::from(bytes)),
            };
            pull.finish(value);
        }
    }
}

/// Transfers from one peer at once; more wait for their turn.
const MAX_PULLS: usize = 256;
