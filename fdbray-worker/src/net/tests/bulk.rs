//! The bulk lane: large values, both ways, beside control frames and over broken connections.

use super::{Event, Node, Options, hidden, options, proxy::Proxy, tcp, wait};
use crate::{
    id::ObjectId,
    net::{FetchError, Room, bulk_wire::Request},
    objects::{Arena, Options as Limits},
    payload::Payload,
};
use bytes::Bytes;
use std::time::Duration;

/// Gives `node` an object of `len` bytes that tell where they are.
fn object(node: &Node, seq: u64, len: usize) -> (ObjectId, Bytes) {
    let id = ObjectId { owner: node.id, seq };
    let bytes: Vec<u8> = (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16) ^ seq as usize) as u8).collect();
    let bytes = Bytes::from(bytes);
    node.host.objects.lock().unwrap().insert(id, Payload::from(bytes.clone()));
    (id, bytes)
}

fn arena(limit: u64) -> Arena {
    Arena::new(Limits { limit, reserve: 0, low_water: 0, background: false })
}

/// Pulls an object into an arena of its own.
fn pull(
    to: &Node,
    from: &[&Node],
    id: ObjectId,
    len: u64,
) -> impl Future<Output = Result<Payload, FetchError>> + Send + 'static {
    let (from, arena) = (from.iter().map(|node| node.id).collect(), arena(512 << 20));
    to.net.fetch(from, id, 0, len, |len| async move {
        arena.allocate(len).map(Room::Shared).map_err(|e| e.to_string())
    })
}

fn fetch(to: &Node, from: &Node, id: ObjectId, len: usize) -> Result<Bytes, FetchError> {
    wait(pull(to, &[from], id, len as u64)).map(|value| value.contiguous())
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
            let fetched = pull(&a, &[&b], *id, bytes.len() as u64);
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
            std::thread::sleep(Duration::from_millis(10));
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
    assert!(matches!(wait(pull(&a, &[&b], id, 1 << 40)), Err(FetchError::TooLarge { .. })));
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
    let fetched = wait(pull(&a, &[&b], id, value.len() as u64)).unwrap();
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
                fetched = pull(&a, &[&b], big, bytes.len() as u64) => assert!(fetched.is_ok()),
            }
        });
        assert_eq!(fetch(&a, &b, small, 5000).unwrap(), content);
    }
}

#[test]
fn what_is_fetched_is_one_block_of_the_arena_and_gone_with_the_value() {
    let (a, b) = (Node::start(options("arena")), Node::start(options("arena")));
    a.connect(&b);
    let buffers = [5_000_000, 100_000].map(|len: usize| Bytes::from(vec![len as u8; len]));
    let value = Payload::in_parts(Bytes::from_static(b"head"), buffers.to_vec());
    let id = ObjectId { owner: b.id, seq: 1 };
    b.host.objects.lock().unwrap().insert(id, value.clone());
    let arena = arena(16 << 20);
    let room = arena.clone();
    let room = |len| async move { room.allocate(len).map(Room::Shared).map_err(|e| e.to_string()) };
    let fetched = wait(a.net.fetch(vec![b.id], id, 0, value.len() as u64, room)).unwrap();
    for (buffer, sent) in fetched.buffers().iter().zip(&buffers) {
        assert!(buffer == sent && buffer.as_ptr().addr().is_multiple_of(64));
        assert!(arena.locate(buffer).is_some());
    }
    assert_eq!(arena.stats().blocks, 1);
    drop(fetched);
    assert_eq!(arena.stats().blocks, 0);
}

