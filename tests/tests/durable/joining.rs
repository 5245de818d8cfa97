//! Work that waits for a worker: for any, for one with a resource, for one of the right build.

use crate::{OTHER, cluster, file};
use fdbray_tests::{
    crash::eventually,
    durable::{Look, notes_in},
};
use fdbray_worker::control::durable::Stage;
use std::{fs, path::Path, thread, time::Duration};

#[test]
fn what_no_worker_can_run_waits_and_runs_when_a_fitting_one_joins() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let _worker = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["resource", "tpu", &notes]);
    driver.says(30, "submitted");
    // Those that can be run are.
    cluster.driver(&["submit", "5", &file(&cluster, "others"), "0", "wait"]).succeeds(40);
    let look = Look::at(&cluster);
    let record = look.by_key("needs");
    assert_eq!((record.state.stage(), record.claims), (Stage::Unclaimed, 0));
    let fitting = cluster.worker(&["--cpus", "1", "--resource", "tpu=1"]);
    driver.succeeds(60);
    assert_eq!(notes_in(Path::new(&notes))[0].pid, fitting.pid());
    look.leaves_nothing();
}

#[test]
fn a_worker_claims_no_more_slow_calls_than_it_runs_however_quick_others_of_their_shape_are() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let _worker = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["beside", &notes, &until]);
    driver.says(60, "submitted");
    let look = Look::at(&cluster);
    look.until(30, Stage::Claimed, 2);
    let _others = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "3"])];
    look.until(30, Stage::Claimed, 6);
    assert_eq!(look.count(Stage::Unclaimed), 4);
    fs::write(&until, "").unwrap();
    driver.succeeds(60);
    assert!(look.records().iter().all(|record| record.attempts == 1));
    look.leaves_nothing();
}

#[test]
fn twenty_thousand_calls_wait_for_the_first_worker() {
    let cluster = cluster();
    let mut driver = cluster.driver(&["many", "20000"]);
    driver.says(60, "submitted");
    let look = Look::at(&cluster);
    assert_eq!(look.count(Stage::Unclaimed), 20_000);
    let _worker = cluster.worker(&["--cpus", "2"]);
    driver.says(90, "all");
    driver.succeeds(20);
    look.leaves_nothing();
}

#[test]
fn a_build_that_lacks_a_function_leaves_its_calls_to_those_that_have_it() {
    let cluster = cluster();
    let mut other = cluster.worker_of(OTHER, &["--cpus", "2"]);
    let mut driver = cluster.driver(&["mixed"]);
    driver.says(30, "submitted");
    // What both have, of the same types, is done by the other build.
    driver.says(40, "same done");
    assert!(driver.log().contains("same N from the other"), "{}", driver.log());
    let look = Look::at(&cluster);
    thread::sleep(Duration::from_millis(500));
    let waiting: Vec<_> = look.records().into_iter().filter(|r| !r.settled()).collect();
    assert_eq!(waiting.len(), 2);
    for record in &waiting {
        assert_eq!((record.state.stage(), record.claims), (Stage::Unclaimed, 0), "{record:?}");
    }
    let _own = cluster.worker(&["--cpus", "1"]);
    driver.succeeds(60);
    // And the other way.
    let mut driver = cluster.driver_of(OTHER, &[]);
    driver.says(40, "only in other");
    assert_eq!(driver.says(40, "differs"), "text");
    driver.succeeds(20);
    // A rolling upgrade: the other build goes.
    other.kill();
    let mut driver = cluster.driver(&["mixed"]);
    driver.says(40, "same done");
    driver.succeeds(60);
    look.leaves_nothing();
}

#[test]
fn what_a_worker_of_another_build_had_claimed_is_done_by_those_that_have_the_function() {
    let cluster = cluster();
    let mut other = cluster.worker_of(OTHER, &["--cpus", "1"]);
    let mut driver = cluster.driver_of(OTHER, &["waits"]);
    driver.says(30, "submitted");
    let look = Look::at(&cluster);
    look.until(30, Stage::Claimed, 1);
    let _own = cluster.worker(&["--cpus", "1"]);
    other.kill();
    // It is returned by a worker that lacks it, and stays for one that has it.
    eventually(30, "the claim is returned", || {
        let record = &look.records()[0];
        (record.state.stage() == Stage::Unclaimed && record.died == 1).then_some(())
    });
    cluster.driver(&["submit", "3", &file(&cluster, "notes"), "0", "wait"]).succeeds(40);
    let _other = cluster.worker_of(OTHER, &["--cpus", "1"]);
    driver.says(40, "waited");
    driver.succeeds(20);
    look.leaves_nothing();
}
