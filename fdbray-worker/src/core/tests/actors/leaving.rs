//! Actors whose worker leaves or may not run them any more, and whether one that was found by its name is still there.

use super::*;

#[test]
fn an_actor_that_is_made_while_its_worker_leaves_goes_on_to_another_one() {
    let (mut driver, mut worker) = (Node::with_actors(1, 0), Node::with_actors(2, 2));
    meet(&mut driver, &mut worker);
    let actor = driver.create(1);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.core.drain(&mut worker.fx);
    let mut other = Node::with_actors(3, 2);
    meet(&mut driver, &mut other);
    driver.core.member_left(worker.id(), false, &|_| None, &mut driver.fx);
    worker.finish(key, &start, b"", &[]);
    rest(&mut driver, &mut worker);
    rest(&mut driver, &mut other);
    other.construct();
    // That spent nothing: it may break once.
    for _ in 0..2 {
        let call = driver.method(ADD, &actor);
        talk(&mut driver, &mut other);
        let (key, starts) = other.start().unwrap();
        other.panic(key, starts);
        driver.drop_handle(&call);
        talk(&mut driver, &mut other);
        if let Some(made) = other.start() {
            assert_eq!(functions(&made), [NEW]);
            other.finish(made.0, &made.1[0], b"", &[]);
        }
    }
    assert!(error(&actor).contains("max_restarts"), "{}", error(&actor));
    driver.drop_handle(&actor);
    rest(&mut driver, &mut other);
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty() && worker.is_empty() && other.is_empty(), "{:?}", driver.core);
}

#[test]
fn no_actor_of_the_cluster_is_run_behind_its_fence_whatever_else_is_closed() {
    let mut worker = Node::with_actors(2, 2);
    let claimed: Vec<_> = (0..2)
        .map(|n| {
            let actor = worker.create(0);
            worker.construct();
            let known_as = ObjectId::durable(worker.id(), n);
            assert!(worker.core.follow_claimed(actor.id().seq, known_as));
            actor
        })
        .collect();
    // Both are behind it. One ends, and another one is made.
    worker.later(10);
    assert!(worker.start().is_none());
    worker.core.kill_actor(claimed[0].id(), &mut worker.fx);
    let next = worker.create(0);
    worker.construct();
    assert!(worker.core.follow_claimed(next.id().seq, ObjectId::durable(worker.id(), 9)));
    let calls = [&claimed[1], &next].map(|actor| worker.method(ADD, actor));
    assert!(worker.start().is_none(), "{:?}", worker.core);
    let until = worker.core.now() + 1_000 * MILLISECOND;
    worker.core.fence(until, &mut worker.fx);
    while let Some((key, starts)) = worker.start() {
        worker.end(key, &starts, b"");
    }
    assert!(calls.iter().all(|call| value(call).is_some()));
}

#[test]
fn who_has_a_handle_already_hears_whether_an_actor_that_it_looks_up_is_still_there() {
    let (mut driver, mut worker, actor) = pair(0);
    let mut other = Node::with_actors(3, 0);
    meet(&mut driver, &mut other);
    let handle = other.core.adopt(actor.id(), Origin::Here, &mut other.fx);
    talk(&mut driver, &mut other);
    other.core.confirm(actor.id(), &mut other.fx);
    talk(&mut driver, &mut other);
    assert_eq!(std::mem::take(&mut other.fx.confirmed), [(actor.id(), true)]);
    driver.core.kill_actor(actor.id(), &mut driver.fx);
    other.core.confirm(actor.id(), &mut other.fx);
    talk(&mut driver, &mut other);
    assert_eq!(std::mem::take(&mut other.fx.confirmed), [(actor.id(), false)]);
    // Who has lost interest before the answer came is not waited for.
    let second = driver.create(0);
    talk(&mut driver, &mut worker);
    let looked_up = other.core.adopt(second.id(), Origin::Here, &mut other.fx);
    other.core.confirm(second.id(), &mut other.fx);
    other.drop_handle(&looked_up);
    assert_eq!(std::mem::take(&mut other.fx.confirmed), [(second.id(), false)]);
    // After the end nobody is asked any more.
    let third = ObjectId { owner: driver.id(), seq: 77 };
    other.core.end(&mut other.fx);
    let late = other.core.adopt(third, Origin::Here, &mut other.fx);
    other.core.confirm(third, &mut other.fx);
    assert_eq!(other.fx.confirmed, [(third, false)]);
    drop((handle, late));
}

#[test]
fn nothing_is_sent_any_more_to_an_actor_of_the_cluster_that_is_known_to_have_ended() {
    let (mut driver, mut worker) = (Node::with_actors(1, 0), Node::with_actors(2, 2));
    meet(&mut driver, &mut worker);
    let there = worker.create(0);
    worker.construct();
    let id = ObjectId::durable(worker.id(), 1);
    assert!(worker.core.follow_claimed(there.id().seq, id));
    worker.core.fence(u64::MAX, &mut worker.fx);
    let actor = driver.core.durable(id, &mut driver.fx);
    let first = driver.method(ADD, &actor);
    assert_eq!(std::mem::take(&mut driver.fx.find_actors), [id]);
    assert!(driver.core.looks_for(id));
    driver.core.actor_found(id, worker.id(), there.id(), &mut driver.fx);
    assert!(!driver.core.looks_for(id));
    run_all(&mut worker, &mut driver);
    assert!(value(&first).is_some());
    // It was killed, which the worker has not heard yet.
    let killed = Error::ActorEnded { actor: "f".into(), why: "killed".into(), passed: Default::default() };
    driver.core.durable_ended(id, Outcome::Failed(Arc::new(killed)), &mut driver.fx);
    let second = driver.method(ADD, &actor);
    run_all(&mut worker, &mut driver);
    assert!(error(&second).contains("killed"), "{}", error(&second));
}
