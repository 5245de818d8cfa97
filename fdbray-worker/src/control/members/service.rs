//! Keeps one process a member: beats, follows the others, judges some of them, and says what happens.

mod judge;

use super::transactions::{MemberError, Members, Position, Tail};
use super::{Cause, Change, Failed, Liveness, Member, Tombstone};
use crate::control::store::{Store, StoreError, Watch};
use crate::id::ProcessId;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

/// How often a member beats.
const BEAT: Duration = Duration::from_secs(1);
/// A beat that takes longer has failed.
const BEAT_LIMIT: Duration = Duration::from_secs(2);
/// How long joining tries to reach the store.
const JOIN_LIMIT: Duration = Duration::from_secs(10);
/// How long joining waits between two tries.
const JOIN_PAUSE: Duration = Duration::from_millis(100);

/// The service: see [`Membership::join`].
pub struct Membership {
    members: Members,
    me: Arc<Member>,
    peers: Box<dyn Fn() -> Vec<ProcessId> + Send + Sync>,
    judges: fn(&Member) -> bool,
    events: mpsc::UnboundedSender<Event>,
    commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
    known: watch::Sender<Arc<BTreeMap<ProcessId, Arc<Member>>>>,
    position: Position,
    watch: Option<Watch>,
    liveness: Liveness,
    /// Whether the last beat reached the store.
    reached: bool,
    /// Who has certainly exited but is a member still.
    exited: BTreeSet<ProcessId>,
    /// The tasks that wait for the exit of a judged process, which they return.
    exits: JoinSet<ProcessId>,
    waiting: BTreeMap<ProcessId, AbortHandle>,
}

/// What happens in the cluster. Never about the process itself, but for [`Event::Tombstoned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process joined. After joining oneself, once for each that is there already.
    Joined(Arc<Member>),
    /// A process left of its own accord.
    Left(ProcessId),
    /// A process was declared dead. `exited`: it was seen to have exited; otherwise it may run on until it notices.
    Dead {
        /// The process.
        id: ProcessId,
        /// Whether its exit is proven.
        exited: bool,
    },
    /// This process was declared dead. The service has ended; the process drops its work and joins as a new one.
    Tombstoned(Option<Tombstone>),
    /// A beat did not reach the store. What is known of the members stays as it is.
    StoreUnreachable(MemberError),
    /// Beats reach the store again.
    StoreBack,
}

impl PartialEq for MemberError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for MemberError {}

/// The events of one membership, in order. Ends when the service ends.
pub type Events = mpsc::UnboundedReceiver<Event>;

/// To ask the service things. A cheap clone. When the last one is dropped without [`MembershipHandle::leave`], beats
/// end, and the others see the process die.
#[derive(Clone)]
pub struct MembershipHandle {
    commands: mpsc::UnboundedSender<Command>,
    me: Arc<Member>,
    known: watch::Receiver<Arc<BTreeMap<ProcessId, Arc<Member>>>>,
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    /// When the last beat was committed, in nanoseconds since `started`: when it was begun, to be on the safe side.
    last_beat: AtomicU64,
}

enum Command {
    Leave(oneshot::Sender<Result<(), MemberError>>),
    Look(ProcessId),
    Exited(ProcessId),
}

impl Membership {
    /// Registers `member` in the cluster of that name and keeps it a member, on the current tokio runtime. `peers` are
    /// the processes that it has sessions with, which it judges beside its ring successors; asked each second. Only
    /// those of them are judged that `judges` does not except.
    ///
    /// Tries for 10 s to reach the store, then fails with what is wrong with it.
    pub async fn join(
        store: Store,
        cluster: &str,
        member: Member,
        peers: impl Fn() -> Vec<ProcessId> + Send + Sync + 'static,
        judges: fn(&Member) -> bool,
    ) -> Result<(MembershipHandle, Events), MemberError> {
        let members = Members::new(store, cluster);
        let started = Instant::now();
        let position = register(&members, &member).await?;
        let (events, receiver) = mpsc::unbounded_channel();
        let (sender, commands) = mpsc::unbounded_channel();
        let (known, others) = watch::channel(Arc::default());
        let shared = Arc::new(Shared { started, last_beat: AtomicU64::new(0) });
        let me = Arc::new(member);
        let mut service = Membership {
            members,
            me: me.clone(),
            peers: Box::new(peers),
            judges,
            events,
            commands,
            shared: shared.clone(),
            known,
            position: Position::default(),
            watch: None,
            liveness: Liveness::default(),
            reached: true,
            exited: BTreeSet::new(),
            exits: JoinSet::new(),
            waiting: BTreeMap::new(),
        };
        service.reload(position.0);
        service.position = position.1;
        service.look_at_all();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::spawn(service.run(beats));
        Ok((MembershipHandle { commands: sender, me, known: others, shared }, receiver))
    }

