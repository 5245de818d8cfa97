//! Large values in shared memory: kept in this process's arena, and read in place in those of its host's other processes.
//!
//! Who wants to read an object asks the process that has it, over their session (`net`'s questions): the object is *pinned*,
//! which means that the value is held until the reader says that it has dropped its last view, or has exited for certain. A
//! broken session ends no pin. What cannot be viewed (it is not in the arena, or the reader could not map that) is
//! fetched over the bulk lane, like that of a process on another host.

use super::{Process, news::News, outside::handed};
use crate::{
    config::Config,
    control::members::exit::exit,
    error::Result,
    id::{ObjectId, ProcessId},
    net::{Link, Soon},
    objects::{Arena, BlockMut, Bound, Disk, DiskOptions, Full, Located, Options, PeerArena, Stats},
    payload::Payload,
};
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, oneshot};

/// The shared memory of this process and its host.
pub(crate) struct SharedMemory {
    pub(super) arena: Arena,
    /// What is written to disk when the arena is full.
    pub(super) disk: Disk,
    /// Values that are read from it at once.
    pub(super) restores: Semaphore,
    /// Whose memory it is, which makes room in it.
    pub(super) process: OnceLock<Weak<Process>>,
    /// There can be no arena.
    has_none: AtomicBool,
    /// For how long a value waits for room.
    pub(super) patience: Duration,
    /// What others read here, by reader and the reader's number of the pin.
    pins: Mutex<FxHashMap<ProcessId, FxHashMap<u64, Payload>>>,
    /// Processes that have, or had, pins here, until they have exited.
    readers: Mutex<FxHashSet<ProcessId>>,
    /// The arenas of others, mapped once; none for those that could not be, which has been logged.
    peers: Mutex<FxHashMap<ProcessId, Option<PeerArena>>>,
    /// The number of the last pin that this process asked for.
    asked: AtomicU64,
    /// Pins of which this process needs nothing any more, by who has been asked for them.
    unpinned: Mutex<Vec<(ProcessId, u64)>>,
    /// There is something in `unpinned`.
    work: Notify,
    /// What this process is just pulling from other hosts, by object and attempt.
    pulls: Mutex<FxHashSet<(ObjectId, u32)>>,
}

/// What came of wanting to read an object in place.
pub(crate) enum Viewed {
    /// It can be read.
    Here(Payload),
    /// The peer is just pulling it.
    Coming,
    /// It cannot be read in place there.
    No,
}

/// While it lives, this process is pulling an object.
pub(crate) struct Pulling(Arc<SharedMemory>, (ObjectId, u32));

impl Drop for Pulling {
    fn drop(&mut self) {
        lock(&self.0.pulls).remove(&self.1);
    }
}

/// What a process asks another one of its host.
#[derive(Serialize, Deserialize)]
enum Question {
    /// Hold this object, as that attempt gave it (0: as any did), for me, and tell me where it is.
    Pin { pin: u64, id: ObjectId, attempt: u32 },
}

/// What it is answered. No answer: it cannot be had.
#[derive(Serialize, Deserialize)]
enum Answer {
    Pinned(Located),
    /// It is on its way there.
    Coming,
}

impl SharedMemory {
    pub fn new(config: &Config) -> Arc<Self> {
        let mut options = Options::default();
        if let Some(limit) = config.store_bytes {
            options.limit = limit;
            options.low_water = limit / 4;
        }
        SharedMemory::on(Arena::new(options), config)
    }

    /// The same on that arena.
    pub(super) fn on(arena: Arena, config: &Config) -> Arc<Self> {
        Arc::new(SharedMemory {
            arena,
            disk: Disk::new(&DiskOptions { dir: config.spill_dir.clone(), limit: config.spill_bytes }),
            restores: Semaphore::new(RESTORES),
            process: OnceLock::new(),
            has_none: AtomicBool::new(false),
            patience: config.store_wait,
            pins: Mutex::default(),
            readers: Mutex::default(),
            peers: Mutex::default(),
            asked: AtomicU64::new(0),
            unpinned: Mutex::default(),
            work: Notify::new(),
            pulls: Mutex::default(),
        })
    }

    /// Whose memory it is. Until this is said nothing is spilled.
    pub fn belongs_to(&self, process: &Arc<Process>) {
        // Said once, by who makes the process.
        let _ = self.process.set(Arc::downgrade(process));
    }

    /// The accounting of the arena and the disk.
    pub fn stats(&self) -> Stats {
        self.disk.stats(self.arena.stats())
    }

    /// Whether all large pieces of a value are in the arena.
    pub(super) fn has(&self, value: &Payload) -> bool {
        Located::of(value, &self.arena).is_some()
    }

    /// The same value in shared memory. Makes room or waits for it, for a while, on this thread. Where the
    /// process can have no shared memory at all, the value stays where it is, and others copy it over their sockets.
    ///
    /// # Errors
    /// [`Error::StoreFull`](crate::error::Error::StoreFull).
    pub fn keep(&self, value: Payload) -> Result<Payload> {
        if self.has_none.load(Ordering::Relaxed) {
            return Ok(value);
        }
        self.with_room(|| match self.arena.keep(&value) {
            Err(Full { bound: Bound::System(why), .. }) => {
                self.lacks_memory(&why);
                Ok(value.clone())
            }
            kept => kept,
        })
    }

