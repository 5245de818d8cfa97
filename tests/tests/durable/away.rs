//! A control plane that is away.

use crate::{PROGRAM, file};
use fdbray_tests::{
    crash::Cluster,
    durable::{Look, notes_in},
};
use fdbray_worker::control::durable::Stage;
use std::{fs, path::Path};

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
