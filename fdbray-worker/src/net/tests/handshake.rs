//! Who is let in, who is not, and what both are told.

use super::{Event, Node, hidden, options, tcp};
use crate::net::{Ended, HandshakeError, NetError, Options, Role, Secret};
use bytes::Bytes;
use std::{io::Read, os::fd::OwnedFd};

#[test]
fn two_processes_on_one_host_meet_on_a_unix_socket_and_hand_files_over() {
    let a = Node::start(Options {
        role: Role::Worker,
        build: 7,
        listen: Some("127.0.0.1:0".into()),
        ..options("meet")
    });
    let b = Node::start(Options { build: 7, ..options("meet") });
    a.host.files.lock().unwrap().push(OwnedFd::from(std::fs::File::open("/proc/version").unwrap()));
    assert_eq!((a.net.addresses().len(), b.net.addresses().len()), (2, 1));
    b.connect(&a);
    let link = b.link(&a);
    assert!(link.same_host() && link.dialled() && !a.link(&b).dialled());
    assert_eq!((link.peer(), link.nonce()), (a.id, a.link(&b).nonce()));
    let hello = link.peer_hello();
    assert_eq!((hello.role, hello.build, &hello.addresses[..]), (Role::Worker, 7, a.net.addresses()));
    let mut text = String::new();
    std::fs::File::from(hello.fds[0].try_clone().unwrap()).read_to_string(&mut text).unwrap();
    assert!(text.starts_with("Linux"));
    for (from, to) in [(&a, &b), (&b, &a)] {
        from.host.queue(to.id, "hello");
        from.link(to).flush();
        assert_eq!(to.host.take(from.id, 1), [Bytes::from("hello")]);
    }
}

#[test]
fn a_process_without_a_unix_socket_is_reached_over_tcp() {
    let (a, b) = (Node::start(tcp("tcp")), Node::start(hidden("tcp")));
    assert!(b.net.addresses().is_empty());
    // An address of another machine's Unix socket is refused here and passed over.
    let elsewhere = ["unix:@fdbray-nobody".to_owned(), a.net.addresses()[0].clone()];
    b.net.dial(a.id, &elsewhere);
    assert!(matches!(b.host.next(), Event::Connected { .. }));
    assert!(matches!(a.host.next(), Event::Connected { .. }));
    assert!(!b.link(&a).same_host());
    a.host.queue(b.id, "hello");
    a.link(&b).wake_writer();
    assert_eq!(b.host.take(a.id, 1), [Bytes::from("hello")]);
}

/// Lets `b` dial `a`: what `b` and then `a` is told.
fn mismatch(a: Options, b: Options) -> (HandshakeError, HandshakeError) {
    let (a, b) = (Node::start(a), Node::start(b));
    b.dial(&a);
    let (at_b, at_a) = (b.host.next(), a.host.next());
    match (at_b, at_a) {
        (Event::Ended(Ended::Handshake(dialler)), Event::Rejected(acceptor)) => (dialler, acceptor),
        other => panic!("{other:?}"),
    }
}

#[test]
fn clusters_do_not_mix() {
    for of in [tcp, options] {
        let (a, b) = (of("one"), of("two"));
        let (one, two) = (a.cluster.clone(), b.cluster.clone());
        let (at_b, at_a) = mismatch(a, b);
        assert_eq!(at_b, HandshakeError::Cluster { ours: two.clone(), theirs: one.clone() });
        assert_eq!(at_a, HandshakeError::Cluster { ours: one, theirs: two });
    }
}

#[test]
fn a_secret_must_be_had_and_be_the_same() {
    let with = |secret: Option<&str>| Options { secret: secret.map(Secret::new), ..tcp("secret") };
    let missing = |here| HandshakeError::SecretMissing { here };
    assert_eq!(mismatch(with(Some("s")), with(None)), (missing(true), missing(false)));
    assert_eq!(mismatch(with(None), with(Some("s"))), (missing(false), missing(true)));
    let wrong = HandshakeError::SecretWrong;
    assert_eq!(mismatch(with(Some("s")), with(Some("t"))), (wrong.clone(), wrong));
    let (a, b) = (Node::start(with(Some("s"))), Node::start(with(Some("s"))));
    a.connect(&b);
}

