//! The suite that every engine passes. What is special to one engine is tested beside it.

mod limits;
mod watches;

use super::memory::{Faults, Memory};
use super::testing::{Scratch, on_foundationdb};
use super::{Key, Limits, Range, Stamp, Store, StoreError, Transaction, Watch, lmdb};
use limits::{a_transaction_that_takes_too_long_fails, limits_are_those_of_every_engine};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watches::{
    a_change_between_reading_and_waiting_is_not_missed, a_watch_fires_when_its_key_changes,
    the_watch_of_an_aborted_transaction_ends,
};

/// A store under test, and what must outlive it.
pub(super) struct Subject {
    pub(super) store: Store,
    _place: Option<Box<dyn Any>>,
}

fn memory(limits: Limits) -> Subject {
    Subject { store: Memory::new(Faults::default()).limits(limits).store(), _place: None }
}

/// Every third commit fails, and every other operation lets somebody else go first.
fn troubled(limits: Limits) -> Subject {
    let faults = Faults { seed: 42, conflicts: 333, delays: 500, unknown: 0 };
    Subject { store: Memory::new(faults).limits(limits).store(), _place: None }
}

fn lmdb(limits: Limits) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let options = lmdb::Options { sync: lmdb::Sync::None, limits, ..lmdb::Options::default() };
    Subject { store: Store::lmdb(directory.path(), options).unwrap(), _place: Some(Box::new(directory)) }
}

fn foundationdb(limits: Limits) -> Subject {
    let scratch = Scratch::new(limits);
    Subject { store: scratch.empty(), _place: Some(Box::new(scratch)) }
}

/// One test per engine for each of these functions. Each gets a function that makes empty stores.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod on_memory { $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::memory).await })* }
        mod on_troubled_memory { $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::troubled).await })* }
        mod on_lmdb { $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::lmdb).await })* }
        mod on_foundationdb {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() {
                if super::on_foundationdb(concat!(module_path!(), "::", stringify!($test))) {
                    super::$test(super::foundationdb).await
                }
            })*
        }
    };
}

suite!(
    a_transaction_sees_its_own_writes,
    what_aborts_leaves_nothing,
    ranges_are_in_order_limited_and_reversible,
    read_modify_write_loses_no_update,
    insert_if_the_range_is_empty_inserts_once,
    additions_do_not_lose_each_other_and_wrap,
    versionstamps_are_in_the_order_of_commits,
    a_watch_fires_when_its_key_changes,
    a_change_between_reading_and_waiting_is_not_missed,
    the_watch_of_an_aborted_transaction_ends,
    limits_are_those_of_every_engine,
    a_transaction_that_takes_too_long_fails,
    a_panic_reaches_the_caller_and_nobody_else,
    reading_refuses_to_write,
    an_ended_transaction_is_of_no_use,
    one_view_holds_for_all_reads_of_a_transaction,
);

type Make = fn(Limits) -> Subject;

fn fresh(make: Make) -> Subject {
    make(Limits::default())
}

async fn get(store: &Store, key: &'static [u8]) -> Option<Vec<u8>> {
    store.read(move |tx| async move { tx.get(key).await }).await.unwrap()
}

async fn set(store: &Store, key: &'static [u8], value: &'static [u8]) {
    store.transact(move |tx| async move { tx.set(key, value) }).await.unwrap()
}

fn number(value: Option<Vec<u8>>) -> i64 {
    value.map_or(0, |value| i64::from_le_bytes(value.try_into().unwrap()))
}

async fn a_transaction_sees_its_own_writes(make: Make) {
    let subject = fresh(make);
    set(&subject.store, b"old", b"0").await;
    let seen = subject.store.transact(|tx| async move {
        tx.set(b"a", b"1")?;
        tx.set(b"b", b"2")?;
        tx.clear(b"old")?;
        tx.add(b"n", 5)?;
        tx.add(b"n", -2)?;
        let before = tx.range(Range::prefix(b"")).await?;
        tx.clear_range(b"a", b"c")?;
        tx.set(b"b", b"3")?;
        tx.add(b"a", 1)?;
        let after = tx.range(Range::prefix(b"")).await?;
        Ok::<_, StoreError>((before, after, tx.get(b"old").await?))
    });
    let (before, after, old) = seen.await.unwrap();
    let pair = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(before, [pair(b"a", b"1"), pair(b"b", b"2"), pair(b"n", &3_i64.to_le_bytes())]);
    let expected = [pair(b"a", &1_i64.to_le_bytes()), pair(b"b", b"3"), pair(b"n", &3_i64.to_le_bytes())];
    assert_eq!(after, expected);
    assert_eq!(old, None);
    let all = subject.store.read(|tx| async move { tx.range(Range::prefix(b"")).await });
    assert_eq!(all.await.map_err(|error: StoreError| error.to_string()), Ok(expected.to_vec()));
}

