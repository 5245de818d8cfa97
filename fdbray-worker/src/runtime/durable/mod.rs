//! Durable futures in this process: calls that go to the store, futures that are awaited from it, work that is claimed.
//!
//! | file | what it does |
//! |---|---|
//! | `actors` | actors with names, or that the cluster owns: made and ended |
//! | `names`, `find` | which actor has a name; where one is that the cluster owns |
//! | `calls` | what user code asks for: submit, attach, release |
//! | `submit` | sends calls to the store, many in one transaction when there are many |
//! | `await_` | learns of ends through this process's inbox and tells the core |
//! | `work` | in a worker: claims, runs here, completes |
//! | `lookout` | in a worker: watches for something to claim |
//! | `upkeep` | moves the cluster's clock, clears up after the dead |
//! | `list` | looking at the cluster |
//! | `convert` | records into outcomes and errors, and back |
//!
//! A durable future is to the core what a future of another owner is, except that its effects `attach`, `detach` and
//! `cancel` come here instead of going to a peer. A claimed call is to the core an ordinary call of this process, for this
//! process alone.

mod actors;
mod await_;
mod calls;
mod convert;
mod find;
mod list;
mod lookout;
mod names;
mod submit;
mod upkeep;
mod work;

pub use crate::control::{
    durable::{Filter, Stage},
    members::{Capacity as MemberCapacity, Member, Role},
};
pub(crate) use actors::kill as kill_actor;
pub use actors::{NewActor, create as create_actor, get_or_create};
pub(crate) use calls::task_of;
pub use calls::{DurableCall, attach, real_id, release, submit, submit_all, submitted};
pub(crate) use find::made as actor_made;
pub use list::{FutureInfo, FuturePage, UnschedulableShape, list, members, unschedulable};
pub use names::{ActorInfo, actors, named};

use super::Process;
use crate::{
    control::{
        durable::{Durable, DurableError, FutureId, Submission, Target},
        members::Capacity,
        store::Store,
    },
    error::{Error, Result},
    handle::Handle,
    id::{ObjectId, ProcessId},
    payload::Payload,
    registry::Registry,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, OnceCell, mpsc, oneshot, watch},
    task::AbortHandle,
};

/// How long durable calls wait for a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A watch is a hint: what it is about is looked at at least this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// After a watch has failed: the next one may fail at once.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// What this process has to do with durable futures.
pub(crate) struct Durables {
    me: ProcessId,
    process: Weak<Process>,
    store: Store,
    cluster: String,
    io: tokio::runtime::Handle,
    durable: OnceCell<Durable>,
    /// The number of the last future that was made here.
    made: AtomicU64,
    state: Mutex<State>,
    /// Held while a claimed call begins, so that whoever asks for its future waits until it is known. Before the core's
    /// lock and the state's.
    beginning: Mutex<()>,
    submissions: OnceLock<mpsc::UnboundedSender<Box<Submission>>>,
    /// There are futures to attach to.
    attaching: Notify,
    /// Something is waited for.
    waiting: Notify,
    /// Somebody says that there is mail.
    mail: Notify,
    /// A claimed call ended, or may not go on.
    room: Notify,
    draining: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Submissions that have not been committed, or were refused.
    submitting: FxHashMap<ObjectId, watch::Sender<Option<Result<()>>>>,
    /// Of these, those that wait for what they need of this process; and their functions.
    preparing: FxHashMap<ObjectId, (AbortHandle, String)>,
    /// Futures of whose end this process will be told.
    expected: FxHashSet<ObjectId>,
    /// Futures of whose end somebody here wants to be told, not asked for yet.
    to_attach: Vec<Attach>,
    /// Handles made for a key that had a future already: that one, by ours.
    real: FxHashMap<ObjectId, ObjectId>,
    /// The same, the other way.
    aliases: FxHashMap<ObjectId, Vec<ObjectId>>,
    /// Of which futures this process keeps the value for the cluster: they are with what it keeps for others.
    kept: FxHashSet<ObjectId>,
    /// Values on their way here from who keeps them.
    bringing: FxHashSet<ObjectId>,
    /// Claimed calls, by future.
    running: FxHashMap<FutureId, work::Running>,
    /// The same futures, by the number of the call in the core.
    local: FxHashMap<u64, FutureId>,
    /// Calls that have ended and are not completed.
    completing: usize,
    /// Something may be claimed right now.
    claiming: bool,
    /// Names of actors of this process, by their numbers: theirs, or about to be.
    named: FxHashMap<u64, String>,
    /// Actors of which it is being found out whether they are still there.
    confirming: FxHashMap<ObjectId, Vec<oneshot::Sender<bool>>>,
    /// Actors of the cluster that are looked for.
    finding: FxHashSet<ObjectId>,
    /// Shapes of which it was said that nobody can run them.
    said: FxHashSet<FutureId>,
}

