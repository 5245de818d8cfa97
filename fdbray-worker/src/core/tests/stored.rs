//! Values that leave memory: in which order, who gets them when, and what follows when they cannot be read again.

use super::*;
use crate::{
    core::{Found, Got, SetAside},
    error::Error,
    objects::{Arena, Disk, DiskOptions, Options, Spilled},
};

const LARGE: [u8; INLINE_BYTES + 1] = [7; INLINE_BYTES + 1];

impl Node {
    /// Sets a value aside as if nobody held it; which one that was.
    fn set_aside(&mut self) -> Option<(ObjectId, Arc<Spilled>)> {
        match self.core.set_aside(&mut |value| Ok(Spilled::simulated(value)), &mut self.fx) {
            SetAside::One(id, spilled) => Some((id, spilled)),
            SetAside::Clean(_) => panic!("nothing is on a disk here"),
            SetAside::InUse(looked) => {
                assert_eq!(looked, 0);
                None
            }
        }
    }

    /// Somebody awaits the future here.
    fn ask(&mut self, cell: &Cell) {
        assert!(cell.first_ask());
        self.core.ask(cell.id(), true, &mut self.fx);
    }

    /// What is to be brought back.
    fn wanted(&mut self) -> Vec<ObjectId> {
        let me = self.id();
        self.fx
            .fetch
            .drain(..)
            .map(|fetch| (fetch.places.holder == me).then_some(fetch.id).unwrap())
            .collect()
    }

    /// It is brought back, or cannot be.
    fn bring_back(&mut self, id: ObjectId, readable: bool) {
        let Some(Found::Away(spilled)) = self.core.object(id, 0) else { panic!("{id} is not away") };
        let value = spilled.in_memory().filter(|_| readable);
        match &value {
            Some(value) => self.core.came_back(id, &spilled, value.clone(), &mut self.fx),
            None => self.core.is_damaged(id, &spilled, &mut self.fx),
        }
        let got = value.map_or(Got::Nothing, |value| Got::Value { value, copied: false });
        self.core.fetched(id, 0, got, &mut self.fx);
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first_and_small_values_stay() {
    let mut node = Node::new(1, 0);
    let [a, _small, b, c] = [&LARGE[..], b"small", &LARGE, &LARGE].map(|value| node.put(value));
    assert!(matches!(node.core.object(a.id(), 0), Some(Found::Here(_))));
    for expected in [&b, &c, &a] {
        assert_eq!(node.set_aside().unwrap().0, expected.id());
        assert!(matches!(expected.outcome(), Some(Outcome::Stored { len: 65 })));
    }
    assert!(node.set_aside().is_none());
}

#[test]
fn what_somebody_holds_stays_and_counts_as_used() {
    let mut node = Node::new(1, 0);
    let [a, b] = [(); 2].map(|()| node.put(&LARGE));
    let mut seen = Vec::new();
    let mut refuse = |value: Payload| {
        seen.push(value.len());
        Err(value)
    };
    assert!(matches!(node.core.set_aside(&mut refuse, &mut node.fx), SetAside::InUse(2)));
    assert_eq!(seen, [65, 65]);
    assert_eq!((value(&a).unwrap(), value(&b).unwrap()), (LARGE.to_vec(), LARGE.to_vec()));
    node.core.object(a.id(), 0);
    assert_eq!(node.set_aside().unwrap().0, b.id());
}

#[test]
fn whoever_awaits_what_is_away_has_it_brought_back_once() {
    let mut node = Node::new(1, 0);
    let cell = node.put(&LARGE);
    assert!(cell.first_ask(), "it was awaited before");
    node.set_aside().unwrap();
    node.ask(&cell);
    assert!(!cell.first_ask());
    assert_eq!(node.wanted(), [cell.id()]);
    node.bring_back(cell.id(), true);
    assert_eq!(value(&cell).unwrap(), LARGE);
    // It stays for who has asked, and goes again later.
    assert!(matches!(
        node.core.set_aside(&mut |value| Ok(Spilled::simulated(value)), &mut node.fx),
        SetAside::InUse(1)
    ));
    node.later(100);
    assert_eq!(node.set_aside().unwrap().0, cell.id());
    node.ask(&cell);
    assert_eq!(node.wanted(), [cell.id()]);
}

#[test]
fn what_is_freed_while_it_is_away_leaves_nothing() {
    let mut node = Node::new(1, 0);
    let cell = node.put(&LARGE);
    let (id, spilled) = node.set_aside().unwrap();
    node.drop_handle(&cell);
    assert_eq!(node.fx.spilled.drain(..).len(), 1);
    assert_eq!(Arc::strong_count(&spilled), 1);
    // Somebody was just reading it.
    node.core.came_back(id, &spilled, Payload::copy_from(&LARGE), &mut node.fx);
    assert!(node.is_empty() && node.core.object(id, 0).is_none());
}

#[test]
fn what_was_put_and_cannot_be_read_is_lost() {
    let mut node = Node::new(1, 0);
    let cell = node.put(&LARGE);
    node.set_aside().unwrap();
    node.ask(&cell);
    node.bring_back(cell.id(), false);
    let Some(Outcome::Failed(error)) = cell.outcome() else { panic!("{:?}", cell.outcome()) };
    assert!(matches!(&*error, Error::ObjectLost { .. }), "{error}");
    node.drop_handle(&cell);
    assert!(node.is_empty());
}

#[test]
fn what_a_worker_cannot_read_is_computed_again() {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 1));
    meet(&mut driver, &mut worker);
    let call = driver.call(&[]);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, &LARGE, &[]);
    talk(&mut driver, &mut worker);
    worker.set_aside().unwrap();
    driver.ask(&call);
    assert_eq!(driver.fx.fetch.drain(..).next().unwrap().places.holder, worker.id());
    // The driver asks the worker, in vain.
    let Some(Found::Away(spilled)) = worker.core.object(call.id(), 0) else { panic!("it is not away") };
    worker.core.is_damaged(call.id(), &spilled, &mut worker.fx);
    driver.core.fetched(call.id(), 1, Got::Nothing, &mut driver.fx);
    driver.later(1000);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, &LARGE, &[]);
    talk(&mut driver, &mut worker);
    assert!(matches!(driver.fx.fetch.drain(..).next(), Some(fetch) if fetch.places.holder == worker.id()));
    let got = Got::Value { value: Payload::copy_from(&LARGE), copied: true };
    driver.core.fetched(call.id(), 2, got, &mut driver.fx);
    assert_eq!(value(&call).unwrap(), LARGE);
    driver.drop_handle(&call);
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty() && worker.is_empty(), "{:?} {:?}", driver.core, worker.core);
}