#[derive(Debug, PartialEq)]
struct Refused;

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        panic!("{error}")
    }
}

async fn what_aborts_leaves_nothing(make: Make) {
    let subject = fresh(make);
    let aborted = subject.store.transact(|tx| async move {
        tx.set(b"a", b"1")?;
        tx.add(b"n", 1)?;
        Err::<(), _>(Refused)
    });
    assert_eq!(aborted.await, Err(Refused));
    assert_eq!(get(&subject.store, b"a").await, None);
    assert_eq!(get(&subject.store, b"n").await, None);
}

async fn ranges_are_in_order_limited_and_reversible(make: Make) {
    let subject = fresh(make);
    let keys = |pairs: Vec<(Vec<u8>, Vec<u8>)>| {
        pairs.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>().join(" ")
    };
    let fill = subject.store.transact(|tx| async move {
        for key in ["d", "b", "a", "c", "bb"] {
            tx.set(key, b"")?;
        }
        Ok::<_, StoreError>(())
    });
    fill.await.unwrap();
    for (range, expected) in [
        (Range::new(b"", b"\xff"), "a b bb c d"),
        (Range::new(b"b", b"d"), "b bb c"),
        (Range::new(b"b", b"d").reverse(), "c bb b"),
        (Range::new(b"", b"\xff").reverse().limit(2), "d c"),
        (Range::new(b"", b"\xff").limit(2), "a b"),
        (Range::prefix(b"b"), "b bb"),
        (Range::prefix(b"b").after(b"b"), "bb"),
        (Range::new(b"d", b"b"), ""),
        (Range::new(b"x", b"y"), ""),
        (Range::new(b"a", b"b").limit(0), ""),
    ] {
        let read = range.clone();
        let found = subject.store.read(move |tx| {
            let range = read.clone();
            async move { tx.range(range).await }
        });
        let found: Result<_, StoreError> = found.await;
        assert_eq!(keys(found.unwrap()), expected, "{range:?}");
    }
}

async fn read_modify_write_loses_no_update(make: Make) {
    let subject = fresh(make);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = subject.store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    let increment = store.transact(|tx| async move {
                        let n = number(tx.get(b"n").await?);
                        tx.set(b"n", (n + 1).to_le_bytes())
                    });
                    increment.await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(number(get(&subject.store, b"n").await), 200);
}

async fn insert_if_the_range_is_empty_inserts_once(make: Make) {
    for round in 0..10_u64 {
        let subject = fresh(make);
        let tasks: Vec<_> = (0..8_u64)
            .map(|task| {
                let store = subject.store.clone();
                tokio::spawn(async move {
                    let insert = store.transact(move |tx| async move {
                        let room = Key::new().str("room");
                        if tx.range(Range::children(&room).limit(1)).await?.is_empty() {
                            tx.set(room.u64(task * round), b"taken")?;
                            return Ok::<_, StoreError>(true);
                        }
                        Ok(false)
                    });
                    insert.await.unwrap()
                })
            })
            .collect();
        let mut inserted = 0;
        for task in tasks {
            inserted += u32::from(task.await.unwrap());
        }
        assert_eq!(inserted, 1);
    }
}

