//! The transactions on each engine; the service on the store in memory and, where processes matter, on the others.

use super::*;
use crate::control::store::memory::{Faults, Memory};
use crate::control::store::testing::{Scratch, on_foundationdb};
use crate::control::store::{Limits, Store, lmdb};
use crate::id::ProcessId;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn id(n: u64) -> ProcessId {
    ProcessId::new(n).unwrap()
}

/// A member on a host of which nothing can be seen.
fn member(n: u64) -> Member {
    Member {
        id: id(n),
        role: Role::Worker,
        addresses: vec![format!("unix:@{n}")],
        capacity: Capacity { cpus: 20_000, ..Capacity::default() },
        labels: vec![("zone".into(), "a".into())],
        build_id: 1,
        fingerprint: 2,
        version: "0.1.0".into(),
        host: Host { boot_id: format!("elsewhere {n}"), pid_namespace: 1, pid: 1, started: 0 },
    }
}

fn silent(n: u64, by: u64, beat: u64) -> Tombstone {
    Tombstone { id: id(n), by: id(by), cause: Cause::Silent { beat } }
}

fn exited(n: u64, by: u64) -> Tombstone {
    Tombstone { id: id(n), by: id(by), cause: Cause::Exited }
}

/// One test per engine for each of these functions, which get an empty store.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test] async fn $test() {
                super::$test(super::Memory::new(super::Faults::default()).store()).await
            })*
        }
        mod on_foundationdb {
            $(#[tokio::test] async fn $test() {
                if super::on_foundationdb(concat!(module_path!(), "::", stringify!($test))) {
                    let scratch = super::Scratch::new(super::Limits::default());
                    super::$test(scratch.empty()).await
                }
            })*
        }
    };
}

suite!(
    who_registers_is_listed_until_it_leaves,
    clusters_in_one_store_do_not_see_each_other,
    a_beat_reads_the_epoch_and_the_beats_of_the_judged,
    who_was_declared_dead_cannot_beat_and_learns_why,
    who_beat_after_all_is_not_declared_dead,
    followers_read_only_what_is_new_and_are_woken_by_it,
    the_log_and_the_tombstones_stay_bounded_and_late_readers_read_all,
);

async fn who_registers_is_listed_until_it_leaves(store: Store) {
    let members = Members::new(store, "demo");
    members.register(&member(1)).await.unwrap();
    members.register(&member(2)).await.unwrap();
    members.register(&member(2)).await.unwrap();
    assert_eq!(members.list().await.unwrap().0, [member(1), member(2)]);
    assert!(members.leave(id(1)).await.unwrap());
    assert!(!members.leave(id(1)).await.unwrap(), "it left already");
    assert_eq!(members.list().await.unwrap().0, [member(2)]);
    let other = Member { fingerprint: 9, ..member(2) };
    assert!(matches!(members.register(&other).await, Err(MemberError::AlreadyRegistered(_))));
}

async fn clusters_in_one_store_do_not_see_each_other(store: Store) {
    let (one, other) = (Members::new(store.clone(), "one"), Members::new(store, "one-two"));
    one.register(&member(1)).await.unwrap();
    assert_eq!(other.list().await.unwrap().0, []);
}

async fn a_beat_reads_the_epoch_and_the_beats_of_the_judged(store: Store) {
    let members = Members::new(store, "demo");
    members.register(&member(1)).await.unwrap();
    members.register(&member(2)).await.unwrap();
    for n in 2..5 {
        members.beat(id(2), &[]).await.unwrap();
        let beat = members.beat(id(1), &[id(2), id(3)]).await.unwrap();
        assert_eq!(beat, Beat { epoch: 2, beats: vec![(id(2), n)] });
    }
}

async fn who_was_declared_dead_cannot_beat_and_learns_why(store: Store) {
    let members = Members::new(store, "demo");
    members.register(&member(1)).await.unwrap();
    assert!(members.bury(exited(1, 2)).await.unwrap());
    assert!(!members.bury(exited(1, 3)).await.unwrap(), "once is enough");
    let error = members.beat(id(1), &[]).await.unwrap_err();
    assert!(matches!(&error, MemberError::Tombstoned { tombstone: Some(found) } if *found == exited(1, 2)));
    assert!(error.to_string().contains("exited"), "{error}");
    let again = members.register(&member(1)).await;
    assert!(matches!(again, Err(MemberError::Tombstoned { tombstone: Some(_) })), "{again:?}");
    assert_eq!(members.tombstone(id(1)).await.unwrap(), Some(exited(1, 2)));
}

