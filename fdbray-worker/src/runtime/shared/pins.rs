//! What the other processes of this host read here: each such object is held for as long as one of them may look at it.

use super::{Answer, Question, SharedMemory, lock};
use crate::{
    control::members::exit::exit,
    id::{ObjectId, ProcessId},
    net::{Link, Soon},
    objects::Located,
    payload::Payload,
};
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// What readers hold, until they have exited.
#[derive(Default)]
pub(super) struct Pins(Mutex<FxHashMap<ProcessId, Reader>>);

/// One of them. It numbers its pins, and uses no number twice.
#[derive(Default)]
struct Reader {
    held: FxHashMap<u64, Payload>,
    /// Pins of values that are on their way from the disk.
    coming: FxHashSet<u64>,
    /// Its exit will be noticed.
    watched: bool,
}

impl SharedMemory {
    /// Answers a peer of this host.
    pub fn asked(
        self: &Arc<Self>,
        link: &Arc<Link>,
        question: &[u8],
        object: impl FnOnce(ObjectId, u32) -> Soon<Payload>,
    ) -> Soon<Bytes> {
        let question = postcard::from_bytes(question).ok().filter(|_| link.same_host());
        let (pin, id, attempt) = match question {
            Some(Question::Pin { pin, id, attempt }) => (pin, id, attempt),
            Some(Question::Unpin(pins)) => {
                self.pins.release(link.peer(), &pins);
                return Soon::Now(encoded(&Answer::Unpinned));
            }
            None => return Soon::Now(None),
        };
        match object(id, attempt) {
            Soon::Now(value) => Soon::Now(self.answer(link, pin, (id, attempt), value)),
            Soon::Later(value) => {
                self.pins.expect(link.peer(), pin);
                let (sender, receiver) = oneshot::channel();
                let (shared, link) = (self.clone(), link.clone());
                tokio::spawn(async move {
                    let value = value.await.ok().flatten();
                    // Unless the reader has lost interest.
                    if shared.pins.is_here(link.peer(), pin) {
                        // Who asked may have gone: then its pins go with it.
                        let _ = sender.send(shared.answer(&link, pin, (id, attempt), value));
                    }
                });
                Soon::Later(receiver)
            }
        }
    }

    fn answer(
        self: &Arc<Self>,
        link: &Link,
        pin: u64,
        of: (ObjectId, u32),
        value: Option<Payload>,
    ) -> Option<Bytes> {
        match value {
            Some(value) => self.pin(link, pin, value),
            None if lock(&self.pulls).contains(&of) => encoded(&Answer::Coming),
            None => None,
        }
    }

    /// Holds a value for a peer; tells where it is, if it can be viewed.
    fn pin(self: &Arc<Self>, link: &Link, pin: u64, value: Payload) -> Option<Bytes> {
        let located = Located::of(&value, &self.arena)?;
        self.watch_reader(link)?;
        self.pins.hold(link.peer(), pin, value).ok()?;
        encoded(&Answer::Pinned(located))
    }

    /// Ends all pins of a reader when it has exited, and not before: it may read on without a session, and outside of the
    /// cluster. Without a way to tell it may have none.
    fn watch_reader(self: &Arc<Self>, link: &Link) -> Option<()> {
        let peer = link.peer();
        if !self.pins.begin_watching(peer) {
            return Some(());
        }
        let Some(process) = link.peer_hello().running.as_ref().and_then(|process| process.try_clone().ok())
        else {
            self.pins.forget(peer);
            return None;
        };
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            exit(process).await;
            if let Some(shared) = shared.upgrade() {
                shared.pins.forget(peer);
                shared.departed(peer);
            }
        });
        Some(())
    }
}

impl Pins {
    /// Holds a value, unless the number was used before or the reader has too many.
    ///
    /// # Errors
    /// The value.
    pub(super) fn hold(&self, peer: ProcessId, pin: u64, value: Payload) -> Result<(), Payload> {
        let mut all = lock(&self.0);
        let held = &mut all.entry(peer).or_default().held;
        if held.len() >= MOST || held.contains_key(&pin) {
            return Err(value);
        }
        held.insert(pin, value);
        Ok(())
    }

    /// A value is on its way here for the reader.
    fn expect(&self, peer: ProcessId, pin: u64) {
        lock(&self.0).entry(peer).or_default().coming.insert(pin);
    }

    /// It is here. Whether the reader still wants it.
    fn is_here(&self, peer: ProcessId, pin: u64) -> bool {
        lock(&self.0).get_mut(&peer).is_some_and(|reader| reader.coming.remove(&pin))
    }

    /// A reader reads these no more, or will not.
    pub(super) fn release(&self, peer: ProcessId, pins: &[u64]) {
        let freed: Vec<Payload> = {
            let mut all = lock(&self.0);
            let Some(reader) = all.get_mut(&peer) else { return };
            let one = |pin| {
                reader.coming.remove(pin);
                reader.held.remove(pin)
            };
            pins.iter().filter_map(one).collect()
        };
        // A value may take a while to go.
        drop(freed);
    }

    /// Whether this is the first time.
    fn begin_watching(&self, peer: ProcessId) -> bool {
        !std::mem::replace(&mut lock(&self.0).entry(peer).or_default().watched, true)
    }

    /// A reader has exited.
    fn forget(&self, peer: ProcessId) {
        let reader = lock(&self.0).remove(&peer);
        drop(reader);
    }

    /// How many pins there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.0).values().map(|reader| reader.held.len() + reader.coming.len()).sum()
    }
}

fn encoded(answer: &Answer) -> Option<Bytes> {
    postcard::to_stdvec(answer).ok().map(Bytes::from)
}

/// The most pins of one reader: whoever wants more copies over its socket.
pub(super) const MOST: usize = 1 << 18;
