//! What one process's core says to another's.

use crate::Target;
use bytes::Bytes;
use fdbray_worker::{
    core::{
        checkpoint,
        message::{self, FutureArgument, Gone, Message, Places, Raw, Run, TaskName},
        shape::Resources,
    },
    error::Error,
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use serde::Serialize;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "core_messages", decode: messages, corpus: messages_corpus },
    Target { name: "core_checkpoints", decode: checkpoints, corpus: checkpoints_corpus },
];

/// The payload of a control frame: one message after the other.
pub fn messages(mut bytes: &[u8]) {
    while let Ok((message, rest)) = message::decode(bytes) {
        assert!(rest.len() < bytes.len(), "a message of no bytes would be decoded for ever");
        let mut again = Vec::new();
        message::encode(&message, &mut again);
        assert!(message::decode(&again).is_ok(), "{message:?} does not survive its own encoding");
        bytes = rest;
    }
}

/// The checkpoint of an actor, which its owner has kept.
pub fn checkpoints(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(state) = checkpoint::state_in(&bytes) {
        assert!(state.len() <= bytes.len(), "a state that is longer than what it is in");
    }
}

fn checkpoints_corpus() -> Vec<Vec<u8>> {
    #[derive(Serialize)]
    enum Answer {
        Value(&'static [u8]),
        Flat(Vec<u8>),
        Failed(Error),
    }
    let process = ProcessId::new(u64::MAX / 3).expect("is not zero");
    let buffers = vec![Bytes::from_static(&[7; 100])];
    let flat = Payload::in_parts(Bytes::from_static(b"head"), buffers).contiguous();
    let answers = vec![
        (1_u64, 1_500_u64, Answer::Value(b"value")),
        (2, 1 << 40, Answer::Flat(flat.into())),
        (300, 0, Answer::Failed(Error::application("a message"))),
    ];
    let none = vec![(process, Vec::new())];
    [(&b"state"[..], none), (&[1_u8; 40][..], vec![(process, answers)])]
        .map(|checkpoint| postcard::to_stdvec(&checkpoint).expect("it can be encoded"))
        .into()
}

fn messages_corpus() -> Vec<Vec<u8>> {
    let process = ProcessId::new(u64::MAX / 3).expect("is not zero");
    let id = ObjectId { owner: process, seq: 300 };
    let task = TaskName { lease: 1, number: 1_000_000 };
    let places = Places { holder: process, copies: vec![process; 2], attempt: 300 };
    let stored = FutureArgument::Stored { id, places: std::borrow::Cow::Owned(places.clone()), len: 1 << 30 };
    let futures = vec![FutureArgument::Value(b"value"), stored];
    let run = || Run {
        task,
        seq: 7,
        attempt: 1,
        function: 2,
        root: Some(process),
        arguments: &[1; 40],
        described: false,
        futures: futures.clone(),
    };
    let error = || Box::new(Error::application("a message"));
    let each = [
        Message::Run(run()),
        Message::RunOnce { run: run(), ticket: 300, below: 299 },
        Message::RunFrom { run: run(), checkpoint: Raw(&[1; 40]) },
        Message::LineOpen { request: 1, actor: id },
        Message::LineRefused { request: 1 },
        Message::LineClosed { lease: 1, started: 300 },
        Message::ActorGone { seq: 7, why: Gone::Left },
        Message::Done { task, ran: 1500, value: b"value", contained: vec![id, id] },
        Message::Stored { task, ran: 1500, len: 1 << 30, contained: vec![id] },
        Message::Failed { task, ran: 1500, error: error() },
        Message::NotStarted { lease: 1, numbers: vec![1, 2, 300], recalled: true },
        Message::Recall { lease: 1, count: 3 },
        Message::Cancel { task },
        Message::LeaseRequest { request: 1, shape: Resources::default(), slots: 2 },
        Message::LeaseGrant { request: 1, lease: 1, slots: 2, mark: 5, more: true },
        Message::Borrow { seq: 7, epoch: 1 },
        Message::Want { seq: 7, not_from: Some((process, 1)) },
        Message::Value { seq: 7, value: b"value" },
        Message::ValueStored { seq: 7, places, len: 1 << 20 },
        Message::Copied { seq: 7, attempt: 1, has: true },
        Message::Keep { seq: 7, attempt: 1 },
        Message::ValueFailed { seq: 7, error: error() },
        Message::Checkpoint { seq: 7, attempt: 1, version: 2, checkpoint: Raw(b"checkpoint") },
        Message::CheckpointKept { seq: 7, attempt: 1, version: 2 },
        Message::Log { kind: 1, function: "app::add", text: "a line" },
    ];
    let mut all = Vec::new();
    let mut corpus = Vec::new();
    for message in &each {
        let mut alone = Vec::new();
        message::encode(message, &mut alone);
        all.extend_from_slice(&alone);
        corpus.push(alone);
    }
    corpus.push(all);
    corpus
}
