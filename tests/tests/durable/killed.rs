//! Drivers and workers that are killed, one by one and all together.

use crate::{cluster, file};
use fdbray_tests::{
    crash::{App, eventually},
    durable::{Look, Note, notes_in},
};
use fdbray_worker::control::durable::{Record, Stage};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Waits until so many calls have left notes.
fn noted(seconds: u64, file: &str, count: usize) -> Vec<Note> {
    eventually(seconds, &format!("{count} notes"), || {
        Some(notes_in(Path::new(file))).filter(|notes| notes.len() >= count)
    })
}

/// The deaths that each call has seen, by the number of calls: every attempt but the last ended with a process.
fn deaths(records: &[Record]) -> BTreeMap<u32, usize> {
    let mut deaths = BTreeMap::new();
    for record in records {
        assert_eq!(record.attempts, record.died + 1, "{record:?}");
        *deaths.entry(record.died).or_default() += 1;
    }
    deaths
}

#[test]
fn what_was_submitted_is_done_though_the_driver_was_killed() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let mut driver = cluster.driver(&["submit", "50", &notes, "20", "wait"]);
    driver.says(30, "submitted");
    driver.kill();
    let _workers = [cluster.worker(&["--cpus", "2"]), cluster.worker(&["--cpus", "2"])];
    let look = Look::at(&cluster);
    look.until(40, Stage::Realized, 50);
    cluster.driver(&["attach", "50"]).succeeds(30);
    assert_eq!(noted(1, &notes, 50).len(), 50, "each ran once");
    look.leaves_nothing();
}

#[test]
fn a_driver_that_is_killed_while_it_waits_for_a_chain_is_not_needed() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let _workers = [cluster.worker(&["--cpus", "2"]), cluster.worker(&["--cpus", "2"])];
    let mut driver = cluster.driver(&["chain", "10", &notes]);
    driver.says(30, "submitted");
    driver.kill();
    cluster.driver(&["attach", "10"]).succeeds(40);
    let order: Vec<u64> = noted(1, &notes, 10).iter().map(|note| note.n).collect();
    assert_eq!(order, (0..10).collect::<Vec<_>>());
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn others_take_over_what_a_killed_worker_ran() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let mut workers = [cluster.worker(&["--cpus", "2"]), cluster.worker(&["--cpus", "2"])];
    let mut driver = cluster.driver(&["waits", "8", &notes, &until]);
    driver.says(30, "submitted");
    let ran = noted(30, &notes, 4);
    let killed = ran.iter().filter(|note| note.pid == workers[0].pid()).count();
    assert_eq!(killed, 2, "{ran:?}");
    workers[0].kill();
    fs::write(&until, "").unwrap();
    driver.says(60, "all");
    driver.succeeds(20);
    let look = Look::at(&cluster);
    assert_eq!(deaths(&look.records()), BTreeMap::from([(0, 6), (1, 2)]));
    let again = notes_in(Path::new(&notes)).iter().filter(|note| note.attempt == 2).count();
    assert_eq!(again, 2, "a task is told its attempt");
    look.leaves_nothing();
}

#[test]
fn with_ten_thousand_queued_a_worker_is_killed_and_each_call_has_its_value() {
    let cluster = cluster();
    let mut workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["many", "10000"]);
    let look = Look::at(&cluster);
    eventually(60, "some calls have ended", || (look.count(Stage::Realized) > 500).then_some(()));
    workers[0].kill();
    driver.says(90, "all");
    driver.succeeds(20);
    let deaths = deaths(&look.records());
    assert!(deaths.keys().all(|died| *died <= 1), "{deaths:?}");
    assert!(deaths.get(&1).is_none_or(|died| *died <= 500), "only what it had claimed: {deaths:?}");
    look.leaves_nothing();
}

#[test]
fn when_all_workers_are_killed_and_started_again_the_work_completes() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let start = || [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut workers = start();
    let mut driver = cluster.driver(&["waits", "6", &notes, &until]);
    driver.says(30, "submitted");
    noted(30, &notes, 2);
    workers.iter_mut().for_each(App::kill);
    fs::write(&until, "").unwrap();
    let _workers = start();
    driver.says(60, "all");
    driver.succeeds(20);
    let look = Look::at(&cluster);
    assert_eq!(deaths(&look.records()), BTreeMap::from([(0, 4), (1, 2)]));
    look.leaves_nothing();
}

