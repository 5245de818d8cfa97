//! The service: drivers and workers that share a store, as processes do.

use super::*;
use crate::control::durable::tests::help::*;
use crate::control::durable::*;
use crate::control::members::Capacity;
use crate::control::store::memory::{Faults, Memory};
use crate::control::store::{Store, lmdb};
use crate::id::ProcessId;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Runs what it is given at once, or never.
struct Runner {
    handle: OnceLock<DurableHandle>,
    free: AtomicUsize,
    hangs: bool,
    ran: Mutex<Vec<FutureId>>,
    revoked: Mutex<Vec<FutureId>>,
}

impl Executor for Arc<Runner> {
    fn room(&self, shapes: &[(ShapeId, Capacity)]) -> Room {
        let free = self.free.load(Ordering::SeqCst);
        let fitting = shapes.iter().filter(|(_, shape)| fits(&one_cpu(), shape));
        let shapes = fitting.map(|(id, _)| (*id, free)).collect();
        Room { shapes, most: free, start: free / 2, kinds: wants(1).kinds }
    }

    fn run(&self, claimed: Vec<Claimed>) {
        self.free.fetch_sub(claimed.len(), Ordering::SeqCst);
        self.ran.lock().unwrap().extend(claimed.iter().map(|claimed| claimed.token.id));
        if self.hangs {
            return;
        }
        for claimed in claimed {
            let (runner, handle) = (self.clone(), self.handle.get().unwrap().clone());
            tokio::spawn(async move {
                let started = match claimed.attempt {
                    None => handle.start_attempt(claimed.token).await.unwrap(),
                    attempt => attempt,
                };
                if started.is_some() {
                    let value = Outcome::Value(claimed.token.id.to_string().into_bytes());
                    handle.complete(claimed.token, value).await.unwrap();
                }
                runner.free.fetch_add(1, Ordering::SeqCst);
                handle.room_changed();
            });
        }
    }

    fn revoked(&self, id: FutureId) {
        self.revoked.lock().unwrap().push(id);
    }
}

async fn worker(cluster: &Cluster, n: u64, hangs: bool) -> (ProcessId, DurableHandle, Arc<Runner>) {
    let runner = Arc::new(Runner {
        handle: OnceLock::new(),
        free: AtomicUsize::new(16),
        hangs,
        ran: Mutex::default(),
        revoked: Mutex::default(),
    });
    let me = cluster.join(n).await;
    let handle = DurableHandle::start(cluster.durable.clone(), me, Some(Arc::new(runner.clone())));
    runner.handle.set(handle.clone()).ok().unwrap();
    (me, handle, runner)
}

/// What a worker leaves behind that is killed: nothing but its records.
fn kill((_, handle, runner): (ProcessId, DurableHandle, Arc<Runner>)) {
    runner.free.store(0, Ordering::SeqCst);
    handle.stop();
}

async fn driver(cluster: &Cluster) -> DurableHandle {
    DurableHandle::start(cluster.durable.clone(), cluster.join(1).await, None)
}