    pub(super) fn lacks_memory(&self, why: &std::io::Error) {
        if !self.has_none.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "this process can have no shared memory ({why}): its large values stay on the heap, and the others of its \
                 host copy them over their sockets; raise its limits (`ulimit -n`, `-v`, `-f`)"
            );
        }
    }

    /// Zeroed memory to write into. Room is had as [`SharedMemory::keep`] has it.
    ///
    /// # Errors
    /// [`Error::StoreFull`](crate::error::Error::StoreFull).
    pub fn allocate(&self, len: usize) -> Result<BlockMut> {
        self.with_room(|| self.arena.allocate_zeroed(len))
    }

    /// The descriptor by which others read the arena.
    pub fn descriptor(&self) -> Option<OwnedFd> {
        match self.arena.read_only_fd() {
            Ok(descriptor) => Some(descriptor),
            Err(error) => {
                self.lacks_memory(&error);
                None
            }
        }
    }

    /// Answers a peer of this host.
    pub fn asked(
        self: &Arc<Self>,
        link: &Arc<Link>,
        question: &[u8],
        object: impl FnOnce(ObjectId, u32) -> Soon<Payload>,
    ) -> Soon<Bytes> {
        let question = postcard::from_bytes(question).ok().filter(|_| link.same_host());
        let Some(Question::Pin { pin, id, attempt }) = question else { return Soon::Now(None) };
        match object(id, attempt) {
            Soon::Now(value) => Soon::Now(self.answer(link, pin, (id, attempt), value)),
            Soon::Later(value) => {
                let (sender, receiver) = oneshot::channel();
                let (shared, link) = (self.clone(), link.clone());
                tokio::spawn(async move {
                    let value = value.await.ok().flatten();
                    // Who asked may have gone: then its pins go with it.
                    let _ = sender.send(shared.answer(&link, pin, (id, attempt), value));
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
            None if lock(&self.pulls).contains(&of) => {
                postcard::to_stdvec(&Answer::Coming).ok().map(Bytes::from)
            }
            None => None,
        }
    }

    /// Holds a value for a peer; tells where it is, if it can be viewed.
    fn pin(self: &Arc<Self>, link: &Link, pin: u64, value: Payload) -> Option<Bytes> {
        let located = Located::of(&value, &self.arena)?;
        self.watch_reader(link)?;
        lock(&self.pins).entry(link.peer()).or_default().insert(pin, value);
        match postcard::to_stdvec(&Answer::Pinned(located)) {
            Ok(answer) => Some(answer.into()),
            Err(_) => {
                self.unpin(link.peer(), &[pin]);
                None
            }
        }
    }

    /// A peer reads these no more.
    pub fn unpin(&self, peer: ProcessId, pins: &[u64]) {
        let mut all = lock(&self.pins);
        let Some(held) = all.get_mut(&peer) else { return };
        let freed: Vec<_> = pins.iter().filter_map(|pin| held.remove(pin)).collect();
        if held.is_empty() {
            all.remove(&peer);
        }
        drop(all);
        drop(freed);
    }

    /// Ends all pins of a reader when it has exited, and not before: it may read on without a session, and outside of the
    /// cluster. Without a way to tell it may have none.
    fn watch_reader(self: &Arc<Self>, link: &Link) -> Option<()> {
        let peer = link.peer();
        if !lock(&self.readers).insert(peer) {
            return Some(());
        }
        let Some(process) = link.peer_hello().running.as_ref().and_then(|process| process.try_clone().ok())
        else {
            lock(&self.readers).remove(&peer);
            return None;
        };
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            exit(process).await;
            if let Some(shared) = shared.upgrade() {
                let pins = lock(&shared.pins).remove(&peer);
                lock(&shared.readers).remove(&peer);
                drop(pins);
                shared.departed(peer);
            }
        });
        Some(())
    }

    /// A process is no member any more. It may go on reading what it has pinned here.
    pub fn departed(&self, peer: ProcessId) {
        // Its arena stays only as long as there are views of it, and nobody is there to hear that they have gone.
        lock(&self.peers).remove(&peer);
        lock(&self.unpinned).retain(|(of, _)| *of != peer);
    }

    /// A new session, in which what was left unsaid can be said.
    pub fn session_began(&self) {
        if !lock(&self.unpinned).is_empty() {
            self.work.notify_one();
        }
    }

    /// This process begins to pull what an attempt gave, for which others of its host can wait.
    pub fn pulling(self: &Arc<Self>, id: ObjectId, attempt: u32) -> Pulling {
        lock(&self.pulls).insert((id, attempt));
        Pulling(self.clone(), (id, attempt))
    }

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
        let guard = Unpin { shared: self.clone(), peer: link.peer(), pin };
        let answer = link.ask(question.into()).await;
        // From here on the pin goes with the views, or at once.
        let located = match postcard::from_bytes(&answer?).ok()? {
            Answer::Pinned(located) => located,
            Answer::Coming => return Some(Viewed::Coming),
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
        lock(&self.peers).entry(link.peer()).or_insert_with(|| map(link)).clone()
    }

    /// Tells the peers what this process reads no more, for ever.
    pub async fn tell_unpinned(self: Arc<Self>, link_of: impl Fn(ProcessId) -> Option<Arc<Link>>) {
        loop {
            self.work.notified().await;
            let mut by_peer: FxHashMap<ProcessId, Vec<u64>> = FxHashMap::default();
            for (peer, pin) in std::mem::take(&mut *lock(&self.unpinned)) {
                by_peer.entry(peer).or_default().push(pin);
            }
            for (peer, pins) in by_peer {
                match link_of(peer) {
                    Some(link) => link.tell(News::Unpin(pins).encode()),
                    None => lock(&self.unpinned).extend(pins.into_iter().map(|pin| (peer, pin))),
                }
            }
        }
    }
}

/// A pin that this process has asked for. Views are dropped anywhere, so that this only makes a note.
struct Unpin {
    shared: Arc<SharedMemory>,
    peer: ProcessId,
    pin: u64,
}

impl Drop for Unpin {
    fn drop(&mut self) {
        lock(&self.shared.unpinned).push((self.peer, self.pin));
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values that are read from disk at once.
const RESTORES: usize = 2;