    async fn run(mut self, mut beats: Interval) {
        // Only the service's own end may end it: then the events' receiver sees it.
        while self.step(&mut beats).await {}
    }

    /// Waits for the next thing to do and does it. False at the end.
    async fn step(&mut self, beats: &mut Interval) -> bool {
        tokio::select! {
            command = self.commands.recv() => match command {
                None => return false,
                Some(Command::Leave(done)) => {
                    // Nobody may wait for it any more.
                    let _ = done.send(self.members.leave(self.me.id).await.map(|_| ()));
                    return false;
                }
                Some(Command::Look(id)) => self.look_at(id),
                Some(Command::Exited(id)) => {
                    self.exited.insert(id);
                }
            },
            Some(exited) = self.exits.join_next() => {
                // An aborted task is of one that is judged no more.
                if let Ok(id) = exited {
                    self.waiting.remove(&id);
                    self.exited.insert(id);
                }
            }
            _ = next(&mut self.watch) => {
                self.watch = None;
                self.follow().await;
            }
            _ = beats.tick() => return self.beat().await,
        }
        self.bury_exited().await;
        true
    }

    /// Beats, reads and judges. False if this process was declared dead.
    async fn beat(&mut self) -> bool {
        let judged = self.judged();
        let begun = self.shared.now();
        let beat = timeout(BEAT_LIMIT, self.members.beat(self.me.id, &judged)).await;
        let late = || StoreError::Unreachable(format!("no answer within {} s", BEAT_LIMIT.as_secs())).into();
        match beat.unwrap_or_else(|_| Err(late())) {
            Ok(beat) => {
                self.shared.last_beat.store(begun, Ordering::Release);
                if !std::mem::replace(&mut self.reached, true) {
                    self.tell(Event::StoreBack);
                }
                for suspect in self.liveness.observe(self.shared.now(), Ok(&beat.beats)) {
                    self.bury_silent(suspect).await;
                }
                if beat.epoch != self.position.epoch || self.watch.is_none() {
                    self.follow().await;
                }
                self.bury_exited().await;
                true
            }
            Err(MemberError::Tombstoned { tombstone }) => {
                tracing::error!(id = %self.me.id, "this process was declared dead");
                self.tell(Event::Tombstoned(tombstone));
                false
            }
            Err(error) => {
                self.liveness.observe(self.shared.now(), Err(Failed));
                if std::mem::replace(&mut self.reached, false) {
                    tracing::warn!(%error, "the control plane cannot be reached");
                    self.tell(Event::StoreUnreachable(error));
                }
                true
            }
        }
    }

