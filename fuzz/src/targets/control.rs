//! What comes out of the store, and how clusters are named.

use crate::Target;
use fdbray_worker::{
    config::ClusterUrl,
    control::{
        durable::{
            ActorSpec, Arguments, Claim, Failed, Failure, FutureId, Named, Near, Notice, Owner, Place,
            Realized, Record, Retention, Spec, State, Value,
        },
        members::{Capacity, Cause, Change, Host, Member, Role, Tombstone},
        store::key::{Element, Key, Stamp},
    },
    id::ProcessId,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "cluster_url", decode: cluster_url, corpus: cluster_url_corpus },
    Target { name: "member_records", decode: member_records, corpus: member_records_corpus },
    Target { name: "durable_records", decode: durable_records, corpus: durable_records_corpus },
    Target { name: "store_keys", decode: store_keys, corpus: store_keys_corpus },
];

/// A key of a record, taken apart and put together again.
pub fn store_keys(bytes: &[u8]) {
    let Ok(elements) = Key::elements(bytes) else { return };
    let mut key = Key::new();
    for element in &elements {
        key = match element {
            Element::Bytes(bytes) => key.bytes(bytes),
            Element::Str(text) => key.str(text),
            Element::Stamp(stamp) => key.stamp(*stamp),
            Element::Int(n) => match (u64::try_from(*n), i64::try_from(*n)) {
                (Ok(n), _) => key.u64(n),
                (_, Ok(n)) => key.i64(n),
                // FoundationDB has larger ones; fdbray writes none.
                _ => return,
            },
        };
    }
    assert_eq!(Key::elements(key.as_ref()).as_ref(), Ok(&elements));
}

fn store_keys_corpus() -> Vec<Vec<u8>> {
    let stamp = Stamp { version: [7; 10], user: 3 };
    let keys = [
        Key::new().str("fdbray").str("demo").str("member").u64(u64::MAX / 3),
        Key::new().str("fdbray").str("demo").str("log").stamp(stamp),
        Key::new().bytes(b"a\0b").i64(-70_000).i64(i64::MIN).u64(0),
    ];
    keys.into_iter().map(Vec::from).collect()
}

/// The values of the members' records: a member, a tombstone, a change.
pub fn member_records(bytes: &[u8]) {
    survives::<Member>(bytes);
    survives::<Tombstone>(bytes);
    survives::<Change>(bytes);
}

/// The values of durable futures: a record in any state, the notices of an inbox, the actor of a name.
pub fn durable_records(bytes: &[u8]) {
    survives::<Record>(bytes);
    survives::<Vec<Notice>>(bytes);
    survives::<Named>(bytes);
    if let Ok(id) = str::from_utf8(bytes).unwrap_or_default().parse::<FutureId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn durable_records_corpus() -> Vec<Vec<u8>> {
    let process = ProcessId::new(u64::MAX / 3).expect("is not zero");
    let id = FutureId::new(process, 7);
    let spec = Spec {
        function: "app::render".into(),
        signature: u64::MAX,
        returns: 1,
        shape: Capacity { cpus: 10_000, named: vec![("tpu".into(), 5)], ..Capacity::default() },
        priority: -1,
        place: Some(Place { process, hard: true }),
        near: Some(Near { future: id, hard: false }),
        arguments: Arguments::Inline(vec![0, 1, 255]),
        futures: vec![id],
        retries: 3,
        retry_errors: 1,
        deadline: Some(9),
        retention: Retention::default(),
        durable_value: true,
        logs: true,
        actor: Some(ActorSpec { name: Some("till".into()), type_name: "app::Till".into(), restarts: 3 }),
        key: Some("invoice".into()),
        digest: Some(vec![7; 16]),
    };
    let failure = Failure::error("no luck".into(), vec![1, 2]);
    let states = [
        State::Waiting { missing: vec![id] },
        State::Unclaimed { since: 3, not_before: Some(4) },
        State::Claimed(Claim { by: process, nonce: 5, attempt: Some(1), lives: Some(300) }),
        State::Realized(Realized { value: Value::Inline(vec![9]), by: process, attempt: 1, at: 6 }),
        State::Realized(Realized { value: Value::Kept(1 << 40), by: process, attempt: 2, at: 6 }),
        State::Failed(Failed { failure: failure.clone(), attempt: None, at: 7 }),
        State::Cancelled { at: 8 },
    ];
    let record = |state| Record {
        v: 1,
        id,
        spec: spec.clone(),
        state,
        submitted: 1,
        claims: 2,
        attempts: 2,
        died: 1,
        restarts: 2,
        failed: 1,
        last_error: Some(failure.clone()),
        waiter: Some(process),
        waiters: true,
        dependents: true,
        spreading: true,
        suspect: true,
        released: true,
        expires: Some(604_800),
    };
    let mut corpus: Vec<_> = states.map(|state| named(&record(state))).into();
    corpus.push(named(&vec![Notice::Settled(id), Notice::Revoked(id)]));
    for owner in [Owner::Cluster(id), Owner::Process { process, seq: 300 }] {
        corpus.push(named(&Named { type_name: "app::Till".into(), owner }));
    }
    corpus.push(id.to_string().into_bytes());
    corpus
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(record) = rmp_serde::from_slice::<T>(bytes) {
        let again = rmp_serde::to_vec_named(&record).expect("what was decoded can be encoded");
        assert_eq!(rmp_serde::from_slice::<T>(&again).ok(), Some(record));
    }
}

fn member_records_corpus() -> Vec<Vec<u8>> {
    let id = ProcessId::new(u64::MAX / 3).expect("is not zero");
    let member = Member {
        id,
        role: Role::Worker,
        addresses: vec!["unix:@fdbray-1".into(), "tcp:127.0.0.1:7000".into()],
        capacity: Capacity { cpus: 20_000, gpus: 0, memory: 1 << 34, named: vec![("tpu".into(), 5_000)] },
        labels: vec![("zone".into(), "x".into())],
        build_id: u64::MAX,
        fingerprint: 1,
        version: "0.1.0".into(),
        host: Host { boot_id: "4b1c".into(), pid_namespace: 4_026_531_836, pid: 42, started: 99 },
    };
    let tombstone = Tombstone { id, by: id, cause: Cause::Silent { beat: 17 } };
    let changes = [Change::Joined(member.clone()), Change::Left(id), Change::Died(tombstone.clone())];
    let mut corpus = vec![named(&member), named(&tombstone)];
    corpus.extend(changes.iter().map(named));
    corpus
}

fn named<T: Serialize>(record: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(record).expect("records can be encoded")
}

/// A cluster's URL, which displays as what it parses from.
pub fn cluster_url(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match text.parse::<ClusterUrl>() {
        Ok(url) => assert_eq!(url.to_string().parse().as_ref(), Ok(&url)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn cluster_url_corpus() -> Vec<Vec<u8>> {
    let urls = [
        "lmdb:///var/lib/app?cluster=demo&sync=full",
        "lmdb:///tmp/d",
        "fdb:///etc/foundationdb/fdb.cluster?cluster=demo",
        "lmdb:///a%20b?cluster=x",
    ];
    urls.iter().map(|url| url.as_bytes().to_vec()).collect()
}
