//! Calls of which only so many are under way at once.

use super::*;
use crate::core::Gate;

/// Calls that pass `gate`, and a worker that could run all of them.
fn bounded(gate: Gate, futures: &[Option<&Arc<Cell>>]) -> (Node, Node, Vec<Arc<Cell>>) {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 8));
    meet(&mut driver, &mut worker);
    let calls = futures.iter().map(|future| driver.gated(gate, future.as_slice())).collect();
    settle(&mut driver, &mut worker);
    (driver, worker, calls)
}

/// Has slots asked for as they are needed.
fn settle(driver: &mut Node, worker: &mut Node) {
    for _ in 0..5 {
        talk(driver, worker);
        driver.later(20);
        worker.later(20);
    }
}

/// Everything that may start now.
fn start_all(worker: &mut Node) -> Vec<(TaskKey, Start)> {
    let mut all = Vec::new();
    while let Some((key, mut starts)) = worker.start() {
        assert_eq!(starts.len(), 1);
        all.push((key, starts.remove(0)));
    }
    all
}

#[test]
fn so_many_are_under_way_and_the_next_follows_when_one_has_ended() {
    let (mut driver, mut worker, calls) = bounded(Gate::new(2), &[None; 5]);
    let mut running = start_all(&mut worker);
    assert_eq!(running.len(), 2);
    for (ended, call) in calls.iter().enumerate() {
        let (key, start) = running.remove(0);
        assert_eq!(start.id, call.id(), "in the order in which they were made");
        worker.finish(key, &start, b"done", &[]);
        settle(&mut driver, &mut worker);
        running.append(&mut start_all(&mut worker));
        assert_eq!(running.len(), (4 - ended).min(2));
    }
    assert!(calls.iter().all(|call| value(call).unwrap() == b"done"));
    assert!(driver.core.gates.is_empty());
}

#[test]
fn one_that_is_cancelled_at_the_gate_is_passed_over_and_one_under_way_makes_room() {
    let (mut driver, mut worker, calls) = bounded(Gate::new(1), &[None; 4]);
    driver.core.cancel(calls[1].id(), &mut driver.fx);
    settle(&mut driver, &mut worker);
    assert_eq!(start_all(&mut worker).len(), 1);
    driver.core.cancel(calls[0].id(), &mut driver.fx);
    settle(&mut driver, &mut worker);
    let running = start_all(&mut worker);
    assert_eq!(running.iter().map(|(_, start)| start.id).collect::<Vec<_>>(), [calls[2].id()]);
    driver.core.end(&mut driver.fx);
    assert!(calls.iter().all(|call| call.is_settled()) && driver.core.gates.is_empty());
}

#[test]
fn one_that_waits_for_an_argument_keeps_no_other_back() {
    let mut other = Node::new(1, 0);
    let argument = other.call(&[]);
    let (mut driver, mut worker) = (other, Node::new(2, 8));
    meet(&mut driver, &mut worker);
    let gate = Gate::new(1);
    let first = driver.gated(gate, &[&argument]);
    let second = driver.gated(gate, &[]);
    settle(&mut driver, &mut worker);
    let mut running = start_all(&mut worker);
    assert_eq!(running.len(), 2, "the argument and the second");
    let (key, start) = running.remove(0);
    assert_eq!(start.id, argument.id());
    worker.finish(key, &start, b"argument", &[]);
    settle(&mut driver, &mut worker);
    assert!(start_all(&mut worker).is_empty());
    let (key, start) = running.remove(0);
    worker.finish(key, &start, b"second", &[]);
    settle(&mut driver, &mut worker);
    assert_eq!(value(&second).unwrap(), b"second");
    assert_eq!(start_all(&mut worker).remove(0).1.id, first.id());
}

#[test]
fn one_whose_worker_dies_keeps_its_place() {
    let (mut driver, mut worker, calls) = bounded(Gate::new(1), &[None; 2]);
    assert_eq!(start_all(&mut worker).len(), 1);
    driver.core.member_left(worker.id(), true, &|_| None, &mut driver.fx);
    let mut another = Node::new(3, 8);
    meet(&mut driver, &mut another);
    settle(&mut driver, &mut another);
    let running = start_all(&mut another);
    assert_eq!(running.iter().map(|(_, start)| start.id).collect::<Vec<_>>(), [calls[0].id()]);
}
