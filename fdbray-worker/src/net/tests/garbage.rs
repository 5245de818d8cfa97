//! Bytes from strangers: nothing that they send, or do not send, does harm.

use super::{Event, Node, Options, PATIENCE, hidden, tcp};
use crate::{
    id::{ObjectId, ProcessId},
    net::{
        HandshakeError, Role, bulk_wire, frame, fuzz,
        hello::{self, Answer, Hello, Lane, Listing, Proof},
        listen::MAX_STRANGERS,
    },
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

fn stranger(of: &Node) -> TcpStream {
    let stream = TcpStream::connect(of.net.addresses()[0].strip_prefix("tcp:").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `bytes` as a stranger: what the process thinks of it. The connection is closed then.
fn thinks(of: &Node, bytes: &[u8]) -> HandshakeError {
    let mut stream = stranger(of);
    stream.write_all(bytes).unwrap();
    let Event::Rejected(e) = of.host.next() else { panic!() };
    // It may be closed by a reset, since what was sent need not have been read.
    let _ = stream.read_to_end(&mut Vec::new());
    e
}

#[test]
fn strangers_are_turned_away_and_others_are_served() {
    let a = Node::start(Options { silence: Duration::from_millis(300), ..tcp("garbage") });
    let garbage = |bytes: &[u8]| matches!(thinks(&a, bytes), HandshakeError::Garbage(_));
    assert!(garbage(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(garbage(&[0xff; 64]));
    // A length of 4 GiB, and one just above what is allowed.
    let with = |len: u32| [&hello::preamble()[..], &len.to_le_bytes()].concat();
    assert!(garbage(&with(u32::MAX)));
    assert!(garbage(&with(hello::MAX_MESSAGE as u32 + 1)));
    assert!(garbage(&[&with(5)[..], b"nonsense"].concat()));
    // Announced and never sent.
    assert!(matches!(thinks(&a, &with(1 << 20)), HandshakeError::Silent(_)));
    assert!(matches!(thinks(&a, b""), HandshakeError::Silent(_)));
    a.connect(&Node::start(tcp("garbage")));
}

#[test]
fn another_version_is_told_which_one_this_is() {
    let a = Node::start(tcp("version"));
    let mut stream = stranger(&a);
    let theirs = hello::PROTOCOL + 1;
    stream.write_all(&[&hello::MAGIC[..], &theirs.to_le_bytes()].concat()).unwrap();
    let Event::Rejected(e) = a.host.next() else { panic!() };
    assert_eq!(e, HandshakeError::Version { ours: hello::PROTOCOL, theirs });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, hello::preamble());
    assert_eq!(
        hello::check_preamble(&[&hello::MAGIC[..], &theirs.to_le_bytes()].concat()),
        Err(HandshakeError::Version { ours: hello::PROTOCOL, theirs })
    );
}

#[test]
fn a_crowd_of_silent_strangers_keeps_nobody_out_for_long() {
    let a = Node::start(Options { silence: Duration::from_millis(300), ..tcp("crowd") });
    let _crowd: Vec<_> = (0..MAX_STRANGERS * 3).map(|_| stranger(&a)).collect();
    let b = Node::start(tcp("crowd"));
    b.dial(&a);
    assert!(matches!(b.host.next(), Event::Connected { fresh: true, .. }));
}

#[test]
fn those_who_were_let_in_are_strangers_no_more() {
    let a = Node::start(tcp("guests"));
    let guests: Vec<_> = (0..MAX_STRANGERS * 2).map(|_| Node::start(hidden("guests"))).collect();
    for guest in &guests {
        guest.connect(&a);
    }
}

fn samples() -> Vec<Vec<u8>> {
    let id = ProcessId::new(77).unwrap();
    let hello = Hello {
        cluster: "demo".into(),
        from: id,
        to: id,
        role: Role::Worker,
        nonce: 1 << 60,
        lane: Lane::Bulk,
        resume: Some(900),
        build: 5,
        fingerprint: 6,
        mixed: true,
        secured: true,
        challenge: [9; 32],
        addresses: vec!["tcp:127.0.0.1:1".into(), "unix:@x".into()],
    };
    let listing = Listing(vec![("f".into(), 1), ("g::h".into(), u64::MAX)]);
    let request =
        bulk_wire::Request { id: ObjectId { owner: id, seq: 3 }, attempt: 4, len: 2, from: 1, to: 2 };
    let head = frame::Header { len: 3, kind: 1, seq: 4, ack: 5 };
    vec![
        hello::encode(&hello)[4..].to_vec(),
        hello::encode(&Proof([3; 32]))[4..].to_vec(),
        hello::encode(&Answer::Accept { proof: Proof([3; 32]), received: 7, stale: Some(8) })[4..].to_vec(),
        hello::encode(&Answer::Differ { proof: Proof([3; 32]), listing: listing.clone() })[4..].to_vec(),
        hello::encode(&listing)[4..].to_vec(),
        hello::preamble().to_vec(),
        request.message(6).to_vec(),
        [&head.encode()[..], b"abc", &frame::Own::Bye("x".into()).encode()].concat(),
    ]
}

/// Gives `bytes` to every decoder.
fn decode_all(bytes: &[u8]) {
    fuzz::handshake(bytes);
    fuzz::frames(bytes);
    fuzz::bulk(bytes);
}

#[test]
fn decoders_survive_random_and_mutated_bytes() {
    // xorshift64: the same bytes in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..20_000 {
        let len = random() as usize % 200;
        let mut bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        decode_all(&bytes);
        let samples = samples();
        bytes.clone_from(&samples[round % samples.len()]);
        for _ in 0..random() % 4 {
            let at = random() as usize % bytes.len();
            match random() % 3 {
                0 => bytes[at] = random() as u8,
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, 0xff),
            }
        }
        decode_all(&bytes);
    }
}
