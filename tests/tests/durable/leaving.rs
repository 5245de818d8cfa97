//! Workers that are stopped for so long that they are given up, and workers that leave in order.

use crate::{cluster, file};
use fdbray_tests::{
    crash::eventually,
    durable::{Look, notes_in},
};
use fdbray_worker::control::durable::{Stage, State};
use rustix::process::Signal;
use std::{fs, path::Path};

#[test]
fn a_worker_that_was_stopped_completes_nothing_that_others_have_and_comes_back_as_a_new_process() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let stopped = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["waits", "4", &notes, &until]);
    driver.says(30, "submitted");
    eventually(30, "calls run", || (notes_in(Path::new(&notes)).len() == 2).then_some(()));
    let look = Look::at(&cluster);
    let claimers = |look: &Look| {
        let by = |state: &State| match state {
            State::Claimed(claim) => Some(claim.by),
            State::Realized(realized) => Some(realized.by),
            _ => None,
        };
        look.records()
            .iter()
            .filter_map(|record| by(&record.state))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = claimers(&look).pop_first().unwrap();
    let other = cluster.worker(&["--cpus", "2"]);
    eventually(30, "the other worker runs the rest", || {
        (notes_in(Path::new(&notes)).len() == 4).then_some(())
    });
    stopped.signal(Signal::STOP);
    eventually(30, "it is declared dead", || (!look.members().contains(&before)).then_some(()));
    // The other's calls end, and then it runs those of the stopped one, which wakes up with what it believes is its own.
    eventually(30, "its claims are returned", || (!claimers(&look).contains(&before)).then_some(()));
    stopped.signal(Signal::CONT);
    fs::write(&until, "").unwrap();
    driver.says(60, "all");
    driver.succeeds(20);
    assert_eq!(look.count(Stage::Realized), 4);
    assert!(!claimers(&look).contains(&before), "nothing was completed by the one that had been given up");
    let died: Vec<u32> = look.records().iter().map(|record| record.died).collect();
    assert_eq!(died.iter().sum::<u32>(), 2, "{died:?}");
    // The other one leaves: whatever comes now is done by the new incarnation.
    drop(other);
    cluster.driver(&["many", "50"]).succeeds(60);
    let after = notes_in(Path::new(&notes)).len();
    assert!(after <= 6, "{after} starts");
    eventually(30, "the woken one is a new member", || {
        look.members().into_iter().find(|member| *member != before)
    });
    look.leaves_nothing();
}

#[test]
fn a_worker_that_is_told_to_leave_ends_what_it_runs_and_leaves_the_rest() {
    let cluster = cluster().env("CRASH_LOG", "info");
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let mut leaving = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["waits", "6", &notes, &until]);
    driver.says(30, "submitted");
    eventually(30, "calls run", || (notes_in(Path::new(&notes)).len() == 2).then_some(()));
    leaving.signal(Signal::TERM);
    eventually(10, "it is leaving", || leaving.errors().contains("claims no more").then_some(()));
    fs::write(&until, "").unwrap();
    leaving.succeeds(30);
    let look = Look::at(&cluster);
    assert_eq!(look.count(Stage::Realized), 2, "what ran was completed");
    assert_eq!(look.count(Stage::Unclaimed), 4, "it took on nothing more");
    let _other = cluster.worker(&["--cpus", "2"]);
    driver.says(60, "all");
    driver.succeeds(20);
    assert!(
        look.records().iter().all(|record| (record.attempts, record.died) == (1, 0)),
        "no attempt was wasted"
    );
    look.leaves_nothing();
}

#[test]
fn workers_that_leave_under_load_lose_nothing_and_waste_no_attempt() {
    let cluster = cluster();
    let mut driver = cluster.driver(&["many", "5000"]);
    driver.says(60, "submitted");
    let look = Look::at(&cluster);
    for round in 1..=3 {
        let mut leaving = cluster.worker(&["--cpus", "1"]);
        let some = round * 500;
        eventually(60, "calls have ended", || (look.count(Stage::Realized) > some).then_some(()));
        leaving.signal(Signal::TERM);
        leaving.succeeds(60);
        assert_eq!(look.count(Stage::Claimed), 0);
    }
    let _last = cluster.worker(&["--cpus", "1"]);
    driver.says(90, "all");
    driver.succeeds(20);
    assert!(
        look.records().iter().all(|record| (record.attempts, record.died) == (1, 0)),
        "no attempt was wasted"
    );
    look.leaves_nothing();
}

#[test]
fn a_worker_that_may_not_wait_gives_back_what_it_runs() {
    let cluster = cluster().env("FDBRAY_GRACE_PERIOD", "500ms");
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let mut leaving = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["waits", "3", &notes, &until]);
    driver.says(30, "submitted");
    eventually(30, "calls run", || (notes_in(Path::new(&notes)).len() == 2).then_some(()));
    leaving.signal(Signal::TERM);
    leaving.ends(30);
    let look = Look::at(&cluster);
    look.until(10, Stage::Unclaimed, 3);
    let _other = cluster.worker(&["--cpus", "2"]);
    fs::write(&until, "").unwrap();
    driver.says(60, "all");
    driver.succeeds(20);
    let mut attempts: Vec<u32> = look.records().iter().map(|record| record.attempts).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 2]);
    look.leaves_nothing();
}