async fn who_beat_after_all_is_not_declared_dead(store: Store) {
    let members = Members::new(store, "demo");
    members.register(&member(1)).await.unwrap();
    members.beat(id(1), &[]).await.unwrap();
    assert!(!members.bury(silent(1, 2, 1)).await.unwrap());
    assert!(members.bury(silent(1, 2, 2)).await.unwrap());
}

async fn followers_read_only_what_is_new_and_are_woken_by_it(store: Store) {
    let members = Members::new(store, "demo");
    members.register(&member(1)).await.unwrap();
    let (list, start) = members.list().await.unwrap();
    assert_eq!(list.len(), 1);
    let (tail, start, watch) = members.follow(&start).await.unwrap();
    assert_eq!(tail, Tail::Changes(vec![]));
    members.register(&member(2)).await.unwrap();
    watch.await.unwrap();
    members.leave(id(1)).await.unwrap();
    members.bury(exited(2, 3)).await.unwrap();
    let (tail, end, _) = members.follow(&start).await.unwrap();
    let expected = vec![Change::Joined(member(2)), Change::Left(id(1)), Change::Died(exited(2, 3))];
    assert_eq!(tail, Tail::Changes(expected));
    assert_eq!(members.follow(&end).await.unwrap().0, Tail::Changes(vec![]));
}

async fn the_log_and_the_tombstones_stay_bounded_and_late_readers_read_all(store: Store) {
    let members = Members::new(store, "demo");
    let (_, start) = members.list().await.unwrap();
    members.register(&member(1)).await.unwrap();
    for n in 100..500 {
        members.register(&member(n)).await.unwrap();
        members.bury(exited(n, 1)).await.unwrap();
    }
    let (tail, end, _) = members.follow(&start).await.unwrap();
    assert_eq!(tail, Tail::Reload(vec![member(1)]));
    assert_eq!(members.tombstone(id(100)).await.unwrap(), None);
    assert!(members.tombstone(id(499)).await.unwrap().is_some());
    let gone = members.beat(id(100), &[]).await;
    assert!(matches!(gone, Err(MemberError::Tombstoned { tombstone: None })), "it stays dead nevertheless");
    members.leave(id(1)).await.unwrap();
    assert_eq!(members.follow(&end).await.unwrap().0, Tail::Changes(vec![Change::Left(id(1))]));
}

#[tokio::test]
async fn members_that_come_and_go_at_once_in_a_troubled_store_are_all_seen_in_the_end() {
    for seed in 0..20 {
        let faults = Faults { seed, conflicts: 200, delays: 500, unknown: 200 };
        let members = Members::new(Memory::new(faults).store(), "demo");
        let (list, mut position) = members.list().await.unwrap();
        let mut known: BTreeSet<ProcessId> = list.iter().map(|member| member.id).collect();
        let tasks: Vec<_> = (1..20)
            .map(|n| {
                let members = members.clone();
                tokio::spawn(async move {
                    members.register(&member(n)).await.unwrap();
                    match n % 3 {
                        0 => drop(members.leave(id(n)).await.unwrap()),
                        1 => drop(members.bury(exited(n, 99)).await.unwrap()),
                        _ => drop(members.beat(id(n), &[]).await.unwrap()),
                    }
                })
            })
            .collect();
        let done = tokio::spawn(async move {
            for task in tasks {
                task.await.unwrap();
            }
        });
        loop {
            let last = done.is_finished();
            let (tail, now, _) = members.follow(&position).await.unwrap();
            match tail {
                Tail::Reload(list) => known = list.iter().map(|member| member.id).collect(),
                Tail::Changes(changes) => changes.into_iter().for_each(|change| match change {
                    Change::Joined(member) => assert!(known.insert(member.id)),
                    Change::Left(id) | Change::Died(Tombstone { id, .. }) => assert!(known.remove(&id)),
                }),
            }
            position = now;
            if last {
                break;
            }
            tokio::task::yield_now().await;
        }
        done.await.unwrap();
        assert_eq!(known, (1..20).filter(|n| n % 3 == 2).map(id).collect(), "seed {seed}");
    }
}

