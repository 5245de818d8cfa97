//! Seeded storms: many processes on a troubled store, which crash and pause between any two of its operations.
//!
//! Everything runs on one thread, polled in an order that follows from the seed, on the store in memory with conflicts,
//! delays and unknown commit results. A crash drops a process's future wherever it is. A pause leaves it until the
//! others have declared it dead and gone on, then lets it go on too. In the end whatever was submitted has ended, each
//! attempt ran once, everybody saw the same values, waiters heard of them through their inbox alone, and the checker
//! finds nothing; and when all is released, nothing is left.
//!
//! `FDBRAY_STORM_SEEDS=from..to cargo test -p fdbray-worker --lib storm` runs others; a failure names its seed.

mod lives;

use super::help::*;
use crate::control::durable::*;
use crate::control::store::memory::Faults;
use crate::control::store::{Key, Range};
use crate::id::ProcessId;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const WORKERS: u64 = 5;
const DRIVERS: u64 = 3;
/// How long it storms, in polls.
const STORM: u64 = 40_000;
/// What may take longer is stuck.
const CALM: u64 = 500_000;

/// What there must have been in a few seeds, so that they do not test nothing.
const HAPPENS: [&str; 12] = [
    "crashes",
    "pauses",
    "values",
    "kept",
    "chunks",
    "errors",
    "lost",
    "cancelled",
    "existing",
    "fenced",
    "notices",
    "stale",
];

#[test]
fn whatever_crashes_everything_settles_once_and_nothing_is_left() {
    let seeds = std::env::var("FDBRAY_STORM_SEEDS").ok();
    let seeds = seeds.as_deref().and_then(|seeds| seeds.split_once("..")).unwrap_or(("0", "12"));
    let seeds: Vec<u64> = (seeds.0.parse().unwrap()..seeds.1.parse().unwrap()).collect();
    assert!(!seeds.is_empty());
    let mut counts = BTreeMap::new();
    for seed in &seeds {
        let _seed = Named(*seed);
        for (what, count) in storm(*seed) {
            *counts.entry(what).or_default() += count;
        }
    }
    for what in HAPPENS {
        let happened: u64 = counts.get(what).copied().unwrap_or_default();
        assert!(happened > 0 || seeds.len() < 6, "no {what} in any of these seeds: {counts:?}");
    }
}

/// Names the seed when it did not go well.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: FDBRAY_STORM_SEEDS={0}..{1} replays it", self.0, self.0 + 1);
        }
    }
}

struct World {
    cluster: Cluster,
    random: Cell<u64>,
    /// No more submissions, and nothing fails any more.
    calm: Cell<bool>,
    log: RefCell<Log>,
}

#[derive(Default)]
struct Log {
    submitted: BTreeMap<FutureId, Submission>,
    /// Attempts that were really made.
    attempts: BTreeSet<(FutureId, u32)>,
    /// Values in the store that somebody saw.
    seen: BTreeMap<FutureId, Vec<u8>>,
    /// All that there ever were.
    workers: Vec<ProcessId>,
    /// Who was declared dead.
    buried: BTreeSet<ProcessId>,
    /// Who cannot be reached any more.
    dead: BTreeSet<ProcessId>,
    /// How much there was of what.
    counts: BTreeMap<&'static str, u64>,
}

type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Storms once. Says how much there was of what.
fn storm(seed: u64) -> BTreeMap<&'static str, u64> {
    let faults = Faults { seed, conflicts: 60, delays: 500, unknown: 60 };
    let cluster = block_on(Cluster::with(faults));
    let world = Rc::new(World {
        cluster,
        random: Cell::new(seed ^ 0x5eed),
        calm: Cell::new(false),
        log: RefCell::default(),
    });
    let mut next = 100;
    let mut lives: Vec<(ProcessId, bool, Life)> = Vec::new();
    for n in 0..WORKERS + DRIVERS {
        next += 1;
        lives.push(born(&world, next, n < WORKERS));
    }
    let mut chores: Vec<Life> = Vec::new();
    let mut paused: Vec<(u64, (ProcessId, bool, Life))> = Vec::new();
    for step in 0..STORM + CALM {
        let calm = step >= STORM;
        world.calm.set(calm);
        if !calm && world.one_of(400) && !lives.is_empty() {
            let victim = lives.swap_remove(world.below(lives.len()));
            let (id, worker) = (victim.0, victim.1);
            world.log.borrow_mut().dead.insert(id);
            let cemetery = world.clone();
            chores.push(Box::pin(async move {
                if cemetery.cluster.bury(id).await {
                    cemetery.log.borrow_mut().buried.insert(id);
                }
            }));
            if world.one_of(2) {
                world.count("pauses");
                paused.push((step + 100 + world.below(2000) as u64, victim));
            } else {
                world.count("crashes");
            }
            next += 1;
            lives.push(born(&world, next, worker));
        }
        if let Some(position) = paused.iter().position(|(until, _)| *until <= step) {
            lives.push(paused.swap_remove(position).1);
        }
        let all = lives.len() + chores.len();
        let chosen = world.below(all);
        if chosen < lives.len() {
            if poll(&mut lives[chosen].2) {
                drop(lives.swap_remove(chosen));
            }
        } else if poll(&mut chores[chosen - lives.len()]) {
            drop(chores.swap_remove(chosen - lives.len()));
        }
        if calm && step % 5000 == 0 && chores.is_empty() && paused.is_empty() && block_on(settled(&world)) {
            // The drivers end when they have heard of everything that they wait for.
            if lives.iter().all(|(_, worker, _)| *worker) {
                break;
            }
        }
        if step + 1 == STORM + CALM {
            let report = block_on(world.cluster.check()).unwrap();
            let open = block_on(world.cluster.list(Filter::default(), None, 1000)).unwrap().futures;
            let open: Vec<_> = open.into_iter().filter(|record| !record.settled()).collect();
            panic!(
                "stuck: {report:?}, {open:?}, {:?}",
                lives.iter().map(|life| (life.0, life.1)).collect::<Vec<_>>()
            );
        }
    }
    drop(lives);
    block_on(aftermath(&world));
    world.log.take().counts
}

