//! Actors that the cluster owns: they outlive who made them, and move when their worker dies or leaves.

use super::{LIMIT, cluster};
use fdbray::{Error, prelude::*};
use fdbray_tests::{actors::*, crash::eventually, durable::Look};
use rustix::process::Signal;
use std::fs;

fn lines(file: &std::path::Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn one_lives_without_handles_until_it_is_stopped() {
    drop(Till::options().name("till").detached().remote(1, ""));
    let till = async {
        loop {
            if let Ok(till) = TillHandle::named("till").await {
                return till;
            }
        }
    };
    let till = within(LIMIT, "it is found", till).await;
    within(LIMIT, "it is ready", till.ready()).await.unwrap();
    assert_eq!(within(LIMIT, "an addition", till.add(2)).await.unwrap(), 3);
    drop(till);
    let till = within(LIMIT, "it is found", TillHandle::named("till")).await.unwrap();
    assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 3);
    let added = till.add(1);
    within(LIMIT, "it stops", till.stop()).await.unwrap();
    assert_eq!(within(LIMIT, "what was called before", added).await.unwrap(), 4);
    for _ in 0..2 {
        let error = within(LIMIT, "a later call", till.total()).await.unwrap_err();
        assert!(has_ended(&error), "{error:?}");
        let error = within(LIMIT, "a later question", till.ready()).await.unwrap_err();
        assert!(has_ended(&error) && error.to_string().contains("stopped"), "{error:?}");
    }
    free("till").await;
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn one_ends_when_it_is_killed_wherever_it_is() {
    let till = Till::options().detached().remote(1, "");
    assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 1);
    within(LIMIT, "it is killed", till.kill()).await.unwrap();
    let error = within(LIMIT, "a call", till.total()).await.unwrap_err();
    assert!(has_ended(&error), "{error:?}");
    let error = within(LIMIT, "whether it lives", till.ready()).await.unwrap_err();
    assert!(has_ended(&error) && error.to_string().contains("killed"), "{error:?}");
    // Before anybody could make it.
    let till = Till::options().detached().resource("nowhere", 1).remote(1, "");
    let call = till.add(1);
    within(LIMIT, "it is killed", till.kill()).await.unwrap();
    let error = within(LIMIT, "a call", call).await.unwrap_err();
    assert!(has_ended(&error), "{error:?}");
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn one_that_was_killed_before_its_arguments_were_there_is_not_made_later() {
    let till = Till::options().name("till").detached().remote_of(late_total::remote(40));
    let killed = till.kill();
    drop(till);
    within(LIMIT, "it is killed", killed).await.unwrap();
    // What comes after it has been made.
    let next = Till::options().detached().remote_of(late_total::remote(1));
    assert_eq!(within(LIMIT, "the total of another", next.total()).await.unwrap(), 1);
    within(LIMIT, "it stops", next.stop()).await.unwrap();
    free("till").await;
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn one_is_made_where_the_value_is_that_it_is_to_be_with() {
    for n in 0..6 {
        let value = stays::remote();
        let with = || Till::options().detached().with(&value);
        let got = with().name(format!("{n}")).get_or_create(1, "");
        for till in [with().remote(1, ""), within(LIMIT, "it is got", got).await.unwrap()] {
            let pid = within(LIMIT, "its process", till.pid()).await.unwrap();
            assert_eq!(pid, within(LIMIT, "the value", &value).await.unwrap()[0]);
            within(LIMIT, "it stops", till.stop()).await.unwrap();
        }
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn one_ends_when_it_is_killed_though_its_argument_never_comes() {
    let till = Till::options().name("till").detached().remote_of(never::remote());
    let call = till.total();
    within(LIMIT, "it is killed", till.kill()).await.unwrap();
    let error = within(LIMIT, "a call", call).await.unwrap_err();
    assert!(has_ended(&error) && error.to_string().contains("killed"), "{error:?}");
    let error = within(LIMIT, "whether it lives", till.ready()).await.unwrap_err();
    assert!(has_ended(&error), "{error:?}");
    let next = Till::options().name("till").detached().get_or_create(3, "");
    let next = within(LIMIT, "its name is free", next).await.unwrap();
    within(LIMIT, "that stops", next.stop()).await.unwrap();
    // A durable call likewise, of which nobody has a handle any more.
    let durable = late_total::options().durable().remote(never::remote());
    durable.cancel();
    let error = within(LIMIT, "it is cancelled", durable).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn its_handles_go_anywhere_and_into_durable_calls() {
    let till = Till::options().detached().remote(1, "");
    assert_eq!(within(LIMIT, "in a task", add_to::remote(&till, 2)).await.unwrap(), 3);
    let durable = add_to::options().durable().remote(&till, 3);
    assert_eq!(within(LIMIT, "in a durable call", durable).await.unwrap(), 6);
    // As the argument of another one's constructor, whose value comes late.
    let other = Till::options().detached().remote_of(late_total::remote(40));
    assert_eq!(within(LIMIT, "its total", other.total()).await.unwrap(), 40);
    let error = within(LIMIT, "of itself", till.awaits_itself(till.clone())).await.unwrap_err();
    assert!(error.to_string().contains("awaits"), "{error}");
    let owned = Till::remote(1, "");
    let error =
        within(LIMIT, "an owned one", add_to::options().durable().remote(&owned, 1)).await.unwrap_err();
    assert!(error.to_string().contains("`detached`"), "{error}");
    for till in [till, other] {
        within(LIMIT, "it stops", till.stop()).await.unwrap();
    }
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn one_is_made_again_elsewhere_when_its_worker_dies_as_often_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made");
    let till = Till::options().name("till").detached().max_restarts(1).remote(1, file.to_str().unwrap());
    assert_eq!(within(LIMIT, "an addition", till.add(1)).await.unwrap(), 2);
    let first = within(LIMIT, "its process", till.pid()).await.unwrap();
    send(first, Signal::KILL);
    assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 1, "a fresh state");
    let second = within(LIMIT, "its process", till.pid()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(lines(&file), 2);
    let found = within(LIMIT, "it has its name", TillHandle::named("till")).await.unwrap();
    assert_eq!(within(LIMIT, "an addition", found.add(1)).await.unwrap(), 2);
    send(second, Signal::KILL);
    let error = within(LIMIT, "once and no more", till.total()).await.unwrap_err();
    assert!(has_ended(&error) && error.to_string().contains("max_restarts"), "{error:?}");
    free("till").await;
    assert_eq!(lines(&file), 2);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn one_that_breaks_is_made_again_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made");
    let till = Till::options().detached().max_restarts(1).remote(1, file.to_str().unwrap());
    let error = within(LIMIT, "it breaks", till.breaks()).await.unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
    assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 1);
    assert_eq!(lines(&file), 2);
    let error = within(LIMIT, "it breaks again", till.breaks()).await.unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error:?}");
    let error = within(LIMIT, "a later call", till.total()).await.unwrap_err();
    assert!(has_ended(&error), "{error:?}");
}

#[test]
fn one_outlives_who_made_it_and_every_worker() {
    let cluster = cluster();
    let mut worker = cluster.worker(&["--cpus", "1"]);
    let file = cluster.file("made");
    cluster.driver(&["till-make", "1", file.to_str().unwrap()]).succeeds(60);
    let mut add = cluster.driver(&["till-add", "5"]);
    assert_eq!(add.says(60, "total "), "6");
    add.succeeds(60);
    worker.kill();
    let mut add = cluster.driver(&["till-add", "1"]);
    let _next = cluster.worker(&["--cpus", "1"]);
    assert_eq!(add.says(60, "total "), "2");
    add.succeeds(60);
    assert_eq!(lines(&file), 2);
    Look::at(&cluster).check();
}

#[test]
fn one_is_called_on_while_its_workers_die_one_after_the_other() {
    let cluster = cluster();
    let mut workers = vec![cluster.worker(&["--cpus", "1"])];
    let file = cluster.file("made");
    cluster.driver(&["till-make", "0", file.to_str().unwrap()]).succeeds(60);
    let mut caller = cluster.driver(&["till-calls", "300"]);
    for round in 1..=3 {
        eventually(60, "some calls", || (caller.said_so_far("call ") >= round * 40).then_some(()));
        workers.push(cluster.worker(&["--cpus", "1"]));
        workers.remove(0).kill();
        eventually(60, "it is made again", || (lines(&file) > round as usize).then_some(()));
    }
    caller.succeeds(60);
    Look::at(&cluster).check();
}

#[test]
fn one_with_checkpoints_counts_each_call_once_whoever_dies() {
    let cluster = cluster();
    let mut workers = vec![cluster.worker(&["--cpus", "1"])];
    let mut callers: Vec<_> = (0..3).map(|_| cluster.driver(&["vault-adds", "400"])).collect();
    for round in 1..=3 {
        for caller in &mut callers {
            eventually(60, "some calls", || (caller.said_so_far("call ") >= round * 50).then_some(()));
        }
        workers.push(cluster.worker(&["--cpus", "1"]));
        workers.remove(0).kill();
    }
    for caller in &mut callers {
        caller.says(60, "added");
        caller.succeeds(60);
    }
    let mut total = cluster.driver(&["vault-total"]);
    assert_eq!(total.says(60, "total "), format!("1200 in {}", workers[0].pid()));
    total.succeeds(60);
    Look::at(&cluster).check();
}

#[test]
fn one_moves_without_spending_a_restart_when_its_worker_leaves_in_order() {
    let cluster = cluster();
    let worker = cluster.worker(&["--cpus", "1"]);
    let file = cluster.file("made");
    cluster.driver(&["till-make", "1", file.to_str().unwrap()]).succeeds(60);
    let next = cluster.worker(&["--cpus", "1"]);
    worker.signal(Signal::TERM);
    let mut add = cluster.driver(&["till-add", "1"]);
    assert_eq!(add.says(60, "total "), "2");
    add.succeeds(60);
    let look = Look::at(&cluster);
    let record = look.records().into_iter().find(|record| record.spec.actor.is_some()).unwrap();
    assert_eq!(record.restarts, 0);
    assert_eq!(lines(&file), 2);
    look.check();
    drop(next);
}

#[test]
fn one_that_is_made_while_its_worker_leaves_moves_on_at_once() {
    let cluster = cluster().env("FDBRAY_GRACE_PERIOD", "1h");
    let mut worker = cluster.worker(&["--cpus", "1"]);
    let (file, gate) = (cluster.file("made"), cluster.file("gate"));
    let mut maker = cluster.driver(&["till-behind", file.to_str().unwrap(), gate.to_str().unwrap()]);
    eventually(60, "it is begun", || (lines(&file) == 1).then_some(()));
    worker.signal(Signal::TERM);
    // Long enough for most runs to be about what they are about; the others pass, too.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let _next = cluster.worker(&["--cpus", "1"]);
    fs::write(&gate, "").unwrap();
    worker.succeeds(60);
    assert_eq!(maker.says(60, "total "), "1");
    maker.succeeds(60);
    let look = Look::at(&cluster);
    let record = look.records().into_iter().find(|record| record.spec.actor.is_some()).unwrap();
    assert_eq!((record.restarts, record.died), (0, 0));
    look.check();
}
