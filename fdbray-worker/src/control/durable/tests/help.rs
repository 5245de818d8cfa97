//! What the tests share: clusters, members, calls, and the checker after each test.

use crate::control::durable::*;
use crate::control::members::{
    Capacity, Cause as Death, Host, Member, MemberError, Members, Role, Tombstone,
};
use crate::control::store::memory::{Faults, Memory};
use crate::control::store::{Limits, Store, lmdb};
use crate::id::ProcessId;
use crate::registry::function_hash;
use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(in crate::control::durable) const SIGNATURE: u64 = 77;

/// A cluster with its durable futures.
#[derive(Clone)]
pub(in crate::control::durable) struct Cluster {
    pub(in crate::control::durable) durable: Durable,
    pub(in crate::control::durable) members: Members,
    pub(in crate::control::durable) store: Store,
    next: Arc<AtomicU64>,
}

impl Deref for Cluster {
    type Target = Durable;
    fn deref(&self) -> &Durable {
        &self.durable
    }
}

impl Cluster {
    pub(in crate::control::durable) async fn new(store: Store) -> Self {
        let durable = Durable::open(store.clone(), "demo").await.unwrap();
        Cluster { durable, members: Members::new(store.clone(), "demo"), store, next: Arc::default() }
    }

    pub(in crate::control::durable) async fn with(faults: Faults) -> Self {
        // However long a process pauses within a transaction, and however slow the machine is.
        let limits = Limits { time: Duration::from_secs(3600), ..Limits::default() };
        Cluster::new(Memory::new(faults).limits(limits).store()).await
    }

    /// A new member.
    pub(in crate::control::durable) async fn join(&self, n: u64) -> ProcessId {
        self.try_join(n).await.unwrap()
    }

    pub(in crate::control::durable) async fn try_join(&self, n: u64) -> Result<ProcessId, MemberError> {
        let id = process(n);
        let host = Host { boot_id: "elsewhere".into(), pid_namespace: 1, pid: 1, started: 0 };
        let member = Member {
            id,
            role: Role::Worker,
            addresses: Vec::new(),
            capacity: Capacity { cpus: 40_000, ..Capacity::default() },
            labels: Vec::new(),
            build_id: 1,
            fingerprint: 2,
            version: "0.1.0".into(),
            host,
        };
        self.members.register(&member).await?;
        Ok(id)
    }

    /// Declares a member dead. False if it is none, or if nobody knows whether it was this that did.
    pub(in crate::control::durable) async fn bury(&self, id: ProcessId) -> bool {
        self.members.bury(Tombstone { id, by: process(u64::MAX), cause: Death::Exited }).await.unwrap()
    }

    /// A call of `f` that nobody else makes.
    pub(in crate::control::durable) fn call(&self) -> Submission {
        let id = FutureId::new(process(1), self.next.fetch_add(1, Ordering::Relaxed));
        Submission::new(id, "f", SIGNATURE, vec![1, 2, 3])
    }

    pub(in crate::control::durable) async fn submit_one(&self, call: Submission) -> FutureId {
        self.durable.submit(vec![call]).await.unwrap().pop().unwrap().unwrap().id()
    }

    /// Claims and starts one future.
    pub(in crate::control::durable) async fn take(&self, by: ProcessId) -> Claimed {
        let claimed = self.durable.claim(by, Wants { start: 1, ..wants(1) }).await.unwrap();
        claimed.into_iter().next().expect("something is ready")
    }

    pub(in crate::control::durable) async fn attach_one(
        &self,
        target: Target,
        waiter: ProcessId,
        returns: Option<u64>,
    ) -> Result<Record, DurableError> {
        self.durable.attach(vec![(target, returns)], waiter).await?.remove(0)
    }

    /// Claims, starts and realizes one future.
    pub(in crate::control::durable) async fn run(&self, by: ProcessId) -> FutureId {
        let token = self.take(by).await.token;
        self.end(by, token, Outcome::Value(b"done".to_vec())).await;
        token.id
    }

    pub(in crate::control::durable) async fn end(
        &self,
        by: ProcessId,
        token: Token,
        outcome: Outcome,
    ) -> Completed {
        self.durable.complete(by, vec![(token, outcome)]).await.unwrap()[0]
    }

    pub(in crate::control::durable) async fn stage(&self, id: FutureId) -> Stage {
        self.durable.record(id).await.unwrap().state.stage()
    }

    pub(in crate::control::durable) async fn ticks(&self, ticks: u64) {
        for _ in 0..ticks {
            let now = self.now().await.unwrap();
            self.tick(now).await.unwrap();
        }
        self.sweep().await.unwrap();
    }

    /// All notices, which are handled with that.
    pub(in crate::control::durable) async fn notices(&self, of: ProcessId) -> Vec<Notice> {
        self.try_notices(of).await.unwrap()
    }

    pub(in crate::control::durable) async fn try_notices(
        &self,
        of: ProcessId,
    ) -> Result<Vec<Notice>, DurableError> {
        let (mut all, mut handled) = (Vec::new(), None);
        loop {
            let mail = self.mail(of, handled).await?;
            if mail.notices.is_empty() {
                if let Some(handled) = mail.handled {
                    self.clear_mail(of, handled).await?;
                }
                return Ok(all);
            }
            all.extend(mail.notices);
            handled = mail.handled;
        }
    }

    pub(in crate::control::durable) async fn checked(&self) -> Report {
        let report = self.check().await.unwrap();
        assert!(report.clean(), "{}", report.summary());
        report
    }
}

/// Runs a test on each engine that is there, with the checker behind it.
pub(in crate::control::durable) async fn everywhere<F: Future<Output = ()>>(test: impl Fn(Cluster) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let lmdb = Store::lmdb(directory.path(), lmdb::Options::default()).unwrap();
    let troubled = Faults { seed: 7, conflicts: 150, delays: 300, unknown: 150 };
    for store in [Memory::new(Faults::default()).store(), Memory::new(troubled).store(), lmdb] {
        let cluster = Cluster::new(store).await;
        test(cluster.clone()).await;
        cluster.checked().await;
    }
}

pub(in crate::control::durable) fn process(n: u64) -> ProcessId {
    ProcessId::new(n).unwrap()
}

pub(in crate::control::durable) fn one_cpu() -> Capacity {
    Capacity { cpus: 10_000, ..Capacity::default() }
}

/// Up to so many of one CPU, by a worker that has `f`, `g` and `h`.
pub(in crate::control::durable) fn wants(most: usize) -> Wants {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let kinds: BTreeSet<u64> = ["f", "g", "h"].iter().map(|name| function_hash(name, SIGNATURE)).collect();
    Wants {
        again: false,
        held_back: Arc::default(),
        shapes: vec![(ShapeId::of(&one_cpu()), Room { all: most, slow: most, now: most })],
        most,
        start: 0,
        kinds: Arc::new(kinds),
        quick: Arc::default(),
        suspects: usize::MAX,
        nonce: NONCE.fetch_add(0x1_0000_0001, Ordering::Relaxed),
    }
}