#[test]
fn an_argument_that_is_away_is_brought_back_for_its_task() {
    let mut node = Node::new(1, 1);
    let argument = node.put(&LARGE);
    node.set_aside().unwrap();
    let call = node.call(&[&argument]);
    assert_eq!(node.wanted(), [argument.id()]);
    assert!(node.start().is_none());
    node.bring_back(argument.id(), true);
    let (key, start) = node.start_one();
    assert_eq!(start.futures[0].head(), LARGE);
    drop(start.futures.clone());
    node.finish(key, &start, b"done", &[]);
    assert_eq!(value(&call).unwrap(), b"done");
}

#[test]
fn what_was_on_disk_before_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(&DiskOptions { dir: Some(dir.path().to_owned()), limit: None });
    let arena = Arena::new(Options { limit: 4 << 20, reserve: 0, low_water: 0, background: false });
    let mut node = Node::new(1, 0);
    let kept = arena.keep(&Payload::Shared(vec![7; 100_000].into())).unwrap();
    let cell = node.core.put(kept, Vec::new(), &mut node.fx);
    let mut park = |value| Spilled::park(value, &arena);
    let SetAside::One(id, spilled) = node.core.set_aside(&mut park, &mut node.fx) else { panic!("in use") };
    spilled.write(&disk).unwrap();
    assert_eq!(arena.stats().blocks, 0);
    let value = spilled.read(|len| arena.allocate(len).ok()).unwrap();
    node.core.came_back(id, &spilled, value, &mut node.fx);
    node.later(100);
    let SetAside::Clean(parked) = node.core.set_aside(&mut park, &mut node.fx) else {
        panic!("written again")
    };
    drop(parked);
    assert_eq!(arena.stats().blocks, 0);
    let Some(Found::Away(again)) = node.core.object(id, 0) else { panic!("it is not away") };
    assert!(Arc::ptr_eq(&again, &spilled));
    // On a full disk that is given up first.
    let value = spilled.read(|len| arena.allocate(len).ok()).unwrap();
    node.core.came_back(id, &spilled, value, &mut node.fx);
    assert_eq!(node.core.drop_written().len(), 1);
    node.fx.spilled.clear();
    drop((spilled, again));
    assert_eq!(disk.stats(arena.stats()).spilled, 0);
    node.drop_handle(&cell);
    node.fx.drops.clear();
    assert!(node.is_empty() && arena.stats().blocks == 0);
}
