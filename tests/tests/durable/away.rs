//! A control plane that is away.

use crate::{PROGRAM, file};
use fdbray_tests::{
    crash::{Cluster, FoundationDb, eventually},
    durable::{Look, notes_in},
};
use fdbray_worker::control::durable::Stage;
use std::{fs, path::Path, thread, time::Duration};

#[test]
fn while_the_store_is_away_durable_calls_end_with_an_error_and_what_ran_is_completed_later() {
    let cluster = Cluster::embedded(PROGRAM).env("CRASH_LOG", "warn");
    let notes = file(&cluster, "notes");
    let _worker = cluster.worker(&["--cpus", "2"]);
    let mut driver = cluster.driver(&["away", &notes]);
    driver.says(30, "ready");
    let mut holder = cluster.other(&["hold-store", &cluster.url(), "40"]);
    holder.says(20, "holds");
    fs::write(format!("{notes}.away"), "").unwrap();
    let refused = driver.says(60, "refused");
    assert!(refused.contains("lock") || refused.contains("control plane"), "{refused}");
    driver.succeeds(90);
    assert_eq!(notes_in(Path::new(&notes)).len(), 1, "it ran once");
    let look = Look::at(&cluster);
    assert_eq!(look.count(Stage::Claimed), 0);
    look.leaves_nothing();
}

#[test]
fn foundationdb_is_killed_and_started_under_load_and_every_call_has_its_value() {
    let name = "foundationdb_is_killed_and_started_under_load_and_every_call_has_its_value";
    let Some(mut database) = FoundationDb::start(name) else { return };
    let cluster = Cluster::at(PROGRAM, database.url()).env("CRASH_LOG", "warn");
    let workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["many", "5000"]);
    let look = Look::at(&cluster);
    for round in 1..=3 {
        eventually(90, "calls have ended", || (look.count(Stage::Realized) > round * 500).then_some(()));
        database.kill();
        thread::sleep(Duration::from_secs(1));
        database.run();
    }
    driver.says(120, "all");
    driver.succeeds(20);
    assert!(
        look.records().iter().all(|record| (record.attempts, record.died) == (1, 0)),
        "no attempt was wasted"
    );
    for worker in &workers {
        assert!(!worker.errors().contains("declared dead"), "{}", worker.log());
    }
    look.leaves_nothing();
}