#[test]
fn different_binaries_tell_each_other_which_functions_differ() {
    let with = |build, fingerprint, mixed, functions: &[&str]| Options {
        build,
        fingerprint,
        allow_mixed_binaries: mixed,
        listing: functions.iter().map(|f| ((*f).to_owned(), 1)).collect(),
        ..options("binaries")
    };
    for mixed in [false, true] {
        let (at_b, at_a) = mismatch(with(1, 1, mixed, &["f", "g"]), with(2, 2, false, &["g"]));
        let said = |e: &HandshakeError| e.to_string();
        assert!(said(&at_b).ends_with("only in the other process: `f`"), "{at_b}");
        assert!(said(&at_a).ends_with("only in this process: `f`"), "{at_a}");
    }
    let same = HandshakeError::Binaries { difference: None };
    assert_eq!(mismatch(with(1, 1, true, &["f"]), with(2, 1, false, &["f"])), (same.clone(), same.clone()));
    assert!(same.to_string().contains("allow_mixed_binaries"));
    let (a, b) = (Node::start(with(1, 1, true, &["f"])), Node::start(with(2, 2, true, &["g"])));
    a.connect(&b);
}

#[test]
fn a_long_listing_still_gets_its_answer() {
    let listing = |n: usize| (0..n).map(|i| (format!("{i:0100}"), 1)).collect();
    let a = Options { build: 1, listing: listing(20_000), ..options("long") };
    let b = Options { build: 2, listing: listing(1), ..options("long") };
    let (at_b, _) = mismatch(a, b);
    assert!(matches!(at_b, HandshakeError::Binaries { difference: Some(_) }));
}

#[test]
fn somebody_else_at_an_address_is_not_taken_for_the_peer() {
    let (a, b, c) = (Node::start(tcp("who")), Node::start(tcp("who")), Node::start(tcp("who")));
    b.net.dial(c.id, a.net.addresses());
    let Event::Ended(Ended::Handshake(at_b)) = b.host.next() else { panic!() };
    assert_eq!(at_b, HandshakeError::Process { expected: c.id, found: a.id });
    let Event::Rejected(at_a) = a.host.next() else { panic!() };
    assert_eq!(at_a, HandshakeError::Process { expected: c.id, found: a.id });
}

#[test]
fn a_process_does_not_connect_to_itself() {
    let a = Node::start(options("self"));
    a.dial(&a);
    for _ in 0..2 {
        assert!(matches!(a.host.next(), Event::Ended(_) | Event::Rejected(_)));
    }
}

#[test]
fn nobody_there_is_refused() {
    let (a, b) = (Node::start(tcp("gone")), Node::start(hidden("gone")));
    let (id, addresses) = (a.id, a.net.addresses().to_vec());
    super::wait(a.net.stop("test"));
    drop(a);
    while std::net::TcpStream::connect(addresses[0].strip_prefix("tcp:").unwrap()).is_ok() {
        std::thread::yield_now();
    }
    b.net.dial(id, &addresses);
    let Event::Ended(Ended::Refused(why)) = b.host.next() else { panic!() };
    assert!(why.contains(&addresses[0]), "{why}");
    b.net.dial(id, &[]);
    assert!(matches!(b.host.next(), Event::Ended(Ended::Refused(_))));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let Err(e) = Node::try_start(Options { listen: Some(address.clone()), ..options("port") }) else {
        panic!()
    };
    assert!(matches!(&e, NetError::Listen { address: at, .. } if *at == address));
    assert!(e.to_string().contains(&address));
    let same = options("name");
    let _first = Node::start(same.clone());
    assert!(matches!(Node::try_start(same), Err(NetError::Listen { .. })));
}

#[test]
fn without_a_secret_only_loopback_is_listened_on() {
    let listen = |at: &str| Options { listen: Some(at.into()), ..options("loopback") };
    let e = Node::try_start(listen("0.0.0.0:0")).map(|_| ()).unwrap_err();
    assert!(matches!(e, NetError::NeedsSecret { .. }));
    assert!(e.to_string().contains("loopback") && e.to_string().contains("0.0.0.0:0"));
    assert!(matches!(Node::try_start(listen("nonsense")).map(|_| ()), Err(NetError::Address { .. })));
    let secured = Options {
        secret: Some(Secret::new("s")),
        advertise: Some("10.1.2.3".into()),
        tcp_only: true,
        ..listen("127.0.0.1:0")
    };
    assert!(Node::start(secured).net.addresses()[0].starts_with("tcp:10.1.2.3:"));
}
