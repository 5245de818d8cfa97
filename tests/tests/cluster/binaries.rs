//! Different binaries in one cluster: refused on both sides with what differs, or let work function by function.

use crate::app;
use fdbray_tests::cluster::*;

const LIMIT: u64 = 30;
const OTHER: &str = env!("CARGO_BIN_EXE_other");

#[test]
fn two_binaries_that_differ_do_not_work_together_and_both_say_which_functions_differ() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_app"));
    let worker = cluster.worker(&[]);
    let driver = Run::new(OTHER).env("FDBRAY_CLUSTER", cluster.url()).env("FDBRAY_UNSCHEDULABLE_AFTER", "1s");
    let ended = driver.succeeds(LIMIT);
    for function in ["same", "differs", "only_in_other"] {
        assert!(ended.stdout.contains(&format!("{function}: Incompatible")), "{ended}");
    }
    for function in ["tests::differs", "tests::only_in_other", "durable::same"] {
        assert!(ended.stdout.contains(function), "nothing about {function}: {ended}");
        assert!(worker.errors().contains(function), "nothing about {function}: {}", worker.log());
    }
    assert!(worker.errors().matches("was turned away").count() <= 1, "said again: {}", worker.log());
    // Those of its own binary still work with it.
    app(&["add"]).env("FDBRAY_CLUSTER", cluster.url()).succeeds(LIMIT).says_after_driver(&["3"]);
}

#[test]
fn with_mixed_binaries_allowed_what_is_the_same_works_and_the_rest_says_what_is_wrong() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_app")).env("FDBRAY_ALLOW_MIXED_BINARIES", true);
    let _worker = cluster.worker(&[]);
    let driver =
        Run::new(OTHER).env("FDBRAY_CLUSTER", cluster.url()).env("FDBRAY_ALLOW_MIXED_BINARIES", true);
    let ended = driver.env("FDBRAY_UNSCHEDULABLE_AFTER", "1s").succeeds(LIMIT);
    assert!(ended.stdout.contains("same: 2\n"), "{ended}");
    assert!(ended.stdout.contains("differs: NotRegistered"), "{ended}");
    assert!(ended.stdout.contains("only_in_other: NotRegistered"), "{ended}");
}

#[test]
fn one_side_that_allows_mixed_binaries_is_not_enough() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_app")).env("FDBRAY_ALLOW_MIXED_BINARIES", true);
    let _worker = cluster.worker(&[]);
    let driver = Run::new(OTHER).env("FDBRAY_CLUSTER", cluster.url()).env("FDBRAY_UNSCHEDULABLE_AFTER", "1s");
    let ended = driver.succeeds(LIMIT);
    assert!(ended.stdout.contains("same: Incompatible"), "{ended}");
}
