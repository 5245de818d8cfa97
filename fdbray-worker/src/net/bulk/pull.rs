//! The pulling side of a session: parts of objects that wait for their bytes, over however many connections that takes.

use super::{transfer::Transfer, wire};
use crate::{id::ProcessId, net::error::FetchError};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    ops::Range,
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
    /// Parts that the peer may be asked for at once.
    pub(super) slots: Semaphore,
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

/// A part of an object that the peer was asked for. What has not arrived when this is dropped somebody else may be asked
/// for.
pub(super) struct Pull {
    pub transfer: Arc<Transfer>,
    /// What has not arrived.
    pub rest: Range<u64>,
    /// How often what came was damaged.
    pub damaged: u32,
    pub done: Option<oneshot::Sender<Result<(), FetchError>>>,
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
            let id = pull.transfer.id;
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

    /// Asks for a part. `None`: the session is over.
    pub(super) fn begin(&self, pull: Pull) -> Option<u64> {
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

    /// The rest of a part is not wanted from this peer.
    pub(super) fn cancel(&self, request: u64) {
        let mut state = self.state();
        let cancelled = state.pulls.remove(&request);
        if cancelled.is_some() && state.connections > 0 {
            self.send_in(&mut state, wire::cancel(request));
        }
    }

    /// Queues a message for the connection in use.
    pub(in crate::net) fn send(&self, message: Bytes) {
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

    /// Whether a chunk is wanted, which the peer has begun to send; `Ok(false)`: no more.
    pub(super) fn expects(&self, request: u64, chunk: &wire::Chunk) -> Result<bool, wire::Malformed> {
        let mut state = self.state();
        let Some(pull) = state.pulls.get_mut(&request) else { return Ok(false) };
        let left = pull.rest.end - pull.rest.start;
        if chunk.raw as u64 > left || (chunk.raw == 0) != (left == 0) {
            return Err(wire::Malformed);
        }
        let fits = pull.transfer.fits(chunk.flat);
        drop(state);
        if !fits {
            self.damaged(request);
            return Err(wire::Malformed);
        }
        Ok(true)
    }

    /// Gives `f` the place of some of the next bytes of a part; `None` if that is no longer wanted, and so may be
    /// somebody else's to bring.
    pub(super) fn place<T>(
        &self,
        request: u64,
        bytes: Range<usize>,
        f: impl FnOnce(&mut [u8]) -> T,
    ) -> Option<T> {
        let state = self.state();
        let pull = state.pulls.get(&request)?;
        let start = pull.rest.start;
        Some(pull.transfer.with(start + bytes.start as u64..start + bytes.end as u64, f))
    }

    /// The next `len` bytes of a part are in their place.
    pub(super) fn arrived(&self, request: u64, len: usize) {
        let mut state = self.state();
        let Some(pull) = state.pulls.get_mut(&request) else { return };
        pull.rest.start += len as u64;
        pull.damaged = 0;
        pull.transfer.arrived(len as u64);
        if pull.rest.is_empty()
            && let Some(pull) = state.pulls.remove(&request)
        {
            drop(state);
            pull.finish(Ok(()));
        }
    }

    /// The next bytes of a part are not what the peer has. After a few times it is not asked again.
    pub(super) fn damaged(&self, request: u64) {
        let mut state = self.state();
        let Some(pull) = state.pulls.get_mut(&request) else { return };
        pull.damaged += 1;
        let (id, often) = (pull.transfer.id, pull.damaged == MOST_DAMAGED);
        tracing::warn!("bytes of object {id}, fetched from process {}, came damaged", self.peer);
        if let Some(pull) = often.then(|| state.pulls.remove(&request)).flatten() {
            drop(state);
            pull.finish(Err(FetchError::Checksum { peer: self.peer, id }));
        }
    }

    /// The peer has no such object, or one of another length.
    pub(super) fn gone(&self, request: u64, found: Option<u64>) {
        let Some(pull) = self.state().pulls.remove(&request) else { return };
        let (id, asked) = (pull.transfer.id, pull.transfer.len);
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
        let Transfer { id, attempt, len, .. } = *self.transfer;
        wire::Request { id, attempt, len, from: self.rest.start, to: self.rest.end }.message(request)
    }

    fn finish(mut self, result: Result<(), FetchError>) {
        if let Some(done) = self.done.take() {
            // Nobody waits any more: then nobody cares.
            let _ = done.send(result);
        }
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.transfer.give_back(self.rest.clone());
    }
}

/// Parts that one peer is asked for at once, for all objects together; more wait for their turn.
const MAX_PULLS: usize = 256;

/// Of a peer whose bytes are damaged so often in a row nothing more is wanted.
const MOST_DAMAGED: u32 = 3;
