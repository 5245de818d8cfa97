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
};

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

/// The state of an actor, and what it has answered by then.
pub fn checkpoints(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(state) = checkpoint::state_in(&bytes) {
        assert!(state.len() < bytes.len(), "there is more in a checkpoint than the state");
    }
}

fn checkpoints_corpus() -> Vec<Vec<u8>> {
    let process = ProcessId::new(u64::MAX / 3).expect("is not zero");
    let value = (3_u64, 1_500_u64, 0_u8, b"value".to_vec());
    let none: [(u64, u64, u8, Vec<u8>); 0] = [];
    let checkpoints = [
        postcard::to_stdvec(&(vec![7_u8; 40], vec![(process, vec![value.clone(), value])])),
        postcard::to_stdvec(&(b"state".to_vec(), vec![(process, none)])),
    ];
    checkpoints.into_iter().map(|bytes| bytes.expect("can be encoded")).collect()
}

fn messages_corpus() -> Vec<Vec<u8>> {
    let process = ProcessId::new(u64::MAX / 3).expect("is not zero");
    let id = ObjectId { owner: process, seq: 300 };
    let task = TaskName { lease: 1, number: 1_000_000 };
    let places = Places { holder: process, copies: vec![process; 2], attempt: 300 };
    let stored = FutureArgument::Stored { id, places: std::borrow::Cow::Owned(places.clone()), len: 1 << 30 };
    let futures = || vec![FutureArgument::Value(b"value"), stored.clone()];
    let run = || Run {
        task,
        seq: 7,
        attempt: 1,
        function: 2,
        root: Some(process),
        arguments: &[1; 40],
        described: false,
        futures: futures(),
    };
    let error = || Box::new(Error::application("a message"));
    let each = [
        Message::RunOnce { run: run(), ticket: 1 << 40, below: 7 },
        Message::RunFrom { run: run(), checkpoint: Raw(&[7; 40]) },
        Message::Checkpoint { seq: 7, attempt: 1, version: 300, checkpoint: Raw(&[7; 40]) },
        Message::CheckpointKept { seq: 7, attempt: 1, version: 300 },
        Message::LineOpen { request: 1, actor: id },
        Message::LineRefused { request: 1 },
        Message::LineClosed { lease: 1, started: 300 },
        Message::ActorGone { seq: 7, why: Gone::Left },
        Message::Run(run()),
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
