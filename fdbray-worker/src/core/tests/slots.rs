//! Slots that are granted, lent, given back and taken again.

use super::*;

/// A worker with one CPU, and two drivers that each have a call for it. The first has the slot.
fn contended() -> (Node, Node, Node, [Arc<Cell>; 2]) {
    let (mut a, mut b, mut worker) = (Node::new(1, 0), Node::new(2, 0), Node::new(3, 1));
    meet(&mut a, &mut worker);
    meet(&mut b, &mut worker);
    let first = a.call(&[]);
    talk(&mut a, &mut worker);
    let second = b.call(&[]);
    talk(&mut b, &mut worker);
    (a, b, worker, [first, second])
}

#[test]
fn a_task_whose_slot_was_given_away_while_it_waited_goes_on_when_one_is_free() {
    let (mut a, mut b, mut worker, [first, second]) = contended();
    let (waiting, its_start) = worker.start_one();
    assert!(worker.start().is_none());
    worker.core.block(waiting, &mut worker.fx);
    talk(&mut b, &mut worker);
    let (other, other_start) = worker.start_one();
    assert!(!worker.core.unblock(waiting), "the slot is in use");
    assert!(worker.fx.resume.is_empty());
    worker.finish(other, &other_start, b"second", &[]);
    assert_eq!(std::mem::take(&mut worker.fx.resume), [waiting]);
    assert!(worker.core.unblock(waiting), "it has been given one");
    // Nothing else starts beside it.
    b.call(&[]);
    talk(&mut b, &mut worker);
    assert!(worker.start().is_none());
    worker.finish(waiting, &its_start, b"first", &[]);
    talk(&mut a, &mut worker);
    talk(&mut b, &mut worker);
    assert!(worker.start().is_some());
    assert_eq!((value(&first).unwrap(), value(&second).unwrap()), (b"first".to_vec(), b"second".to_vec()));
}

#[test]
fn a_task_goes_on_though_its_owner_gave_the_slot_back_meanwhile() {
    let (mut a, mut b, mut worker, [first, second]) = contended();
    let (waiting, its_start) = worker.start_one();
    worker.core.block(waiting, &mut worker.fx);
    talk(&mut b, &mut worker);
    let (other, other_start) = worker.start_one();
    // The first owner is asked for the slot and gives it back; its task is still to be answered over that lease.
    for _ in 0..10 {
        worker.later(60);
        talk(&mut a, &mut worker);
    }
    assert!(!worker.core.unblock(waiting));
    worker.finish(other, &other_start, b"second", &[]);
    assert_eq!(std::mem::take(&mut worker.fx.resume), [waiting]);
    b.call(&[]);
    talk(&mut b, &mut worker);
    assert!(worker.start().is_none(), "what runs without a lease holds its slot until it ends");
    worker.finish(waiting, &its_start, b"first", &[]);
    talk(&mut a, &mut worker);
    talk(&mut b, &mut worker);
    assert_eq!((value(&first).unwrap(), value(&second).unwrap()), (b"first".to_vec(), b"second".to_vec()));
    assert!(worker.start().is_some());
}

#[test]
fn a_lease_that_grows_while_it_is_given_back_is_given_back_whole() {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 2));
    meet(&mut driver, &mut worker);
    let first = driver.call(&[]);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, b"first", &[]);
    talk(&mut driver, &mut worker);
    assert_eq!(value(&first).unwrap(), b"first");
    // Two slots are wanted; the worker adds one to the lease that the driver gives back at the same time.
    let calls = [driver.call(&[]), driver.call(&[])];
    let asked = driver.say(&worker);
    worker.hear(&driver, &asked);
    let granted = worker.say(&driver);
    for call in &calls {
        driver.core.cancel(call.id(), &mut driver.fx);
    }
    for _ in 0..4 {
        driver.later(150);
    }
    let returned = driver.say(&worker);
    driver.hear(&worker, &granted);
    worker.hear(&driver, &returned);
    rest(&mut driver, &mut worker);
    assert_eq!(driver.core.owner.leases_held(), 0, "{:?}", driver.core);
    let worker_has = format!("{:?}", worker.core);
    assert!(worker.core.worker.grants.is_empty(), "{worker_has}");
    // And it can be had again.
    let again = [driver.call(&[]), driver.call(&[])];
    talk(&mut driver, &mut worker);
    while let Some((key, starts)) = worker.start() {
        let done = starts.iter().map(|s| Finished {
            task: s.task,
            id: s.id,
            attempt: s.attempt,
            function: 0,
            ran: 1,
            outcome: Ok((Payload::copy_from(b"again"), Vec::new())),
        });
        worker.core.finish(key, &mut done.collect(), &mut Vec::new(), &mut worker.fx);
        talk(&mut driver, &mut worker);
    }
    assert!(again.iter().all(|cell| value(cell).unwrap() == b"again"));
}

#[test]
fn calls_that_need_nothing_and_may_have_killed_a_worker_run_here_one_by_one() {
    let (mut here, mut there) = (Node::new(1, 1), Node::new(2, 1));
    meet(&mut here, &mut there);
    let calls = [here.light(there.id()), here.light(there.id())];
    talk(&mut here, &mut there);
    assert!(there.start().is_some());
    let nothing_is_known = |_| None;
    here.core.member_left(there.id(), true, &nothing_is_known, &mut here.fx);
    for expected in [b"one", b"two"] {
        let (key, start) = here.start_one();
        assert!(here.start().is_none(), "the other is kept apart");
        here.finish(key, &start, expected, &[]);
    }
    assert!(calls.iter().all(|call| value(call).is_some()));
}
