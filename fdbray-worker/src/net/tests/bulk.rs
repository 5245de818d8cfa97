//! The bulk lane: large values, both ways, beside control frames and over broken connections.

use super::{Event, Node, Options, hidden, options, proxy::Proxy, tcp, wait};
use crate::{id::ObjectId, net::FetchError, payload::Payload};
use bytes::Bytes;

/// Gives `node` an object of `len` bytes that tell where they are.
fn object(node: &Node, seq: u64, len: usize) -> (ObjectId, Bytes) {
    let id = ObjectId { owner: node.id, seq };
    let bytes: Vec<u8> = (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16) ^ seq as usize) as u8).collect();
    let bytes = Bytes::from(bytes);
    node.host.objects.lock().unwrap().insert(id, Payload::from(bytes.clone()));
    (id, bytes)
}

fn fetch(to: &Node, from: &Node, id: ObjectId, len: usize) -> Result<Bytes, FetchError> {
    wait(to.net.fetch(from.id, id, len as u64)).map(|value| value.contiguous())
}

#[test]
fn large_values_go_both_ways_while_control_frames_go_on() {
    for of in [options, tcp] {
        let (a, b) = (Node::start(of("large")), Node::start(of("large")));
        a.connect(&b);
        std::thread::scope(|scope| {
            for (from, to) in [(&a, &b), (&b, &a)] {
                scope.spawn(move || {
                    let (id, bytes) = object(from, 1, 64 << 20);
                    assert!(fetch(to, from, id, bytes.len()).unwrap() == bytes);
                });
                scope.spawn(move || {
                    for i in 0..200_u32 {
                        from.host.queue(to.id, i.to_le_bytes().to_vec());
                        from.link(to).flush();
                        assert_eq!(to.host.take(from.id, 1)[0][..], i.to_le_bytes());
                    }
                });
            }
        });
    }
}

#[test]
fn many_transfers_share_the_lane_and_the_budget() {
    let small = Options { fetch_budget: 1 << 20, ..options("many") };
    let (a, b) = (Node::start(small), Node::start(options("many")));
    a.connect(&b);
    let objects: Vec<_> = [0, 1, 100, 4 << 20, 300 << 10, 700 << 10, 256 << 10, (256 << 10) + 1]
        .iter()
        .cycle()
        .take(40)
        .enumerate()
        .map(|(seq, len)| object(&b, seq as u64, *len))
        .collect();
    wait(async {
        let fetches = objects.iter().map(|(id, bytes)| {
            let fetched = a.net.fetch(b.id, *id, bytes.len() as u64);
            let bytes = bytes.clone();
            tokio::spawn(async move { assert!(fetched.await.unwrap().contiguous() == bytes) })
        });
        for fetched in fetches.collect::<Vec<_>>() {
            fetched.await.unwrap();
        }
    });
}

#[test]
fn a_peer_that_cannot_be_dialled_serves_over_the_connection_that_it_made() {
    let (a, b) = (Node::start(tcp("hidden")), Node::start(hidden("hidden")));
    b.connect(&a);
    // The side that was dialled asks first, and has the other one open the connection.
    for (to, from) in [(&a, &b), (&b, &a)] {
        let (id, bytes) = object(from, 9, 1 << 20);
        assert!(fetch(to, from, id, bytes.len()).unwrap() == bytes);
    }
}