/// A future to attach to.
struct Attach {
    target: Target,
    /// The hash of its type, if that is to be checked.
    returns: Option<u64>,
    /// Who wants to know whether there is one.
    reply: Option<oneshot::Sender<Result<Handle>>>,
}

impl Attach {
    fn of(id: ObjectId) -> Self {
        Attach { target: Target::Id(future_id(id)), returns: None, reply: None }
    }
}

impl Durables {
    pub fn new(process: &Arc<Process>, store: Store, cluster: &str, io: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Durables {
            me: process.me(),
            process: Arc::downgrade(process),
            store,
            cluster: cluster.to_owned(),
            io,
            durable: OnceCell::new(),
            made: AtomicU64::new(0),
            state: Mutex::default(),
            beginning: Mutex::default(),
            submissions: OnceLock::new(),
            attaching: Notify::new(),
            waiting: Notify::new(),
            mail: Notify::new(),
            room: Notify::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// Begins to work for the cluster.
    pub fn serve(self: &Arc<Self>, capacity: Capacity, registry: &Registry) {
        let worker = Arc::new(work::Worker::new(capacity, registry));
        self.start();
        self.io.spawn(self.clone().claim_work(worker.clone()));
        self.io.spawn(self.clone().complete_work(worker));
        self.io.spawn(self.clone().keep_fence());
    }

    /// Begins to submit and to wait, with the first that there is.
    fn start(self: &Arc<Self>) -> &mpsc::UnboundedSender<Box<Submission>> {
        self.submissions.get_or_init(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.io.spawn(self.clone().submit_all(receiver));
            self.io.spawn(self.clone().attach_all());
            self.io.spawn(self.clone().read_mail());
            self.io.spawn(self.clone().keep_up());
            sender
        })
    }

    /// The futures in the store, whose format is checked the first time.
    async fn durable(&self) -> Result<&Durable, DurableError> {
        self.durable.get_or_try_init(|| Durable::open(self.store.clone(), &self.cluster)).await
    }

    /// Repeats what fails for a reason that may pass, for a while.
    async fn persist<T, R: Future<Output = Result<T, DurableError>>>(
        &self,
        mut attempt: impl FnMut() -> R,
    ) -> Result<T, DurableError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            match attempt().await {
                Err(error) if error.retryable() && Instant::now() + pause < until => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                ended => return ended,
            }
        }
    }

    /// Repeats what fails for a reason that may pass until it does: what this process holds, nobody else can end.
    async fn insist<T, R: Future<Output = Result<T, DurableError>>>(
        &self,
        mut attempt: impl FnMut() -> R,
    ) -> Result<T, DurableError> {
        loop {
            match self.persist(&mut attempt).await {
                Err(error) if error.retryable() => {
                    tracing::warn!("the control plane does not answer: {error}")
                }
                ended => return ended,
            }
        }
    }

    fn process(&self) -> Option<Arc<Process>> {
        self.process.upgrade()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beginning(&self) -> MutexGuard<'_, ()> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_id(&self) -> ObjectId {
        ObjectId::durable(self.me, self.made.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Keeps the value that an attempt gave for the cluster.
    fn keep(&self, id: ObjectId, value: Payload, attempt: u32) {
        self.state().kept.insert(id);
        if let Some(process) = self.process() {
            process.with_core(false, |core, fx| core.keep(id, value, attempt, fx));
        }
    }

    fn keep_no_more(&self, id: ObjectId) {
        let kept = self.state().kept.remove(&id);
        if let Some(process) = self.process().filter(|_| kept) {
            process.with_core(false, |core, fx| core.drop_kept(id, fx));
        }
    }
}

fn future_id(id: ObjectId) -> FutureId {
    FutureId::new(id.owner, id.number())
}

fn object_id(id: FutureId) -> ObjectId {
    ObjectId::durable(id.process, id.seq)
}

fn store_error(error: &DurableError) -> Error {
    Error::control(error)
}