async fn value(pending: Pending) -> String {
    pending.submitted.await.unwrap().unwrap();
    match pending.settled.await.unwrap().state {
        State::Realized(Realized { value: Value::Inline(value), .. }) => String::from_utf8(value).unwrap(),
        state => panic!("{state:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_drivers_run_in_workers_with_futures_as_arguments() {
    let cluster = Cluster::with(Faults { seed: 3, conflicts: 50, delays: 100, unknown: 50 }).await;
    let driver = driver(&cluster).await;
    let _workers = [worker(&cluster, 8, false).await, worker(&cluster, 9, false).await];
    let mut pending = Vec::new();
    let mut last = Vec::new();
    for _ in 0..1000 {
        let call = Submission { futures: last, ..cluster.call() };
        last = if pending.len() % 10 == 9 { Vec::new() } else { vec![call.id] };
        pending.push((call.id, driver.submit(call)));
    }
    for (id, pending) in pending {
        assert_eq!(value(pending).await, id.to_string());
    }
    cluster.checked().await;
}

#[tokio::test]
async fn the_same_on_lmdb() {
    let directory = tempfile::tempdir().unwrap();
    let options = lmdb::Options { sync: lmdb::Sync::None, ..lmdb::Options::default() };
    let cluster = Cluster::new(Store::lmdb(directory.path(), options).unwrap()).await;
    let driver = driver(&cluster).await;
    let _worker = worker(&cluster, 9, false).await;
    let pending: Vec<_> = (0..1000).map(|_| driver.submit(cluster.call())).collect();
    let mut released = Vec::new();
    for pending in pending {
        let id: FutureId = value(pending).await.parse().unwrap();
        released.push(driver.release(id));
    }
    for released in released {
        released.await.unwrap();
    }
    assert_eq!(cluster.checked().await.futures, [0; 6]);
}

#[tokio::test(start_paused = true)]
async fn work_of_the_dead_is_done_by_who_comes_later_although_nobody_saw_them_die() {
    let cluster = Cluster::with(Faults::default()).await;
    let driver = driver(&cluster).await;
    let dead = worker(&cluster, 8, true).await;
    let pending: Vec<_> = (0..20).map(|_| driver.submit(cluster.call())).collect();
    while dead.2.ran.lock().unwrap().len() < 16 {
        sleep(Duration::from_millis(10)).await;
    }
    let process = dead.0;
    kill(dead);
    cluster.bury(process).await;
    let _late = worker(&cluster, 9, false).await;
    for pending in pending {
        value(pending).await;
    }
    assert!(cluster.checked().await.dead.is_empty());
}

#[tokio::test(start_paused = true)]
async fn deadlines_and_cancellation_reach_driver_and_worker() {
    let cluster = Cluster::with(Faults::default()).await;
    let driver = driver(&cluster).await;
    let (_, _, runner) = worker(&cluster, 9, true).await;
    let begun = Instant::now();
    let late = driver.submit(Submission { deadline: Some(20), ..cluster.call() });
    let cancelled = driver.submit(cluster.call());
    let id = cancelled.submitted.await.unwrap().unwrap();
    while runner.ran.lock().unwrap().len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    driver.durable().cancel(id).await.unwrap();
    assert_eq!(cancelled.settled.await.unwrap().state.stage(), Stage::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let record = late.settled.await.unwrap();
    assert_eq!(record.state.stage(), Stage::Failed);
    let seconds = begun.elapsed().as_secs();
    assert!((20..40).contains(&seconds), "{seconds}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*runner.revoked.lock().unwrap(), [id, record.id]);
}

#[tokio::test(start_paused = true)]
async fn others_attach_by_key_or_id_before_and_after_the_end() {
    let cluster = Cluster::with(Faults::default()).await;
    let driver = driver(&cluster).await;
    let other = DurableHandle::start(cluster.durable.clone(), cluster.join(2).await, None);
    let keyed = || Submission { key: Some("k".into()), returns: 5, ..cluster.call() };
    let first = driver.submit(keyed());
    let id = first.submitted.await.unwrap().unwrap();
    let again = driver.submit(keyed());
    let early = other.attach("k".into(), Some(5));
    assert_eq!(early.submitted.await.unwrap().unwrap(), id);
    let wrong = other.attach("k".into(), Some(6));
    assert!(matches!(
        wrong.submitted.await.unwrap(),
        Err(SubmitError::Durable(DurableError::OtherType { .. }))
    ));
    assert!(wrong.settled.await.is_err());
    let _worker = worker(&cluster, 9, false).await;
    assert_eq!(value(again).await, id.to_string());
    assert_eq!(early.settled.await.unwrap().id, id);
    assert_eq!(value(other.attach(Target::Id(id), None)).await, id.to_string());
    let refused = driver.submit(Submission { arguments: vec![9], ..keyed() });
    assert!(matches!(refused.submitted.await.unwrap(), Err(SubmitError::Refused(Refused::KeyTaken { .. }))));
    assert!(refused.settled.await.unwrap_err().to_string().contains("other arguments"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_waited_for_up_to_thirty_seconds() {
    let memory = Memory::new(Faults::default());
    let cluster = Cluster::new(memory.store()).await;
    let driver = driver(&cluster).await;
    let _worker = worker(&cluster, 9, false).await;
    value(driver.submit(cluster.call())).await;
    memory.set_unreachable(true);
    let waits = driver.submit(cluster.call());
    sleep(Duration::from_secs(20)).await;
    memory.set_unreachable(false);
    value(waits).await;
    memory.set_unreachable(true);
    let begun = Instant::now();
    let fails = driver.submit(cluster.call());
    let error = fails.submitted.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    assert!(fails.settled.await.is_err());
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn who_was_declared_dead_hears_of_it_instead_of_waiting_for_ever() {
    let cluster = Cluster::with(Faults::default()).await;
    let driver = driver(&cluster).await;
    let pending = driver.submit(cluster.call());
    pending.submitted.await.unwrap().unwrap();
    cluster.bury(process(1)).await;
    let end = timeout(Duration::from_secs(60), pending.settled).await.unwrap();
    assert!(matches!(end, Err(DurableError::NotMember(_))));
}
