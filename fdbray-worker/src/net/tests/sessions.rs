//! Sessions: one for each pair, resumed over broken connections without loss, ended once.

use super::{Event, Node, Options, hidden, options, proxy::Proxy, tcp};
use crate::net::Ended;
use bytes::Bytes;
use std::time::Duration;

#[test]
fn when_both_dial_at_once_there_is_one_session() {
    for of in [options, tcp] {
        for _ in 0..30 {
            let (a, b) = (Node::start(of("both")), Node::start(of("both")));
            a.dial(&b);
            b.dial(&a);
            let mut nonces = Vec::new();
            for node in [&a, &b] {
                let Event::Connected { fresh: true, nonce } = node.host.next() else { panic!() };
                nonces.push(nonce);
            }
            assert_eq!(nonces[0], nonces[1]);
            // Frames go both ways, and the other attempt has been answered.
            for (from, to) in [(&a, &b), (&b, &a)] {
                from.host.queue(to.id, "x");
                from.link(to).flush();
                to.host.take(from.id, 1);
            }
            while a.net.is_dialling(b.id) || b.net.is_dialling(a.id) {
                std::thread::sleep(Duration::from_millis(1));
            }
            super::wait(a.net.stop("test"));
            let ends: Vec<_> = [&a, &b].iter().map(|node| node.host.next()).collect();
            assert!(
                matches!(&ends[..], [Event::Ended(Ended::Here(_)), Event::Ended(Ended::ByPeer(_))]),
                "{ends:?}"
            );
            for node in [&a, &b] {
                let pending = node.host.pending();
                assert!(pending.is_empty(), "{pending:?}");
            }
        }
    }
}

#[test]
fn the_connection_of_the_lower_process_stays() {
    for _ in 0..10 {
        let (a, b) = (Node::start(tcp("lower")), Node::start(tcp("lower")));
        let (low, high) = if a.id < b.id { (&a, &b) } else { (&b, &a) };
        high.dial(low);
        low.dial(high);
        for node in [low, high] {
            assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
        }
        // Whichever came first: both agree on who dialled.
        assert_ne!(low.link(high).dialled(), high.link(low).dialled());
    }
}

#[test]
fn a_dial_that_leads_nowhere_does_not_keep_the_peer_out() {
    let (a, b) = (tcp("nowhere"), tcp("nowhere"));
    let (low, high) = if a.process < b.process { (a, b) } else { (b, a) };
    let low = Node::start(Options { silence: Duration::from_millis(400), ..low });
    let high = Node::start(high);
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    low.net.dial(high.id, &[format!("tcp:{}", silent.local_addr().unwrap())]);
    let _dialled = silent.accept().unwrap();
    high.dial(&low);
    for node in [&low, &high] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    // The silent one is given up, and that is no news.
    drop(silent);
    low.host.queue(high.id, "x");
    low.link(&high).flush();
    high.host.take(low.id, 1);
    std::thread::sleep(Duration::from_millis(500));
    assert!(low.host.pending().is_empty() && high.host.pending().is_empty());
}