async fn additions_do_not_lose_each_other_and_wrap(make: Make) {
    let subject = fresh(make);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = subject.store.clone();
            tokio::spawn(async move {
                for n in [3, -1, 4, -2] {
                    store.transact(move |tx| async move { tx.add(b"n", n) }).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(number(get(&subject.store, b"n").await), 32);
    set(&subject.store, b"n", &[0xff; 8]).await;
    set(&subject.store, b"short", &[1, 2]).await;
    let add = subject.store.transact(|tx| async move {
        tx.add(b"n", 2)?;
        tx.add(b"short", 1)
    });
    add.await.unwrap();
    assert_eq!(number(get(&subject.store, b"n").await), 1, "an unsigned number wraps too");
    assert_eq!(get(&subject.store, b"short").await, Some(vec![2, 2, 0, 0, 0, 0, 0, 0]));
}

async fn versionstamps_are_in_the_order_of_commits(make: Make) {
    let subject = fresh(make);
    let log = Key::new().str("log");
    let mut stamps = Vec::new();
    for n in 0..5_u8 {
        let log = log.clone();
        let append = subject.store.transact_stamped(move |tx| {
            let log = log.clone();
            async move {
                tx.set_stamped(log.clone().next_stamp(1), [n, 1])?;
                tx.set_stamped(log.next_stamp(0), [n, 0])
            }
        });
        stamps.push(append.await.unwrap().1.unwrap());
    }
    assert!(stamps.is_sorted() && BTreeSet::from_iter(&stamps).len() == 5, "{stamps:?}");
    // At once, and in one batch where the engine has batches: still each its own.
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (store, log) = (subject.store.clone(), log.clone());
            tokio::spawn(async move {
                let append = store.transact(move |tx| {
                    let key = log.clone().next_stamp(0);
                    async move { tx.set_stamped(key, b"later") }
                });
                append.await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let read = log.clone();
    let entries = subject.store.read(move |tx| {
        let log = read.clone();
        async move { tx.range(Range::children(&log)).await }
    });
    let entries: Result<Vec<_>, StoreError> = entries.await;
    let entries = entries.unwrap();
    assert_eq!(entries.len(), 30);
    for (n, pair) in entries[..10].chunks(2).enumerate() {
        let key = |user| Vec::from(log.clone().stamp(Stamp { version: stamps[n], user }));
        assert_eq!(pair, [(key(0), vec![n as u8, 0]), (key(1), vec![n as u8, 1])]);
    }
    assert!(entries[10..].iter().all(|(_, value)| value == b"later"));
}

async fn a_panic_reaches_the_caller_and_nobody_else(make: Make) {
    let subject = fresh(make);
    let store = subject.store.clone();
    let panicking = tokio::spawn(async move {
        let run = store.transact(|tx| async move {
            tx.set(b"a", b"")?;
            if tx.get(b"a").await?.is_some() {
                panic!("on purpose");
            }
            Ok::<_, StoreError>(())
        });
        run.await
    });
    let payload = panicking.await.unwrap_err().into_panic();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(get(&subject.store, b"a").await, None);
}

async fn reading_refuses_to_write(make: Make) {
    let subject = fresh(make);
    let write = subject.store.read(|tx| async move { tx.set(b"a", b"") });
    assert!(matches!(write.await, Err(StoreError::ReadOnly)));
}

async fn an_ended_transaction_is_of_no_use(make: Make) {
    let subject = fresh(make);
    let escaped: Arc<Mutex<Option<Transaction>>> = Arc::default();
    let place = escaped.clone();
    let run = subject.store.transact(move |tx| {
        *place.lock().unwrap() = Some(tx.clone());
        async move { Ok::<_, StoreError>(()) }
    });
    run.await.unwrap();
    let tx = escaped.lock().unwrap().take().unwrap();
    assert!(matches!(tx.set(b"a", b""), Err(StoreError::Ended)));
    assert!(matches!(tx.get(b"a").await, Err(StoreError::Ended)));
}

async fn one_view_holds_for_all_reads_of_a_transaction(make: Make) {
    let subject = fresh(make);
    let writer = {
        let store = subject.store.clone();
        tokio::spawn(async move {
            for n in 0..200_u32 {
                let both = store.transact(move |tx| async move {
                    tx.set(b"left", n.to_le_bytes())?;
                    tx.set(b"right", n.to_le_bytes())
                });
                both.await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let both = subject.store.read(|tx| async move {
            let tx = tx.snapshot();
            Ok::<_, StoreError>((tx.get(b"left").await?, tx.get(b"right").await?))
        });
        let (left, right) = both.await.unwrap();
        assert_eq!(left, right);
    }
    writer.await.unwrap();
}
