//! Processes that do not come to a session.

use super::*;

/// How many times `node` dials within `seconds`, if each time it is told `why` not.
fn dials(node: &mut Node, peer: ProcessId, seconds: u64, why: Option<&str>) -> usize {
    let mut dials = 0;
    for _ in 0..seconds * 100 {
        for _ in std::mem::take(&mut node.fx.dial) {
            dials += 1;
            node.core.ended_session(peer, why, &|_| None, &mut node.fx);
        }
        node.later(10);
    }
    dials
}

#[test]
fn who_does_not_fit_is_dialled_at_growing_pauses_and_who_does_not_answer_again_and_again() {
    let worker = ProcessId::new(9).unwrap();
    let capacity = Some(Resources { cpus: ONE, ..Resources::default() });
    let [refused, silent] = [Some("another binary"), None].map(|why| {
        let mut driver = Node::new(1, 0);
        driver.call(&[]);
        driver.core.member_joined(PeerInfo { id: worker, capacity: capacity.clone() }, &mut driver.fx);
        dials(&mut driver, worker, 25, why)
    });
    assert!((5..8).contains(&refused), "{refused}");
    assert!((40..=51).contains(&silent), "{silent}");
}

#[test]
fn who_was_dialled_before_it_was_listed_is_dialled_where_the_list_says() {
    let (mut a, b) = (Node::new(1, 1), Node::new(2, 0));
    let call = a.call(&[]);
    let (key, _) = a.start_one();
    a.adopt(ObjectId { owner: b.id(), seq: 1 }, key);
    assert_eq!(std::mem::take(&mut a.fx.dial), [b.id()]);
    a.core.member_joined(PeerInfo { id: b.id(), capacity: None }, &mut a.fx);
    assert_eq!(std::mem::take(&mut a.fx.dial), [b.id()]);
    a.core.connected(b.id(), true, true, 0, &mut a.fx);
    a.core.member_joined(PeerInfo { id: b.id(), capacity: None }, &mut a.fx);
    assert!(a.fx.dial.is_empty() && !call.is_settled());
}