#[test]
fn without_room_a_transfer_says_so_and_asks_nobody() {
    let (a, b) = (Node::start(options("full")), Node::start(options("full")));
    a.connect(&b);
    let (id, _) = object(&b, 1, 5 << 20);
    let arena = arena(1 << 20);
    let room = |len| async move { arena.allocate(len).map(Room::Shared).map_err(|e| e.to_string()) };
    match wait(a.net.fetch(vec![b.id], id, 0, 5 << 20, room)) {
        Err(FetchError::Full { why, .. }) => assert!(why.contains("limit"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// Nodes that all have the same object, and it. The first has a session with each.
fn copies<const N: usize>(cluster: &str, len: usize) -> (Node, [Node; N], ObjectId, Bytes) {
    let to = Node::start(tcp(cluster));
    let sources = std::array::from_fn(|_| Node::start(tcp(cluster)));
    let (id, bytes) = object(&sources[0], 5, len);
    for source in &sources {
        to.connect(source);
        source.host.objects.lock().unwrap().insert(id, Payload::from(bytes.clone()));
    }
    (to, sources, id, bytes)
}

#[test]
fn several_sources_bring_one_object_and_one_that_lacks_it_does_no_harm() {
    let (to, sources, id, bytes) = copies::<3>("several", (40 << 20) + 5);
    sources[1].host.objects.lock().unwrap().clear();
    let all: Vec<&Node> = sources.iter().collect();
    let fetched = wait(pull(&to, &all, id, bytes.len() as u64)).unwrap().contiguous();
    assert!(fetched == bytes);
    assert_eq!([0, 1, 2].map(|n| sources[n].host.served() > 1), [true, false, true]);
}

#[test]
fn bytes_of_two_attempts_are_never_mixed() {
    let (to, sources, id, new) = copies::<3>("attempts", 24 << 20);
    let old = Bytes::from(vec![0xa1; new.len()]);
    sources[1].host.objects.lock().unwrap().insert(id, Payload::from(old.clone()));
    for (source, attempt) in sources.iter().zip([2, 1, 2]) {
        source.host.attempts.lock().unwrap().insert(id, attempt);
    }
    let from = || sources.iter().map(|source| source.id).collect::<Vec<_>>();
    for (attempt, bytes) in [(2, &new), (1, &old)] {
        let room = |len| async move { Ok(Room::Own(vec![0; len])) };
        let fetched = wait(to.net.fetch(from(), id, attempt, new.len() as u64, room)).unwrap().contiguous();
        assert!(fetched == bytes, "attempt {attempt}");
    }
    let room = |len| async move { Ok(Room::Own(vec![0; len])) };
    let none = wait(to.net.fetch(from(), id, 3, new.len() as u64, room));
    assert!(matches!(none, Err(FetchError::Gone { .. })), "{none:?}");
}

#[test]
fn a_source_that_goes_leaves_the_rest_to_the_others() {
    let (to, sources, id, bytes) = copies::<2>("goes", 96 << 20);
    let all: Vec<&Node> = sources.iter().collect();
    std::thread::scope(|scope| {
        let fetched = scope.spawn(|| wait(pull(&to, &all, id, bytes.len() as u64)));
        while sources[1].host.served() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        to.net.close(sources[1].id, "enough");
        assert!(fetched.join().unwrap().unwrap().contiguous() == bytes);
    });
}

#[test]
fn when_all_sources_go_the_transfer_ends() {
    let (to, sources, id, bytes) = copies::<2>("all-go", 96 << 20);
    let all: Vec<&Node> = sources.iter().collect();
    std::thread::scope(|scope| {
        let fetched = scope.spawn(|| wait(pull(&to, &all, id, bytes.len() as u64)));
        while sources.iter().any(|source| source.host.served() < 2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        sources.iter().for_each(|source| to.net.close(source.id, "enough"));
        // It may have been done before.
        match fetched.join().unwrap() {
            Ok(all) => assert!(all.contiguous() == bytes),
            Err(e) => assert!(matches!(e, FetchError::PeerLost { .. }), "{e}"),
        }
    });
}

#[test]
fn a_peer_that_asks_for_what_is_outside_an_object_harms_nobody() {
    let (a, b) = (Node::start(options("outside")), Node::start(options("outside")));
    a.connect(&b);
    let (id, bytes) = object(&b, 1, 1000);
    for (n, (len, from, to)) in
        [(1000, 990, 1010), (2000, 0, 2000), (1000, 5, 5), (1000, 6, 5)].into_iter().enumerate()
    {
        assert_eq!(fetch(&a, &b, id, 1000).unwrap(), bytes);
        // Ends the connection, or is answered that there is no such object.
        a.link(&b).bulk().send(Request { id, attempt: 1, len, from, to }.message(1000 + n as u64));
        assert_eq!(fetch(&a, &b, id, 1000).unwrap(), bytes);
    }
}

#[test]
fn bytes_that_are_damaged_on_their_way_are_sent_again() {
    let (a, b) = (Node::start(tcp("damaged")), Node::start(hidden("damaged")));
    let proxy = Proxy::to(&a.net.addresses()[0]);
    b.net.dial(a.id, &proxy.addresses());
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    let (id, bytes) = object(&b, 3, 24 << 20);
    proxy.damage(2);
    assert!(fetch(&a, &b, id, bytes.len()).unwrap() == bytes);
    assert!(proxy.made() >= 4, "a lane for control, and three for bulk: {}", proxy.made());
    // Without end: it is said what is wrong.
    proxy.damage(usize::MAX);
    match fetch(&a, &b, id, bytes.len()) {
        Err(FetchError::Checksum { peer, .. }) => assert_eq!(peer, b.id),
        other => panic!("{:?}", other.map(|all| all == bytes)),
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
