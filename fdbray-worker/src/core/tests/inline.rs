//! Tasks that are run on the stack of the one that awaits them.

use super::*;

/// A worker in whose task a child waits to be run inline.
fn parent_and_child() -> (Node, Node, TaskKey, Start, Arc<Cell>) {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 1));
    meet(&mut driver, &mut worker);
    let call = driver.call(&[]);
    talk(&mut driver, &mut worker);
    driver.drop_handle(&call);
    let (key, start) = worker.start_one();
    let child = worker.call_from(Some(key), &[]);
    assert!(worker.start().is_none(), "the parent holds the only slot");
    (driver, worker, key, start, child)
}

#[test]
fn a_result_with_a_borrowed_future_waits_until_its_owner_knows_of_the_borrower() {
    let (mut driver, mut worker, key, start, child) = parent_and_child();
    let mut third = Node::new(3, 0);
    meet(&mut worker, &mut third);
    let object = third.put(b"object");
    let steal = worker.core.steal(child.id(), key).unwrap();
    assert!(worker.core.steal(child.id(), key).is_none(), "it is taken once");
    let borrowed = worker.adopt(object.id(), steal.key);
    let outcome = Ok((Payload::copy_from(b"child"), vec![object.id()]));
    let finished = Finished { task: start.task, id: child.id(), attempt: 1, function: 0, ran: 1, outcome };
    worker.core.finish_inline(steal.key, finished, &mut worker.fx);
    worker.drop_handle(&borrowed);
    assert!(!child.is_settled(), "the owner of what is inside does not know yet");
    talk(&mut worker, &mut third);
    assert_eq!(value(&child).unwrap(), b"child");
    // The value holds what is inside it, until it goes itself.
    third.drop_handle(&object);
    talk(&mut worker, &mut third);
    assert!(!third.is_empty());
    worker.drop_handle(&child);
    worker.finish(key, &start, b"parent", &[]);
    talk(&mut worker, &mut third);
    rest(&mut driver, &mut worker);
    assert!(third.is_empty() && driver.is_empty(), "{:?}{:?}", third.core, driver.core);
}

#[test]
fn a_result_that_waits_ends_with_the_owner_of_what_is_inside() {
    let (mut driver, mut worker, key, start, child) = parent_and_child();
    let mut third = Node::new(3, 0);
    meet(&mut worker, &mut third);
    let object = third.put(b"object");
    let steal = worker.core.steal(child.id(), key).unwrap();
    let borrowed = worker.adopt(object.id(), steal.key);
    let outcome = Ok((Payload::copy_from(b"child"), vec![object.id()]));
    let finished = Finished { task: start.task, id: child.id(), attempt: 1, function: 0, ran: 1, outcome };
    worker.core.finish_inline(steal.key, finished, &mut worker.fx);
    worker.core.member_left(third.id(), true, &|_| None, &mut worker.fx);
    assert_eq!(value(&child).unwrap(), b"child");
    assert!(matches!(borrowed.outcome(), Some(Outcome::Failed(_))));
    worker.drop_handle(&borrowed);
    worker.drop_handle(&child);
    worker.finish(key, &start, b"parent", &[]);
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty(), "{:?}", driver.core);
}

#[test]
fn a_task_that_is_cancelled_while_it_runs_inline_keeps_nothing() {
    let (mut driver, mut worker, key, start, child) = parent_and_child();
    let mut third = Node::new(3, 0);
    meet(&mut worker, &mut third);
    let object = third.put(b"object");
    let steal = worker.core.steal(child.id(), key).unwrap();
    let borrowed = worker.adopt(object.id(), steal.key);
    worker.core.cancel(child.id(), &mut worker.fx);
    let outcome = Ok((Payload::copy_from(b"child"), vec![object.id()]));
    let finished = Finished { task: start.task, id: child.id(), attempt: 1, function: 0, ran: 1, outcome };
    worker.core.finish_inline(steal.key, finished, &mut worker.fx);
    worker.drop_handle(&borrowed);
    talk(&mut worker, &mut third);
    assert!(matches!(child.outcome(), Some(Outcome::Failed(_))));
    third.drop_handle(&object);
    worker.drop_handle(&child);
    worker.finish(key, &start, b"parent", &[]);
    talk(&mut worker, &mut third);
    rest(&mut driver, &mut worker);
    assert!(third.is_empty() && driver.is_empty(), "{:?}{:?}", third.core, driver.core);
    assert!(worker.is_empty(), "{:?}", worker.core);
}
