//! Names of actors: one actor each, whoever asks, until it ends.

use super::{LIMIT, cluster};
use fdbray::{Error, cluster::actors, prelude::*};
use fdbray_tests::actors::*;
use rustix::process::Signal;
use std::fs;

#[fdbray::test(workers = 2, cpus = 1)]
async fn an_actor_is_found_by_its_name() {
    let made = Till::options().name("till").remote(5, "");
    assert_eq!(within(LIMIT, "its total", made.total()).await.unwrap(), 5);
    let found = within(LIMIT, "it is found", TillHandle::named("till")).await.unwrap();
    assert_eq!(within(LIMIT, "an addition", found.add(2)).await.unwrap(), 7);
    assert_eq!(within(LIMIT, "its total", made.total()).await.unwrap(), 7);
    let listed = within(LIMIT, "the names", actors()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "till");
    assert!(listed[0].type_name.ends_with("::Till"), "{}", listed[0].type_name);
    assert!(listed[0].owner.is_some());
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_name_is_free_again_when_its_actor_has_ended() {
    for n in 0..20 {
        // Stopped, killed, and let go of.
        let till = Till::options().name("till").get_or_create(n, "");
        let till = within(LIMIT, "a new one", till).await.unwrap();
        assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), n);
        match n % 3 {
            0 => within(LIMIT, "it stops", till.stop()).await.unwrap(),
            1 => within(LIMIT, "it is killed", till.kill()).await.unwrap(),
            _ => {
                drop(till);
                // Before that is noticed it can be found, and lives on.
                free("till").await;
            }
        }
    }
    free("till").await;
    let error = within(LIMIT, "nobody", TillHandle::named("till")).await.unwrap_err();
    assert!(matches!(&error, Error::NoSuchActor { name, .. } if name == "till"), "{error:?}");
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn who_asks_at_once_gets_the_same_actor() {
    let asked: Vec<_> =
        (0..20).map(|n| tokio::spawn(Till::options().name("till").get_or_create(n * 1_000, ""))).collect();
    let mut tills = Vec::new();
    for till in asked {
        tills.push(within(LIMIT, "it is got", till).await.unwrap().unwrap());
    }
    let mut totals = Vec::new();
    for till in &tills {
        totals.push(within(LIMIT, "an addition", till.add(1)).await.unwrap());
    }
    let first = totals[0];
    assert_eq!(totals, (first..first + 20).collect::<Vec<_>>());
    drop(tills);
    free("till").await;
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_name_is_refused_by_what_stands_against_it() {
    let till = Till::options().name("taken").remote(1, "");
    within(LIMIT, "it is made", till.ready()).await.unwrap();
    let error = within(LIMIT, "another type", DeskHandle::named("taken")).await.unwrap_err();
    let Error::OtherActor { name, expected, found, .. } = &error else { panic!("{error:?}") };
    assert!(name == "taken" && expected.ends_with("::Desk") && found.ends_with("::Till"), "{error}");
    let error =
        within(LIMIT, "another type", Desk::options().name("taken").get_or_create()).await.unwrap_err();
    assert!(matches!(error, Error::OtherActor { .. }), "{error:?}");
    for desk in [Desk::options().name("taken").remote(), Desk::options().name("taken").detached().remote()] {
        for error in [
            within(LIMIT, "a call", desk.number()).await.unwrap_err(),
            within(LIMIT, "whether it is ready", desk.ready()).await.unwrap_err(),
        ] {
            let Error::NameTaken { name, by, .. } = &error else { panic!("{error:?}") };
            assert!(name == "taken" && by.ends_with("::Till"), "{error}");
        }
    }
    for name in [String::new(), "x".repeat(257), "a\0b".to_owned()] {
        for desk in [Desk::options(), Desk::options().detached()] {
            let error = within(LIMIT, "no name", desk.name(name.clone()).get_or_create()).await.unwrap_err();
            assert!(error.to_string().contains("cannot be the name of an actor"), "{error}");
        }
    }
    let error = within(LIMIT, "without a name", Desk::options().get_or_create()).await.unwrap_err();
    assert!(error.to_string().contains("needs a `name`"), "{error}");
    assert_eq!(within(LIMIT, "the first one lives", till.total()).await.unwrap(), 1);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn one_that_cannot_be_made_has_no_name() {
    for options in [Till::options(), Till::options().detached()] {
        let till = options.clone().name("none").remote(-3, "");
        let error = within(LIMIT, "it is not made", till.ready()).await.unwrap_err();
        assert!(matches!(&error, Error::Application(e) if e.to_string().contains('3')), "{error:?}");
        drop(till);
        free("none").await;
        let till = within(LIMIT, "another one", options.name("none").get_or_create(3, "")).await.unwrap();
        assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 3);
        within(LIMIT, "it stops", till.stop()).await.unwrap();
        free("none").await;
    }
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn one_is_got_or_made_of_durable_futures_that_the_cluster_does_not_have_yet() {
    for _ in 0..10 {
        let total = late_total::options().durable().remote(40);
        let till = Till::options().name("till").detached().get_or_create_of(total);
        let till = within(LIMIT, "it is got or created", till).await.unwrap();
        assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 40);
        within(LIMIT, "it stops", till.stop()).await.unwrap();
        free("till").await;
    }
    // The handle of the second has another name in the cluster.
    for _ in 0..2 {
        let total = late_total::options().durable_as("total").remote(7);
        let till = Till::options().name("till").detached().get_or_create_of(&total);
        let till = within(LIMIT, "it is got or created", till).await.unwrap();
        assert_eq!(within(LIMIT, "its total", till.total()).await.unwrap(), 7);
        within(LIMIT, "it stops", till.stop()).await.unwrap();
        free("till").await;
    }
}

#[test]
fn what_was_asked_for_and_not_awaited_keeps_no_worker() {
    let cluster = cluster().env("FDBRAY_GRACE_PERIOD", "1h");
    let mut worker = cluster.worker(&["--cpus", "1"]);
    cluster.driver(&["till-forgotten"]).succeeds(60);
    worker.signal(Signal::TERM);
    worker.succeeds(60);
}

#[test]
fn ten_processes_that_ask_at_once_get_the_same_actor() {
    let cluster = cluster();
    let _worker = cluster.worker(&["--cpus", "1"]);
    let (file, gate) = (cluster.file("made"), cluster.file("gate"));
    let words = ["till-race", file.to_str().unwrap(), gate.to_str().unwrap()];
    let mut drivers: Vec<_> = (0..10).map(|_| cluster.driver(&words)).collect();
    for driver in &mut drivers {
        driver.says(60, "ready");
    }
    fs::write(&gate, "").unwrap();
    let mut totals: Vec<i64> =
        drivers.iter_mut().map(|driver| driver.says(60, "total ").trim().parse().unwrap()).collect();
    totals.sort_unstable();
    assert_eq!(totals, (1..=10).collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1, "it was made more than once");
    fs::write(gate.with_extension("end"), "").unwrap();
    drivers.iter_mut().for_each(|driver| driver.succeeds(60));
}

#[test]
fn a_name_goes_with_the_process_that_owned_its_actor() {
    let cluster = cluster();
    let _worker = cluster.worker(&["--cpus", "1"]);
    let end = cluster.file("end");
    let mut first = cluster.driver(&["till-owned", end.to_str().unwrap()]);
    first.says(60, "made");
    first.kill();
    // The first one is found dead within seconds.
    let mut second = cluster.driver(&["till-owned", end.to_str().unwrap()]);
    second.says(90, "made");
    fs::write(&end, "").unwrap();
    second.succeeds(60);
}