#[test]
fn a_transfer_goes_on_where_a_broken_connection_left_it() {
    let (a, b) = (Node::start(tcp("broken")), Node::start(hidden("broken")));
    let proxy = Proxy::to(&a.net.addresses()[0]);
    b.net.dial(a.id, &proxy.addresses());
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    std::thread::scope(|scope| {
        let transfers: Vec<_> = [(&a, &b), (&b, &a)]
            .into_iter()
            .map(|(to, from)| {
                let (id, bytes) = object(from, 3, 96 << 20);
                scope.spawn(move || assert!(fetch(to, from, id, bytes.len()).unwrap() == bytes))
            })
            .collect();
        let mut cuts = 0;
        while cuts < 8 && !transfers.iter().all(|t| t.is_finished()) {
            std::thread::sleep(std::time::Duration::from_millis(10));
            // Cuts both lanes.
            proxy.cut();
            cuts += 1;
        }
    });
    assert!(proxy.made() > 2);
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let (a, b) = (Node::start(options("errors")), Node::start(options("errors")));
    let nothing = ObjectId { owner: b.id, seq: 404 };
    assert_eq!(fetch(&a, &b, nothing, 1), Err(FetchError::PeerLost { peer: b.id, id: nothing }));
    a.connect(&b);
    assert_eq!(fetch(&a, &b, nothing, 1), Err(FetchError::Gone { peer: b.id, id: nothing }));
    let (id, bytes) = object(&b, 1, 1000);
    assert_eq!(fetch(&a, &b, id, 999), Err(FetchError::Length { id, asked: 999, found: 1000 }));
    assert!(matches!(wait(a.net.fetch(b.id, id, 1 << 40)), Err(FetchError::TooLarge { .. })));
    assert_eq!(fetch(&a, &b, id, 1000), Ok(bytes));
}

#[test]
fn a_value_with_buffers_arrives_with_its_buffers() {
    let (a, b) = (Node::start(options("parts")), Node::start(options("parts")));
    a.connect(&b);
    let buffers: Vec<_> = [1 << 20, 1, 300_000].map(|len: usize| Bytes::from(vec![len as u8; len])).into();
    let value = Payload::in_parts(Bytes::from_static(b"head"), buffers.clone());
    let id = ObjectId { owner: b.id, seq: 1 };
    b.host.objects.lock().unwrap().insert(id, value.clone());
    let fetched = wait(a.net.fetch(b.id, id, value.len() as u64)).unwrap();
    assert!(fetched.head() == b"head" && fetched.buffers() == buffers);
}

#[test]
fn a_transfer_ends_with_the_session() {
    let (a, b) = (Node::start(options("ends")), Node::start(options("ends")));
    a.connect(&b);
    let (id, bytes) = object(&b, 1, 64 << 20);
    std::thread::scope(|scope| {
        let fetched = scope.spawn(|| fetch(&a, &b, id, bytes.len()));
        b.net.close(a.id, "enough");
        // It may have been done before.
        match fetched.join().unwrap() {
            Ok(all) => assert!(all == bytes),
            Err(e) => assert_eq!(e, FetchError::PeerLost { peer: b.id, id }),
        }
    });
}

#[test]
fn a_transfer_that_is_given_up_leaves_the_lane_to_others() {
    let (a, b) = (Node::start(options("dropped")), Node::start(options("dropped")));
    a.connect(&b);
    let (big, bytes) = object(&b, 1, 64 << 20);
    let (small, content) = object(&b, 2, 5000);
    for _ in 0..20 {
        wait(async {
            tokio::select! {
                biased;
                () = async { for _ in 0..50 { tokio::task::yield_now().await } } => {}
                fetched = a.net.fetch(b.id, big, bytes.len() as u64) => assert!(fetched.is_ok()),
            }
        });
        assert_eq!(fetch(&a, &b, small, 5000).unwrap(), content);
    }
}

#[test]
fn what_comes_from_a_disk_is_sent_when_it_is_there_and_holds_nobody_up() {
    let (a, b) = (Node::start(options("later")), Node::start(options("later")));
    a.connect(&b);
    let (slow, bytes) = object(&b, 1, 3 << 20);
    let (lost, _) = object(&b, 2, 100);
    let (quick, others) = object(&b, 3, 1 << 20);
    let [brings, loses] = [slow, lost].map(|id| {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        b.host.later.lock().unwrap().insert(id, receiver);
        sender
    });
    std::thread::scope(|scope| {
        let coming = scope.spawn(|| fetch(&a, &b, slow, bytes.len()));
        let gone = scope.spawn(|| fetch(&a, &b, lost, 100));
        // Both are asked for.
        while !b.host.later.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert!(fetch(&a, &b, quick, others.len()).unwrap() == others);
        brings.send(Some(Payload::from(bytes.clone()))).unwrap();
        drop(loses);
        assert!(coming.join().unwrap().unwrap() == bytes);
        assert!(matches!(gone.join().unwrap(), Err(FetchError::Gone { .. })));
    });
}