async fn join(store: &Store, n: u64) -> (MembershipHandle, Events) {
    Membership::join(store.clone(), "demo", member(n), Vec::new, |_| true).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn members_see_each_other_come_and_go() {
    let store = Memory::new(Faults::default()).store();
    let (one, mut seen) = join(&store, 1).await;
    let (two, mut seen_by_two) = join(&store, 2).await;
    assert_eq!(seen.recv().await, Some(Event::Joined(Arc::new(member(2)))));
    assert_eq!(seen_by_two.recv().await, Some(Event::Joined(Arc::new(member(1)))));
    assert_eq!(one.members().keys().copied().collect::<Vec<_>>(), [id(2)]);
    two.leave().await.unwrap();
    assert_eq!(seen.recv().await, Some(Event::Left(id(2))));
    assert_eq!(seen_by_two.recv().await, None);
    assert!(one.members().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_stops_beating_is_declared_dead_after_five_counted_seconds() {
    let store = Memory::new(Faults::default()).store();
    let (_one, mut seen) = join(&store, 1).await;
    let (two, _) = join(&store, 2).await;
    assert!(matches!(seen.recv().await, Some(Event::Joined(_))));
    sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err(), "it beats");
    drop(two);
    let before = Instant::now();
    assert_eq!(seen.recv().await, Some(Event::Dead { id: id(2), exited: false }));
    // On the test's own clock: nothing but the service's timers moves it.
    let counted = before.elapsed().as_secs();
    assert!((5..=7).contains(&counted), "{counted}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_for_a_minute_kills_nobody() {
    let memory = Memory::new(Faults::default());
    let store = memory.store();
    let (one, mut seen) = join(&store, 1).await;
    let (_two, mut seen_by_two) = join(&store, 2).await;
    assert!(matches!(seen.recv().await, Some(Event::Joined(_))));
    assert!(matches!(seen_by_two.recv().await, Some(Event::Joined(_))));
    memory.set_unreachable(true);
    assert!(matches!(seen.recv().await, Some(Event::StoreUnreachable(_))));
    assert!(matches!(seen_by_two.recv().await, Some(Event::StoreUnreachable(_))));
    sleep(Duration::from_secs(60)).await;
    assert!(one.since_last_beat() >= Duration::from_secs(59));
    assert_eq!(one.members().len(), 1, "what is known stays known");
    memory.set_unreachable(false);
    assert_eq!(seen.recv().await, Some(Event::StoreBack));
    assert_eq!(seen_by_two.recv().await, Some(Event::StoreBack));
    sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err() && seen_by_two.try_recv().is_err());
    assert!(one.since_last_beat() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn joining_waits_ten_seconds_for_the_store() {
    let memory = Memory::new(Faults::default());
    memory.set_unreachable(true);
    let before = Instant::now();
    let error = Membership::join(memory.store(), "demo", member(1), Vec::new, |_| true).await.err().unwrap();
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert!((9..=10).contains(&before.elapsed().as_secs()));
    tokio::spawn({
        let memory = memory.clone();
        async move {
            sleep(Duration::from_secs(5)).await;
            memory.set_unreachable(false);
        }
    });
    join(&memory.store(), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_process_was_declared_dead_says_so_and_ends() {
    let store = Memory::new(Faults::default()).store();
    let (_one, mut seen) = join(&store, 1).await;
    Members::new(store, "demo").bury(exited(1, 2)).await.unwrap();
    assert_eq!(seen.recv().await, Some(Event::Tombstoned(Some(exited(1, 2)))));
    assert_eq!(seen.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_exit_its_parent_saw_is_dead_at_once() {
    let store = Memory::new(Faults::default()).store();
    let (one, mut seen) = join(&store, 1).await;
    let (_two, _seen_by_two) = join(&store, 2).await;
    assert!(matches!(seen.recv().await, Some(Event::Joined(_))));
    let before = Instant::now();
    one.declare_exited(id(2));
    assert_eq!(seen.recv().await, Some(Event::Dead { id: id(2), exited: true }));
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn everybody_is_judged_by_somebody_even_without_peers() {
    let store = Memory::new(Faults::default()).store();
    let mut all = Vec::new();
    for n in 1..=10 {
        all.push(join(&store, n).await);
    }
    // Seven of ten stop beating, four of them neighbours in the ring.
    let mut left: Vec<_> = all.into_iter().enumerate().filter(|(n, _)| [0, 5, 9].contains(n)).collect();
    sleep(Duration::from_secs(60)).await;
    for (n, (handle, events)) in &mut left {
        assert_eq!(handle.members().len(), 2, "as {n} sees it");
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, Event::Tombstoned(_)));
        }
    }
}

#[tokio::test]
async fn the_exit_of_a_process_on_this_host_is_noticed_without_waiting_for_beats() {
    let store = Memory::new(Faults::default()).store();
    let here = Host::current().unwrap();
    let me = Member { host: here.clone(), ..member(1) };
    let (_one, mut seen) = Membership::join(store.clone(), "demo", me, Vec::new, |_| true).await.unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let there = Member { host: Host { pid: child.id(), started: 0, ..here }, ..member(2) };
    Members::new(store, "demo").register(&there).await.unwrap();
    assert!(matches!(seen.recv().await, Some(Event::Joined(_))));
    child.kill().unwrap();
    assert_eq!(seen.recv().await, Some(Event::Dead { id: id(2), exited: true }));
    child.wait().unwrap();
}

#[tokio::test]
async fn what_a_former_life_of_the_cluster_left_behind_is_buried_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::lmdb(directory.path(), lmdb::Options::default()).unwrap();
    for n in 2..20 {
        // Registered before this machine's last start.
        Members::new(store.clone(), "demo").register(&member(n)).await.unwrap();
    }
    let me = Member { host: Host::current().unwrap(), ..member(1) };
    let (one, mut seen) = Membership::join(store, "demo", me, Vec::new, |_| true).await.unwrap();
    let mut dead = BTreeSet::new();
    while dead.len() < 18 {
        if let Some(Event::Dead { id, .. }) = seen.recv().await {
            dead.insert(id);
        }
    }
    assert!(one.members().is_empty());
}

/// Not a test: joins the cluster in that directory, or at that place in FoundationDB, until it is killed.
#[tokio::test]
async fn helper() {
    let Some(place) = std::env::var_os("FDBRAY_TEST_JOIN") else { return };
    // It must not outlive a test that was killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let store = match Path::new(&place).is_absolute() {
        true => Store::lmdb(&place, lmdb::Options::default()).unwrap(),
        false => Scratch::of_parent(place.to_str().unwrap()),
    };
    let me = Member { host: Host::current().unwrap(), ..member(7) };
    let (_handle, mut events) = Membership::join(store, "demo", me, Vec::new, |_| true).await.unwrap();
    while events.recv().await.is_some() {}
}

async fn a_process_is_seen_joining_and_dying(store: Store, place: &OsStr) {
    let me = Member { host: Host::current().unwrap(), ..member(1) };
    let (_one, mut seen) = Membership::join(store, "demo", me, Vec::new, |_| true).await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control::members::tests::helper"])
        .env("FDBRAY_TEST_JOIN", place)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(matches!(seen.recv().await, Some(Event::Joined(member)) if member.id == id(7)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen.recv().await, Some(Event::Dead { id: id(7), exited: true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_seen_joining_and_dying_by_another_through_lmdb() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::lmdb(directory.path(), lmdb::Options::default()).unwrap();
    a_process_is_seen_joining_and_dying(store, directory.path().as_os_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_seen_joining_and_dying_by_another_through_foundationdb() {
    let test =
        concat!(module_path!(), "::a_process_is_seen_joining_and_dying_by_another_through_foundationdb");
    if on_foundationdb(test) {
        let scratch = Scratch::new(Limits::default());
        a_process_is_seen_joining_and_dying(scratch.empty(), scratch.name().as_ref()).await;
    }
}
