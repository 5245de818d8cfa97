//! Reading in place what the other processes of this host have, and telling them what is read no more.

use super::{Answer, Question, SharedMemory, lock};
use crate::{
    id::{ObjectId, ProcessId},
    net::Link,
    objects::PeerArena,
    payload::Payload,
    runtime::outside::handed,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustc_hash::FxHashSet;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

/// What came of wanting to read an object in place.
pub(crate) enum Viewed {
    /// It can be read.
    Here(Payload),
    /// The peer is just pulling it.
    Coming,
    /// It cannot be read in place there.
    No,
}

impl SharedMemory {
    /// Views an object, as an attempt gave it, of a peer on this host. What cannot be viewed has to be fetched.
    pub async fn view(self: &Arc<Self>, link: &Arc<Link>, of: (ObjectId, u32), len: u64) -> Viewed {
        let answer = self.ask_to_view(link, of, len).await;
        answer.unwrap_or(Viewed::No)
    }

    async fn ask_to_view(
        self: &Arc<Self>,
        link: &Arc<Link>,
        (id, attempt): (ObjectId, u32),
        len: u64,
    ) -> Option<Viewed> {
        let arena = self.arena_of(link)?;
        let pin = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let question = postcard::to_stdvec(&Question::Pin { pin, id, attempt }).ok()?;
        let mut guard = Unpin { shared: self.clone(), peer: link.peer(), pins: vec![pin] };
        let answer = link.ask(question.into()).await;
        // From here on the pin goes with the views, or at once.
        let located = match postcard::from_bytes(&answer?).ok()? {
            Answer::Pinned(located) => located,
            Answer::Coming => {
                guard.pins.clear();
                return Some(Viewed::Coming);
            }
            Answer::Unpinned => return None,
        };
        match located.view(&arena, move || drop(guard)) {
            Ok(value) => (value.len() as u64 == len).then_some(Viewed::Here(value)),
            Err(error) => {
                tracing::warn!("object {id} of process {} cannot be read in place: {error}", link.peer());
                None
            }
        }
    }

    /// The peer's arena, mapped once.
    fn arena_of(&self, link: &Link) -> Option<PeerArena> {
        if !link.same_host() {
            return None;
        }
        let arena = lock(&self.peers).entry(link.peer()).or_insert_with(|| map(link)).clone();
        // In this order: whoever notes the departure meanwhile removes it, or it is seen here.
        if self.is_departed(link.peer()) {
            lock(&self.peers).remove(&link.peer());
            return None;
        }
        arena
    }

    /// Tells the peers what this process reads no more, for ever. Each is told until it has answered, also over sessions to
    /// come, and of what gathers meanwhile afterwards.
    pub async fn tell_unpinned(self: Arc<Self>, link_of: impl Fn(ProcessId) -> Option<Arc<Link>>) {
        let (mut telling, mut told) = (FxHashSet::default(), FuturesUnordered::new());
        loop {
            let silent = tokio::select! {
                () = self.work.notified() => None,
                Some(ended) = told.next() => {
                    let (link, unheard): (Arc<Link>, Vec<u64>) = ended;
                    telling.remove(&link.peer());
                    let silent = Some(link.clone()).filter(|_| !unheard.is_empty());
                    self.no_more(link.peer(), unheard);
                    silent
                }
            };
            // Who did not answer is told over another session, which may have begun before this was known here.
            let is_silent =
                |link: &Arc<Link>| silent.as_ref().is_some_and(|silent| Arc::ptr_eq(silent, link));
            let listens = |link: &Arc<Link>| !telling.contains(&link.peer()) && !is_silent(link);
            for (link, pins) in self.take_unpinned(|peer| link_of(peer).filter(listens)) {
                telling.insert(link.peer());
                told.push(tell(link, pins));
            }
        }
    }

    /// What there is to tell those who listen. To those who are gone there is nothing to tell.
    fn take_unpinned(&self, link_of: impl Fn(ProcessId) -> Option<Arc<Link>>) -> Vec<(Arc<Link>, Vec<u64>)> {
        let mut taken = Vec::new();
        lock(&self.unpinned).retain(|peer, pins| match link_of(*peer) {
            Some(link) => {
                taken.push((link, std::mem::take(pins)));
                false
            }
            None => !self.is_departed(*peer),
        });
        taken
    }

    /// This process needs these pins no more.
    fn no_more(&self, peer: ProcessId, pins: Vec<u64>) {
        if !pins.is_empty() {
            lock(&self.unpinned).entry(peer).or_default().extend(pins);
        }
    }
}

/// Tells a peer that these pins are needed no more; gives back what it may not have heard.
async fn tell(link: Arc<Link>, pins: Vec<u64>) -> (Arc<Link>, Vec<u64>) {
    let question = Question::Unpin(pins);
    // Numbers can be encoded.
    let encoded = postcard::to_stdvec(&question).unwrap_or_default();
    let heard = link.ask(encoded.into()).await.is_some();
    match question {
        Question::Unpin(pins) if !heard => (link, pins),
        _ => (link, Vec::new()),
    }
}

/// A pin that this process has asked for. Views are dropped anywhere, so that this only makes a note.
struct Unpin {
    shared: Arc<SharedMemory>,
    peer: ProcessId,
    pins: Vec<u64>,
}

impl Drop for Unpin {
    fn drop(&mut self) {
        self.shared.no_more(self.peer, std::mem::take(&mut self.pins));
        self.shared.work.notify_one();
    }
}

fn map(link: &Link) -> Option<PeerArena> {
    let given = handed(link.peer_hello()).arena.map(OwnedFd::try_clone);
    let error: Box<dyn std::error::Error> = match given {
        Some(Ok(descriptor)) => match PeerArena::map(descriptor) {
            Ok(arena) => return Some(arena),
            Err(error) => error.into(),
        },
        Some(Err(error)) => error.into(),
        None => "it handed over none".into(),
    };
    tracing::warn!(
        "the shared memory of process {} cannot be read ({error}): its large values are copied over the socket",
        link.peer()
    );
    None
}
