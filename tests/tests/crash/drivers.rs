//! Drivers that are killed or leave, and what they leave behind: nothing.

use crate::PROGRAM;
use fdbray_tests::crash::{App, Cluster, all_gone, children_of, eventually, send, starts};
use rustix::process::Signal;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

fn entries(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until nothing of a private cluster is left in its directory or in shared memory.
fn nothing_stays(cluster: &Cluster) {
    let scratch = cluster.file("scratch");
    let what = || {
        let inside = entries(&scratch).into_iter().map(|name| (entries(&scratch.join(&name)), name));
        inside.map(|(inside, name)| format!("{name}: {inside:?}")).collect::<Vec<_>>()
    };
    let until = Instant::now() + Duration::from_secs(5);
    while !what().is_empty() {
        assert!(Instant::now() < until, "the scratch directory keeps {:?}", what());
        thread::sleep(Duration::from_millis(5));
    }
    let of_ours = |name: &&String| name.contains("fdbray");
    eventually(5, "nothing of ours is in shared memory", || {
        entries(Path::new("/dev/shm")).iter().find(of_ours).is_none().then_some(())
    });
}

fn busy(cluster: &Cluster, workers: usize) -> (App, Vec<u32>) {
    let mut driver = cluster.private(&["busy", &cluster.file("starts").display().to_string()]);
    driver.says(30, "busy");
    let children = children_of(driver.pid(), workers);
    (driver, children)
}

#[test]
fn when_a_driver_is_killed_its_busy_workers_go_and_nothing_stays() {
    let cluster = Cluster::new(PROGRAM).env("FDBRAY_WORKERS", 3).env("FDBRAY_CPUS", 2);
    let (mut driver, workers) = busy(&cluster, 3);
    driver.kill();
    all_gone(20, &workers);
    nothing_stays(&cluster);
}

#[test]
fn when_a_driver_is_killed_its_stopped_workers_go_too() {
    let cluster = Cluster::new(PROGRAM).env("FDBRAY_WORKERS", 3).env("FDBRAY_CPUS", 2);
    let (mut driver, workers) = busy(&cluster, 3);
    send(workers[0], Signal::STOP);
    send(workers[2], Signal::STOP);
    driver.kill();
    all_gone(20, &workers);
    nothing_stays(&cluster);
}

#[test]
fn a_driver_that_is_asked_to_end_takes_its_workers_with_it() {
    let cluster = Cluster::new(PROGRAM).env("FDBRAY_WORKERS", 2);
    let (mut driver, workers) = busy(&cluster, 2);
    driver.signal(Signal::TERM);
    assert!(!driver.ends(5).success());
    all_gone(20, &workers);
    nothing_stays(&cluster);
}

#[test]
fn a_driver_that_is_killed_while_it_starts_leaves_nothing() {
    let cluster = Cluster::new(PROGRAM).env("FDBRAY_WORKERS", 2);
    for millis in [1, 5, 10, 20, 40, 80] {
        let mut driver = cluster.private(&["busy", &cluster.file("starts").display().to_string()]);
        thread::sleep(Duration::from_millis(millis));
        let workers = fdbray_tests::crash::children(driver.pid());
        driver.kill();
        all_gone(20, &workers);
    }
    // What nobody was left to remove goes with the next start.
    let mut next = cluster.private(&["one-call"]);
    next.says(30, "value");
    next.succeeds(10);
    nothing_stays(&cluster);
}

#[test]
fn workers_of_a_shared_cluster_abandon_the_calls_of_a_driver_that_left_or_died() {
    let cluster = Cluster::new(PROGRAM);
    let file = cluster.file("starts").display().to_string();
    let _worker = cluster.worker(&["--cpus", "1"]);
    for kill in [false, true] {
        let mut driver = cluster.driver(&[if kill { "busy" } else { "abandons" }, &file]);
        // A sync function cannot be ended, so the one that never ends is left out when the next driver needs its cpu.
        if kill {
            drop(driver);
            driver = cluster.driver(&["drains", &file]);
            driver.says(20, "submitted");
            driver.kill();
        } else {
            driver.says(20, "leaves");
            driver.succeeds(10);
        }
        let mut next = cluster.driver(&["one-call"]);
        next.says(30, "value");
        next.succeeds(10);
    }
    assert!(!starts(Path::new(&file)).is_empty());
}