/// Whether nothing is left to be done.
async fn settled(world: &World) -> bool {
    let report = world.cluster.check().await.unwrap();
    assert!(report.clean(), "{}", report.summary());
    let open = [Stage::Waiting, Stage::Unclaimed, Stage::Claimed]
        .iter()
        .map(|stage| report.count(*stage))
        .sum::<usize>();
    open == 0 && report.dead.is_empty()
}

async fn aftermath(world: &World) {
    let cluster = &world.cluster;
    let ids: Vec<FutureId> = world.log.borrow().submitted.keys().copied().collect();
    for id in &ids {
        if let Some(record) = cluster.records(vec![*id]).await.unwrap().pop().flatten() {
            assert!(record.settled());
            world.see(&record, cluster.value(*id).await.unwrap());
            let spec = &record.spec;
            assert!(record.attempts <= 1 + spec.retries + spec.retry_errors, "{record:?}");
        }
    }
    cluster.release(ids).await.unwrap();
    for _ in 0..10 {
        cluster.ticks(70).await;
    }
    cluster.forget_shapes().await.unwrap();
    let report = cluster.check().await.unwrap();
    assert_eq!((report.clean(), report.futures), (true, [0; 6]), "{}", report.summary());
    let dead: Vec<ProcessId> = world.log.borrow().dead.iter().copied().collect();
    for process in dead {
        cluster.recover(process).await.unwrap();
    }
    let root = Key::new().str("fdbray").str("demo").str("durable");
    let prefix = root.as_ref().len();
    let left = cluster.store.read(move |tx| {
        let range = Range::children(&root);
        async move { tx.range(range).await }
    });
    for (key, _) in left.await.unwrap() {
        let rest = Key::elements(&key[prefix..]).unwrap();
        let kept = ["format", "clock", "shapes", "bell", "inbox"]
            .iter()
            .any(|kind| rest[0] == crate::control::store::key::Element::Str((*kind).into()));
        assert!(kept, "{rest:?} is left");
    }
}

/// A new process, which registers first.
fn born(world: &Rc<World>, n: u64, worker: bool) -> (ProcessId, bool, Life) {
    let (world, id) = (world.clone(), process(n));
    if worker {
        world.log.borrow_mut().workers.push(id);
    }
    let life = async move {
        if world.cluster.try_join(n).await.is_err() {
            // It was declared dead while it registered.
            assert!(world.log.borrow().dead.contains(&id));
            return;
        }
        let ended = if worker { lives::work(&world, id).await } else { lives::drive(&world, id).await };
        match ended {
            Err(DurableError::NotMember(of)) => {
                assert!(of == id && world.log.borrow().dead.contains(&id));
                world.count("fenced");
            }
            Err(error) => panic!("{error}"),
            Ok(()) => {}
        }
    };
    (id, worker, Box::pin(life))
}

impl World {
    /// SplitMix64.
    fn next(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_of(&self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn count(&self, what: &'static str) {
        *self.log.borrow_mut().counts.entry(what).or_default() += 1;
    }

    /// Dead or alive.
    fn any_worker(&self) -> ProcessId {
        let log = self.log.borrow();
        log.workers[self.below(log.workers.len())]
    }

    fn any_future(&self) -> Option<FutureId> {
        let log = self.log.borrow();
        let near = log.submitted.len().min(60);
        (near > 0).then(|| *log.submitted.keys().rev().nth(self.below(near)).unwrap())
    }

    /// Somebody sees a future that has ended: its value, if it is in the store, is the one that everybody sees.
    fn see(&self, record: &Record, value: Option<Vec<u8>>) {
        let State::Realized(realized) = &record.state else { return };
        let value = match (&realized.value, value) {
            (Value::Inline(value), _) => value.clone(),
            (Value::Chunks(len), Some(value)) => {
                assert_eq!(value.len() as u64, *len);
                value
            }
            _ => return,
        };
        let by = format!(" {} {}", realized.by, realized.attempt);
        assert!(value.windows(by.len()).any(|part| part == by.as_bytes()), "the value of another attempt");
        let mut log = self.log.borrow_mut();
        let seen = log.seen.entry(record.id).or_insert_with(|| value.clone());
        assert_eq!(*seen, value, "{} has two values", record.id);
    }
}

fn poll(life: &mut Life) -> bool {
    life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Whether a future is done, without waiting for it.
async fn poll_once<F: Future>(future: &mut Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Lets others go first.
async fn pause() {
    let mut first = true;
    std::future::poll_fn(
        |_| if std::mem::replace(&mut first, false) { Poll::Pending } else { Poll::Ready(()) },
    )
    .await;
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}