#[test]
fn when_all_processes_are_killed_and_workers_start_again_all_values_are_there() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let start = || [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut workers = start();
    let mut driver = cluster.driver(&["waits", "6", &notes, &until]);
    driver.says(30, "submitted");
    noted(30, &notes, 2);
    driver.kill();
    workers.iter_mut().for_each(App::kill);
    fs::write(&until, "").unwrap();
    let _workers = start();
    // As soon as it is noticed that they are dead, nobody waiting.
    let look = Look::at(&cluster);
    look.until(40, Stage::Realized, 6);
    cluster.driver(&["attach", "6"]).succeeds(30);
    assert_eq!(deaths(&look.records()), BTreeMap::from([(0, 4), (1, 2)]));
    look.leaves_nothing();
}

#[test]
fn a_call_without_retries_ends_with_its_worker_and_says_so_to_whoever_attaches() {
    let cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let mut worker = cluster.worker(&["--cpus", "1"]);
    let mut driver = cluster.driver(&["once", &notes, &until]);
    driver.says(30, "submitted");
    noted(30, &notes, 1);
    worker.kill();
    let _other = cluster.worker(&["--cpus", "1"]);
    driver.says(40, "died");
    driver.succeeds(20);
    let mut attached = cluster.driver(&["attach-id", "once"]);
    assert!(!attached.ends(30).success());
    assert!(attached.errors().contains("died"), "{}", attached.log());
    assert_eq!(notes_in(Path::new(&notes)).len(), 1, "it never started twice");
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn quick_calls_without_retries_that_waited_at_a_killed_worker_run_elsewhere() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let mut worker = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["once-each", "1000", &notes]);
    driver.says(60, "submitted");
    noted(30, &notes, 50);
    worker.kill();
    let _other = cluster.worker(&["--cpus", "2"]);
    let died = driver.says(60, "died");
    driver.succeeds(20);
    let ran: Vec<u64> = notes_in(Path::new(&notes)).iter().map(|note| note.n).collect();
    assert_eq!(ran.iter().collect::<BTreeSet<_>>().len(), ran.len(), "none started twice");
    let died: Vec<u64> = died.split_whitespace().map(|n| n.parse().unwrap()).collect();
    // Started in the store before it runs, so that each of its CPUs may take one along that it had not begun.
    let unseen = died.iter().filter(|n| !ran.contains(n)).count();
    assert!(unseen <= 2, "{died:?} ended with a worker that ran {ran:?}");
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn a_large_value_is_computed_again_when_the_worker_that_kept_it_was_killed() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let mut worker = cluster.worker(&["--cpus", "1"]);
    cluster.driver(&["submit-large", "3", &notes, "200000"]).succeeds(40);
    assert_eq!(noted(1, &notes, 3).len(), 3);
    worker.kill();
    let _other = cluster.worker(&["--cpus", "1"]);
    cluster.driver(&["attach-large", "3", "200000"]).succeeds(60);
    assert_eq!(notes_in(Path::new(&notes)).len(), 6, "each was computed once more");
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn a_chain_goes_on_though_every_worker_is_killed_in_turn() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let start = || cluster.worker(&["--cpus", "1"]);
    let mut workers = [start(), start()];
    let mut driver = cluster.driver(&["chain", "30", &notes]);
    driver.says(30, "submitted");
    for round in 1..=4 {
        noted(30, &notes, round * 6);
        let next = &mut workers[round % 2];
        next.kill();
        *next = start();
    }
    driver.says(60, "all");
    driver.succeeds(20);
    let look = Look::at(&cluster);
    assert_eq!(look.count(Stage::Realized), 59);
    let mut ran: Vec<u64> = notes_in(Path::new(&notes)).iter().map(|note| note.n).collect();
    assert!(ran.is_sorted(), "{ran:?}");
    ran.dedup();
    assert_eq!(ran, (0..30).collect::<Vec<_>>());
    look.leaves_nothing();
}

#[test]
fn a_call_that_kills_its_worker_spends_its_own_retries_and_not_its_neighbours() {
    let cluster = cluster();
    let notes = file(&cluster, "notes");
    let workers: Vec<App> = (0..5).map(|_| cluster.worker(&["--cpus", "1"])).collect();
    let mut driver = cluster.driver(&["killer", "1000", &notes]);
    driver.says(60, "submitted");
    driver.says(90, "all");
    driver.succeeds(20);
    let look = Look::at(&cluster);
    let by_deaths: BTreeMap<u32, usize> = look.records().iter().fold(BTreeMap::new(), |mut all, record| {
        *all.entry(record.died).or_default() += 1;
        all
    });
    assert_eq!(
        by_deaths.iter().filter(|(died, _)| **died > 1).collect::<Vec<_>>(),
        [(&4, &1)],
        "{by_deaths:?}"
    );
    assert_eq!(notes_in(Path::new(&notes)).len(), 4, "the killer's attempts");
    drop(workers);
    look.leaves_nothing();
}
