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
fn a_hundred_thousand_calls_wait_for_the_first_worker() {
    let cluster = cluster();
    let mut driver = cluster.driver(&["many", "100000"]);
    driver.says(180, "submitted");
    let look = Look::at(&cluster);
    assert_eq!(look.count(Stage::Unclaimed), 100_000);
    let _worker = cluster.worker(&["--cpus", "2"]);
    driver.says(300, "all");
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
fn a_value_that_another_build_keeps_is_an_error_that_names_the_ways_out() {
    let cluster = cluster();
    let _other = cluster.worker_of(OTHER, &["--cpus", "1"]);
    let mut driver = cluster.driver(&["other-build", "200000"]);
    let refused = driver.says(60, "refused");
    assert!(refused.contains("durable_value") && refused.contains("allow_mixed_binaries"), "{refused}");
    driver.succeeds(60);
    let look = Look::at(&cluster);
    assert!(
        look.records().iter().all(|record| (record.attempts, record.died) == (1, 0)),
        "it was there all the time"
    );
    look.leaves_nothing();
}

#[test]
fn a_record_of_a_newer_program_is_refused_by_name_and_the_rest_goes_on() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let mut driver = cluster.driver(&["submit", "20", &notes, "0"]);
    driver.says(30, "submitted");
    driver.succeeds(20);
    let look = Look::at(&cluster);
    let first = look.by_key("note-0").id;
    let before = look.set_version(first, 99);
    // With room for one at a time, and that one in front of it.
    let mut worker = cluster.worker(&["--cpus", "1"]);
    look.until(60, Stage::Realized, 19);
    let mut attached = cluster.driver(&["attach-id", "note-0"]);
    assert!(!attached.ends(30).success());
    let said = attached.errors();
    assert!(said.contains("version 99") && said.contains("upgrade"), "{said}");
    cluster.driver(&["list-newer", &first.to_string()]).succeeds(30);
    // One that is claimed by a process that dies waits for a program that can read it, and holds up nobody.
    look.set_version(first, before);
    look.until(30, Stage::Realized, 20);
    let mut held = cluster.driver(&["once", &notes, &until]);
    held.says(30, "submitted");
    look.until(30, Stage::Claimed, 1);
    let claimed = look.by_key("once").id;
    let before = look.set_version(claimed, 99);
    worker.kill();
    let _other = cluster.worker(&["--cpus", "1"]);
    cluster.driver(&["many", "20"]).succeeds(60);
    look.set_version(claimed, before);
    held.says(60, "died");
    held.succeeds(20);
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
