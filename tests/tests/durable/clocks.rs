//! Machines whose clocks do not agree, as far as one machine can have such: processes in time namespaces, whose clocks
//! since the start are ten days apart. (Nothing here reads the time of day.)

use crate::{cluster, file};
use fdbray_tests::{
    crash::{eventually, skipped},
    durable::{Look, notes_in},
};
use fdbray_worker::control::durable::Stage;
use std::{path::Path, process::Command};

/// Ten days later, for `unshare`.
const LATER: [&str; 7] = ["unshare", "--time", "--monotonic", "864000", "--boottime", "864000", "--"];

#[test]
fn processes_whose_clocks_are_days_apart_agree_on_deadlines_and_judge_each_other() {
    let name = "processes_whose_clocks_are_days_apart_agree_on_deadlines_and_judge_each_other";
    let tried = Command::new(LATER[0]).args(&LATER[1..]).arg("true").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return skipped(name, "this process may not make time namespaces (`unshare --time`)");
    }
    let mut cluster = cluster();
    let (notes, until) = (file(&cluster, "notes"), file(&cluster, "until"));
    let mut now = cluster.worker(&["--cpus", "1"]);
    cluster.behind(&LATER);
    let later = cluster.worker(&["--cpus", "1"]);
    let look = Look::at(&cluster);
    // Whoever moves the cluster's clock, moves it by one.
    let from = look.now();
    cluster.driver(&["ends", &cluster.path().display().to_string()]).succeeds(90);
    assert!(look.now() < from + 600, "{} ticks", look.now() - from);
    let mut driver = cluster.driver(&["waits", "4", &notes, &until]);
    driver.says(30, "submitted");
    eventually(30, "both run", || (notes_in(Path::new(&notes)).len() == 2).then_some(()));
    assert_eq!(look.members().len(), 3, "nobody takes another for one that started at another time");
    // The death of one is seen by the other.
    now.kill();
    std::fs::write(&until, "").unwrap();
    driver.says(60, "all");
    driver.succeeds(20);
    assert!(!later.errors().contains("declared dead"), "{}", later.log());
    assert_eq!(look.count(Stage::Claimed), 0);
    look.leaves_nothing();
}