    /// Reads what changed, and has itself woken when more does.
    async fn follow(&mut self) {
        // The next beat tries again, and says so if the store is away.
        let (tail, position, watch) = match timeout(BEAT_LIMIT, self.members.follow(&self.position)).await {
            Ok(Ok(followed)) => followed,
            Ok(Err(error)) => {
                tracing::debug!(%error, "could not read what changed among the members");
                return;
            }
            Err(_) => return,
        };
        match tail {
            Tail::Reload(members) => self.reload(members),
            Tail::Changes(changes) => changes.into_iter().for_each(|change| self.apply(change)),
        }
        self.position = position;
        self.watch = Some(watch);
        self.wait_for_exits();
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Joined(member) => self.add(member),
            Change::Left(id) => self.remove(id, Event::Left(id)),
            Change::Died(tombstone) => {
                let exited = matches!(tombstone.cause, Cause::Exited);
                self.remove(tombstone.id, Event::Dead { id: tombstone.id, exited });
            }
        }
    }

    /// Makes what is known equal to a whole list.
    fn reload(&mut self, members: Vec<Member>) {
        let ids: BTreeSet<ProcessId> = members.iter().map(|member| member.id).collect();
        let known = self.known.borrow().clone();
        for id in known.keys().filter(|id| !ids.contains(id)) {
            // How it ended is not in the log any more; dead is the one that may be assumed of both.
            self.remove(*id, Event::Dead { id: *id, exited: false });
        }
        members.into_iter().for_each(|member| self.add(member));
    }

    fn add(&mut self, member: Member) {
        if member.id == self.me.id || self.known.borrow().contains_key(&member.id) {
            return;
        }
        let member = Arc::new(member);
        self.known.send_modify(|known| {
            Arc::make_mut(known).insert(member.id, member.clone());
        });
        self.tell(Event::Joined(member));
    }

    fn remove(&mut self, id: ProcessId, event: Event) {
        let known = self.known.borrow().contains_key(&id);
        if known {
            self.known.send_modify(|known| {
                Arc::make_mut(known).remove(&id);
            });
            self.exited.remove(&id);
            self.tell(event);
        }
    }

    fn tell(&self, event: Event) {
        // Nobody may want to know.
        let _ = self.events.send(event);
    }
}

impl MembershipHandle {
    /// The other members, as far as this process knows: the last ones it read, when the store is away.
    pub fn members(&self) -> Arc<BTreeMap<ProcessId, Arc<Member>>> {
        self.known.borrow().clone()
    }

    /// The same, and this process.
    pub fn all(&self) -> BTreeMap<ProcessId, Arc<Member>> {
        let mut all = BTreeMap::clone(&self.known.borrow());
        all.insert(self.me.id, self.me.clone());
        all
    }

    /// Removes this process from the cluster and ends the service.
    pub async fn leave(&self) -> Result<(), MemberError> {
        let (done, left) = oneshot::channel();
        if self.commands.send(Command::Leave(done)).is_err() {
            return Ok(());
        }
        // The service may have ended meanwhile, by a tombstone: then this process is no member either.
        left.await.unwrap_or(Ok(()))
    }

    /// Has a member on this host looked at: one whose connection broke. It is declared dead as soon as its process has
    /// exited, which this service waits for from now on.
    pub fn look_at(&self, id: ProcessId) {
        // A service that has ended declares nobody dead.
        let _ = self.commands.send(Command::Look(id));
    }

    /// Declares a member dead whose exit the caller has seen: a parent that waited for its child.
    pub fn declare_exited(&self, id: ProcessId) {
        let _ = self.commands.send(Command::Exited(id));
    }

    /// How long ago the last beat that was committed began. After 3 s, claims and durable completions stop.
    pub fn since_last_beat(&self) -> Duration {
        let last = self.shared.last_beat.load(Ordering::Acquire);
        Duration::from_nanos(self.shared.now().saturating_sub(last))
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Registers and reads the list, for as long as the store may be late.
async fn register(members: &Members, member: &Member) -> Result<(Vec<Member>, Position), MemberError> {
    let deadline = Instant::now() + JOIN_LIMIT;
    // What was wrong the last time says more than that time is up.
    let mut last = None;
    loop {
        let joined = async {
            members.register(member).await?;
            members.list().await
        };
        let late = || StoreError::Unreachable(format!("no answer within {} s", JOIN_LIMIT.as_secs())).into();
        match tokio::time::timeout_at(deadline, joined).await {
            Ok(Err(error)) if error.retryable() && Instant::now() + JOIN_PAUSE < deadline => {
                last = Some(error);
                sleep(JOIN_PAUSE).await;
            }
            Ok(result) => return result,
            Err(_) => return Err(last.unwrap_or_else(late)),
        }
    }
}

/// Resolves when the watch does; never without one.
async fn next(watch: &mut Option<Watch>) {
    match watch {
        // A watch that the store gave up is as good as one that fired: the tail is read, or that fails.
        Some(watch) => drop(watch.await),
        None => pending().await,
    }
}