#[test]
fn a_peer_that_cannot_be_dialled_has_time_to_make_a_connection_by_itself() {
    // Whichever has the lower id.
    for _ in 0..6 {
        let (a, b) = (Node::start(tcp("itself")), Node::start(hidden("itself")));
        a.dial(&b);
        a.net.dial(b.id, &["unix:@fdbray-nobody-is-here".into()]);
        std::thread::sleep(Duration::from_millis(50));
        b.dial(&a);
        for node in [&a, &b] {
            assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(a.host.pending().is_empty() && b.host.pending().is_empty());
    }
}

#[test]
fn a_peer_that_makes_none_is_given_up_once_and_can_be_dialled_where_it_turns_out_to_be() {
    let (a, b) = (tcp("none"), Node::start(tcp("none")));
    let a = Node::start(Options { patience: Duration::from_millis(300), ..a });
    a.net.dial(b.id, &[]);
    a.net.dial(b.id, &[]);
    assert!(a.host.pending().is_empty());
    assert!(matches!(a.host.next(), Event::Ended(Ended::Refused(_))));
    a.net.dial(b.id, &[]);
    // By now the list says where it is.
    a.connect(&b);
    std::thread::sleep(Duration::from_millis(400));
    assert!(a.host.pending().is_empty() && b.host.pending().is_empty());
}

/// Frames sent both ways by several threads while `trouble` happens; all arrive, in order, once.
fn under_load(a: &Node, b: &Node, trouble: impl FnOnce() + Send) {
    const THREADS: u32 = 3;
    const EACH: u32 = 4000;
    let total = (THREADS * EACH) as usize;
    std::thread::scope(|scope| {
        for (from, to) in [(a, b), (b, a)] {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let link = from.link(to);
                    for i in 0..EACH {
                        let mut payload = vec![0; (i as usize * 37) % 700 + 8];
                        payload[..4].copy_from_slice(&thread.to_le_bytes());
                        payload[4..8].copy_from_slice(&i.to_le_bytes());
                        from.host.queue(to.id, payload);
                        if i % 3 == 0 {
                            link.flush()
                        } else {
                            link.wake_writer()
                        }
                        if i % 256 == 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
        }
        scope.spawn(trouble);
        for (from, to) in [(a, b), (b, a)] {
            let got = to.host.take(from.id, total);
            let mut next = [0; THREADS as usize];
            for payload in got {
                let thread = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
                assert_eq!(u32::from_le_bytes(payload[4..8].try_into().unwrap()), next[thread]);
                next[thread] += 1;
            }
        }
    });
}

#[test]
fn frames_from_many_threads_arrive_in_order_and_once() {
    for of in [options, tcp] {
        let (a, b) = (Node::start(of("load")), Node::start(of("load")));
        a.connect(&b);
        under_load(&a, &b, || ());
        assert!(a.host.pending().is_empty() && b.host.pending().is_empty());
    }
}

#[test]
fn a_connection_cut_under_load_loses_and_doubles_nothing() {
    let (a, b) = (Node::start(tcp("cut")), Node::start(tcp("cut")));
    let proxy = Proxy::to(&b.net.addresses()[0]);
    a.net.dial(b.id, &proxy.addresses());
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    under_load(&a, &b, || {
        for round in 0..12 {
            std::thread::sleep(Duration::from_millis(5));
            match round % 3 {
                0 => proxy.cut(),
                1 => a.link(&b).cut(),
                _ => b.link(&a).cut(),
            }
        }
    });
    for node in [&a, &b] {
        for event in node.host.pending() {
            assert!(
                matches!(
                    event,
                    Event::Disconnected | Event::Connected { fresh: false, .. } | Event::Rejected(_)
                ),
                "{event:?}"
            );
        }
    }
    assert!(proxy.made() > 1);
}

#[test]
fn a_network_that_fails_for_a_while_does_not_end_the_session() {
    let (a, b) = (Node::start(tcp("while")), Node::start(hidden("while")));
    let proxy = Proxy::to(&a.net.addresses()[0]);
    b.net.dial(a.id, &proxy.addresses());
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    proxy.hang_up(4);
    proxy.cut();
    a.host.queue(b.id, "later");
    a.link(&b).flush();
    assert_eq!(b.host.take(a.id, 1), [Bytes::from("later")]);
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Disconnected));
        assert!(matches!(node.host.next(), Event::Connected { fresh: false, .. }));
    }
    assert_eq!(proxy.made(), 6);
}

#[test]
fn a_refused_reconnect_ends_the_session_and_a_new_one_takes_its_place() {
    let (a, b) = (Node::start(tcp("refused")), Node::start(hidden("refused")));
    let proxy = Proxy::to(&a.net.addresses()[0]);
    let addresses = proxy.addresses();
    b.net.dial(a.id, &addresses);
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    let at = proxy.close().to_string();
    assert!(matches!(b.host.next(), Event::Disconnected));
    assert!(matches!(b.host.next(), Event::Ended(Ended::Refused(_))));
    let _proxy = Proxy::at(&at, &a.net.addresses()[0]);
    b.net.dial(a.id, &addresses);
    assert!(matches!(b.host.next(), Event::Connected { fresh: true, .. }));
    assert!(matches!(a.host.next(), Event::Disconnected));
    let Event::Ended(why) = a.host.next() else { panic!() };
    assert!(matches!(why, Ended::Replaced | Ended::NotResumed { .. }));
    assert!(matches!(a.host.next(), Event::Connected { fresh: true, .. }));
}

