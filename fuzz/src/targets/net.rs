//! What strangers can send: the handshake, the headers of frames, the bulk lane.

use crate::Target;
use fdbray_worker::{
    id::{ObjectId, ProcessId},
    net::{
        self, Role,
        bulk_wire::{CHUNK_HEAD, Chunk, Head, Kind, REQUEST, Request},
        frame::{self, Front, HEADER, Header, NET_KIND},
        hello::{self, Answer, Hello, Lane, Listing, MAGIC, PROTOCOL, Proof, Refusal},
    },
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "net_bulk", decode: bulk, corpus: bulk_corpus },
    Target { name: "net_frames", decode: frames, corpus: frames_corpus },
    Target { name: "net_hello", decode: hello, corpus: hello_corpus },
];

/// The preamble and each message of the handshake.
pub fn hello(bytes: &[u8]) {
    net::fuzz::handshake(bytes);
    if let Err(error) = hello::check_preamble(bytes) {
        assert!(!error.to_string().is_empty());
    }
    survives::<Hello>(bytes);
    survives::<Proof>(bytes);
    survives::<Answer>(bytes);
    survives::<Listing>(bytes);
}

fn survives<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) {
    match hello::decode::<T>(bytes) {
        Ok(message) => {
            let again = postcard::to_stdvec(&message).expect("what was decoded can be encoded");
            assert!(hello::decode::<T>(&again).is_ok_and(|decoded| decoded == message));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn hello_corpus() -> Vec<Vec<u8>> {
    let process = process();
    let hello = Hello {
        cluster: "demo".into(),
        from: process,
        to: process,
        role: Role::Worker,
        nonce: 7,
        lane: Lane::Control,
        resume: Some(300),
        build: u64::MAX,
        fingerprint: 1,
        mixed: false,
        secured: true,
        challenge: [3; 32],
        addresses: vec!["unix:@fdbray-1".into(), "tcp:127.0.0.1:7000".into()],
    };
    let proof = Proof([9; 32]);
    let listing = Listing(vec![("app::add".into(), 1), ("app::sub".into(), u64::MAX)]);
    vec![
        [&MAGIC[..], &PROTOCOL.to_le_bytes()].concat(),
        encoded(&hello),
        encoded(&proof),
        encoded(&Answer::Accept { proof, received: 300, stale: Some(7) }),
        encoded(&Answer::Differ { proof, listing: listing.clone() }),
        encoded(&Answer::Refuse(Refusal::Secret)),
        encoded(&listing),
    ]
}

/// A stream on the control lane, cut into whole frames as far as it goes.
pub fn frames(mut bytes: &[u8]) {
    net::fuzz::frames(bytes);
    loop {
        match frame::front(bytes) {
            Ok(Front::Frames(whole) | Front::Own(whole)) => {
                assert!((HEADER..=bytes.len()).contains(&whole));
                let header = Header::decode(bytes).expect("a whole frame has a header");
                assert_eq!(header.encode(), bytes[..HEADER]);
                bytes = &bytes[whole..];
            }
            Ok(Front::Partial(needed)) => {
                assert!(needed > bytes.len(), "the stream would wait for what it has");
                return;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
}

fn frames_corpus() -> Vec<Vec<u8>> {
    let frame = |kind, payload: &[u8]| {
        let header = Header { len: payload.len() as u32, kind, seq: 7, ack: 9 };
        [&header.encode()[..], payload].concat()
    };
    let (data, own) = (frame(1, b"payload"), frame(NET_KIND, &[0]));
    vec![[&data[..], &data, &own, &data].concat(), data, own, frame(2, b"")]
}

/// A stream on the bulk lane: headers and what they announce.
pub fn bulk(mut bytes: &[u8]) {
    net::fuzz::bulk(bytes);
    while let Some((head, rest)) = bytes.split_first_chunk::<16>() {
        let Ok(head) = Head::decode(head) else { return };
        assert_eq!(Head::decode(&head.encode()), Ok(head));
        let Some((body, rest)) = rest.split_at_checked(head.len) else { return };
        if head.kind == Kind::Request
            && let Ok(request) = Request::decode(body)
        {
            assert_eq!(Request::decode(&request.message(head.request)[16..]), Ok(request));
        }
        if head.kind == Kind::Chunk
            && let Some((chunk, bytes)) = body.split_at_checked(CHUNK_HEAD)
            && let Ok(chunk) = Chunk::decode(chunk, bytes.len())
        {
            assert_eq!(chunk.message(head.request, bytes.len())[16..], body[..CHUNK_HEAD]);
        }
        bytes = rest;
    }
}

fn bulk_corpus() -> Vec<Vec<u8>> {
    let id = ObjectId { owner: process(), seq: 300 };
    let request = Request { id, attempt: 2, len: 1 << 30, from: 1 << 18, to: 1 << 20 }.message(5).to_vec();
    let chunk = |raw, packed| {
        let head = Chunk { sum: 7, raw, flat: false, packed }.message(5, 9);
        [&head[..], b"the bytes"].concat()
    };
    let (chunk, packed) = (chunk(9, false), chunk(900, true));
    let gone = [&Head { kind: Kind::Gone, len: 8, request: 5 }.encode()[..], &[0xff; 8]].concat();
    let cancel = Head { kind: Kind::Cancel, len: 0, request: 5 }.encode().to_vec();
    assert_eq!(request.len(), 16 + REQUEST);
    vec![[&request[..], &chunk, &packed, &gone, &cancel].concat(), request, chunk, packed, gone, cancel]
}

fn process() -> ProcessId {
    ProcessId::new(u64::MAX / 3).expect("is not zero")
}

fn encoded<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("messages can be encoded")
}
