//! The arguments of a call, as they come in a message.

use crate::Target;
use fdbray_worker::{
    error::Error,
    exec::{Input, Source},
    options::Defaults,
    payload::Payload,
    registry::{Entry, Function},
};
use std::sync::OnceLock;

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "arguments", decode: arguments, corpus: arguments_corpus }];

static FUNCTION: Function = Function {
    role: fdbray_worker::registry::Role::Function,
    name: || "app::add",
    signature: || "fn(i64, i64) -> i64",
    file: file!(),
    line: line!(),
    entry: Entry::Sync(|_| Err(Error::Shutdown)),
    options: Defaults::NEW,
    template: OnceLock::new(),
};

/// All arguments, of which two may be values of futures.
pub fn arguments(bytes: &[u8]) {
    let futures = vec![Payload::copy_from(b"first"), Payload::copy_from(&[7; 100])];
    let mut input = Input::new(&FUNCTION, Payload::copy_from(bytes), futures, Source::Here);
    let mut taken = 0;
    while let Ok(argument) = input.next("x") {
        taken += 1;
        assert!(taken <= bytes.len(), "an argument of no bytes would be read for ever");
        assert!(argument.len() <= bytes.len().max(100));
    }
}

fn arguments_corpus() -> Vec<Vec<u8>> {
    let long = [&[0xad, 0x02][..], &[1; 300]].concat();
    vec![vec![3, 1, 2, 2, 9], vec![0, 2, 9, 0], long, vec![1, 1], vec![]]
}