#[test]
fn a_session_that_is_not_resumed_in_time_ends_on_both_sides() {
    let short = |of: Options| Options { resume: Duration::from_millis(150), ..of };
    let (a, b) = (Node::start(short(tcp("late"))), Node::start(short(hidden("late"))));
    let proxy = Proxy::to(&a.net.addresses()[0]);
    b.net.dial(a.id, &proxy.addresses());
    proxy.hang_up(0);
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Connected { fresh: true, .. }));
    }
    proxy.hang_up(usize::MAX - 1);
    proxy.cut();
    for node in [&a, &b] {
        assert!(matches!(node.host.next(), Event::Disconnected));
        assert!(matches!(node.host.next(), Event::Ended(Ended::NotResumed { .. })));
    }
}

#[test]
fn the_side_that_waits_to_be_dialled_finds_out_that_the_peer_is_gone() {
    let long = Options { resume: Duration::from_secs(600), ..tcp("knock") };
    let (a, b) = (Node::start(long), Node::start(tcp("knock")));
    b.connect(&a);
    // Dropping the runtime closes every socket at once, as the kernel does for a process that is killed.
    drop(b);
    assert!(matches!(a.host.next(), Event::Disconnected));
    assert!(matches!(a.host.next(), Event::Ended(Ended::Refused(_))));
}

#[test]
fn the_end_of_a_unix_socket_is_the_end_of_the_session_but_no_proof_that_the_process_exited() {
    let (a, b) = (Node::start(options("eof")), Node::start(options("eof")));
    b.connect(&a);
    b.host.queue(a.id, "last words");
    b.link(&a).flush();
    drop(b);
    assert!(matches!(a.host.next(), Event::Ended(Ended::Eof)));
}

#[test]
fn a_session_closed_on_purpose_says_why_and_can_be_followed_by_another() {
    for of in [options, tcp] {
        let (a, b) = (Node::start(of("close")), Node::start(of("close")));
        for _ in 0..3 {
            a.connect(&b);
            b.host.queue(a.id, "before");
            b.net.close(a.id, "enough");
            assert_eq!(a.host.take(b.id, 1), [Bytes::from("before")]);
            let Event::Ended(Ended::ByPeer(why)) = a.host.next() else { panic!() };
            assert_eq!(why, "enough");
            assert!(matches!(b.host.next(), Event::Ended(Ended::Here(_))));
        }
    }
}

#[test]
fn a_full_socket_does_not_stop_the_reader() {
    let (a, b) = (Node::start(options("full")), Node::start(options("full")));
    a.connect(&b);
    // Far more than the sockets hold, both ways, before either side could have read it all.
    let big = Bytes::from(vec![7; 4 << 20]);
    for _ in 0..8 {
        for (from, to) in [(&a, &b), (&b, &a)] {
            from.host.queue(to.id, big.clone());
            from.link(to).flush();
        }
    }
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert!(to.host.take(from.id, 8).iter().all(|payload| *payload == big));
    }
}

#[test]
fn what_a_peer_sends_against_the_protocol_ends_the_session() {
    let (a, b) = (Node::start(tcp("protocol")), Node::start(tcp("protocol")));
    a.connect(&b);
    // The test's host checks nothing when it sends.
    let too_long = vec![0; crate::net::frame::MAX_FRAME + 1];
    a.host.queue(b.id, too_long);
    a.link(&b).flush();
    assert!(matches!(b.host.next(), Event::Ended(Ended::Protocol(_))));
    loop {
        match a.host.next() {
            Event::Ended(_) => break,
            Event::Disconnected | Event::Connected { fresh: false, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    a.connect(&b);
}
