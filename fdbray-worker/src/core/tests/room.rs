//! Waiting for room in the budget of pending calls.

use super::*;

/// Tries to submit a call with so many bytes of arguments, of a function that nobody can run.
fn try_call(node: &mut Node, bytes: usize) -> Option<Arc<Cell>> {
    let spec = TemplateSpec {
        here: false,
        function: 0,
        name: "f",
        shape: Resources { gpus: ONE, ..Resources::default() },
        retries: 0,
        restarts: 0,
        role: Default::default(),
        retry_errors: 0,
        checkpoints: None,
        logs: false,
    };
    let template = node.core.template(spec);
    let arguments = vec![0; bytes];
    let call = Submission {
        described: false,
        template,
        arguments: &arguments,
        futures: Vec::new(),
        contained: Vec::new(),
        deadline: None,
        parent: None,
        gate: None,
        place: None,
        actor: None,
    };
    node.core.submit_if_room(call, &mut node.fx)
}

fn end(node: &mut Node, cell: &Arc<Cell>) -> bool {
    node.core.cancel(cell.id(), &mut node.fx);
    std::mem::take(&mut node.fx.room)
}

#[test]
fn whoever_waits_is_told_as_soon_as_there_is_room_however_full_it_was() {
    let mut node = Node::new(1, 0);
    let calls: Vec<_> = (0..3).map(|_| try_call(&mut node, 1_744).unwrap()).collect();
    assert_eq!(node.core.pending_bytes(), 6_000);
    assert!(try_call(&mut node, 6_744).is_none(), "it takes 7,000");
    assert!(!end(&mut node, &calls[0]), "there is no room for it yet");
    assert!(end(&mut node, &calls[1]), "now there is");
    assert!(try_call(&mut node, 6_744).is_some());
    assert!(!end(&mut node, &calls[2]), "nobody waits");
}

#[test]
fn many_that_wait_do_not_try_in_vain_each_time_a_call_ends() {
    let mut node = Node::new(1, 0);
    let mut calls = Vec::new();
    while let Some(call) = try_call(&mut node, 0) {
        calls.push(call);
    }
    (0..1_000).for_each(|_| assert!(try_call(&mut node, 0).is_none()));
    let told = calls.iter().filter(|call| end(&mut node, call)).count();
    assert_eq!(told, 1, "they are told once and would try again");
    // Nobody did, and nobody is told again.
    assert_eq!(node.core.pending_bytes(), 0);
}

#[test]
fn a_call_that_is_too_large_for_the_budget_does_not_wait_for_ever() {
    let mut node = Node::new(1, 0);
    let call = try_call(&mut node, 0).unwrap();
    assert!(try_call(&mut node, 20_000).is_none());
    assert!(end(&mut node, &call), "it is alone now");
    let refused = try_call(&mut node, 20_000).unwrap();
    assert!(matches!(refused.outcome(), Some(Outcome::Failed(_))));
}

#[test]
fn when_the_runtime_ends_whoever_waits_is_told_so() {
    let mut node = Node::new(1, 0);
    let _pending = try_call(&mut node, 0).unwrap();
    assert!(try_call(&mut node, 9_900).is_none());
    node.core.end(&mut node.fx);
    assert!(node.fx.room);
    assert!(try_call(&mut node, 9_900).is_some_and(|cell| cell.is_settled()));
}
