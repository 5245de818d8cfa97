//! What is kept for results, arguments and those who need them, and when it goes.

use super::*;

#[test]
fn a_large_result_that_nobody_wants_any_more_is_not_kept() {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 1));
    meet(&mut driver, &mut worker);
    let call = driver.call(&[]);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    driver.core.cancel(call.id(), &mut driver.fx);
    let cancel = driver.say(&worker);
    worker.hear(&driver, &cancel);
    assert_eq!(worker.fx.abort, [start.task], "it runs: it is asked to end");
    // It ends by itself, with a value, and one inside.
    let inside = worker.put(b"inside");
    worker.finish(key, &start, &[7; INLINE_BYTES + 1], &[inside.id()]);
    worker.drop_handle(&inside);
    assert_ne!(worker.core.left_over(), [0; 5], "kept until the owner says what becomes of it");
    talk(&mut driver, &mut worker);
    driver.drop_handle(&call);
    rest(&mut driver, &mut worker);
    assert!(worker.is_empty() && driver.is_empty(), "{:?}{:?}", worker.core, driver.core);
}

#[test]
fn a_large_result_is_kept_until_its_last_handle_is_gone() {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 1));
    meet(&mut driver, &mut worker);
    let call = driver.call(&[]);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, &[7; INLINE_BYTES + 1], &[]);
    talk(&mut driver, &mut worker);
    assert!(matches!(call.outcome(), Some(Outcome::Stored { len: 65 })));
    assert!(worker.core.object(call.id(), 0).is_some());
    driver.drop_handle(&call);
    rest(&mut driver, &mut worker);
    assert!(worker.core.object(call.id(), 0).is_none());
    assert!(driver.is_empty(), "{:?}", driver.core);
}

#[test]
fn a_pending_call_holds_its_arguments_and_no_longer() {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 1));
    meet(&mut driver, &mut worker);
    let first = driver.call(&[]);
    let second = driver.call(&[&first, &first]);
    driver.drop_handle(&first);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, b"first", &[]);
    talk(&mut driver, &mut worker);
    assert_eq!(value(&first).unwrap(), b"first");
    let (key, start) = worker.start_one();
    assert_eq!(start.futures.iter().map(|v| v.head().to_vec()).collect::<Vec<_>>(), [b"first", b"first"]);
    assert_eq!(driver.core.table.len(), 2, "an attempt may need the argument again");
    worker.finish(key, &start, b"second", &[]);
    talk(&mut driver, &mut worker);
    assert_eq!((value(&second).unwrap(), driver.core.table.len()), (b"second".to_vec(), 1));
    driver.drop_handle(&second);
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty(), "{:?}", driver.core);
}

#[test]
fn a_call_that_fails_with_its_argument_holds_it_no_longer() {
    let (mut driver, mut worker) = (Node::new(1, 0), Node::new(2, 1));
    meet(&mut driver, &mut worker);
    let first = driver.call(&[]);
    let second = driver.call(&[&first]);
    driver.core.cancel(first.id(), &mut driver.fx);
    driver.drop_handle(&first);
    assert!(matches!(second.outcome(), Some(Outcome::Failed(_))));
    driver.drop_handle(&second);
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty() && worker.is_empty(), "{:?}{:?}", driver.core, worker.core);
}
