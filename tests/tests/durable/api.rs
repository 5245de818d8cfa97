//! The API, as one driver and those who attach to its futures see it.

use crate::{cluster, file};
use fdbray_tests::{
    crash::Cluster,
    durable::{Look, notes_in},
};
use fdbray_worker::control::durable::Stage;

/// Plays scenarios on a cluster of two workers.
fn plays(scenario: impl Fn(&Cluster) -> Vec<String>) {
    let cluster = cluster();
    let _workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "2"])];
    let words = scenario(&cluster);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cluster.driver(&words).succeeds(60);
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn values_are_small_or_kept_by_their_worker_or_wholly_in_the_store() {
    plays(|_| vec!["values".into()]);
}

#[test]
fn futures_are_arguments_of_durable_and_of_ordinary_calls() {
    plays(|_| vec!["arguments".into()]);
}

#[test]
fn errors_downcast_pass_on_and_are_tried_again_as_the_options_say() {
    plays(|cluster| vec!["errors".into(), file(cluster, "notes")]);
}

#[test]
fn a_key_stands_for_one_call_until_it_is_released() {
    plays(|_| vec!["keys".into()]);
}

#[test]
fn calls_are_cancelled_and_have_deadlines() {
    plays(|cluster| vec!["ends".into(), cluster.path().display().to_string()]);
}

#[test]
fn what_is_over_the_limit_is_refused_alone() {
    plays(|_| vec!["limits".into()]);
}

#[test]
fn another_process_attaches_by_key_and_by_id_and_gets_all() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let _worker = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["submit", "10", &notes, "0"]);
    let id = driver.says(30, "submitted");
    driver.succeeds(20);
    cluster.driver(&["attach", "10"]).succeeds(30);
    let mut by_id = cluster.driver(&["attach-id", &id]);
    assert_eq!(by_id.says(30, "value"), "0");
    by_id.succeeds(20);
    let look = Look::at(&cluster);
    assert_eq!(look.count(Stage::Realized), 10);
    assert!(look.records().iter().all(|record| record.attempts == 1));
    cluster.driver(&["release", "10"]).succeeds(30);
    let mut gone = cluster.driver(&["attach", "1"]);
    assert!(!gone.ends(30).success());
    assert!(gone.errors().contains("there is no durable future"), "{}", gone.log());
    look.leaves_nothing();
}

#[test]
fn with_one_cpu_the_higher_priority_runs_first() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let mut driver = cluster.driver(&["priorities", &notes]);
    driver.says(30, "submitted");
    let _worker = cluster.worker(&["--cpus", "1"]);
    driver.succeeds(60);
    let order: Vec<u64> = notes_in(notes.as_ref()).iter().map(|note| note.n).collect();
    assert_eq!(order, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn many_calls_depend_on_one() {
    plays(|_| vec!["sum-many".into(), "1000".into()]);
}

#[test]
fn who_awaits_what_somebody_else_removes_hears_of_it() {
    let cluster = cluster();
    let mut driver = cluster.driver(&["released-elsewhere", "100"]);
    driver.says(30, "submitted");
    let look = Look::at(&cluster);
    for record in look.records() {
        look.cancel_and_release(record.id);
    }
    driver.succeeds(90);
    look.leaves_nothing();
}

#[test]
fn members_and_durable_futures_are_listed() {
    plays(|_| vec!["list".into()]);
}
