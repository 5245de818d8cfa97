//! Calls that are to run in a certain process, or beside a value.

use crate::{cluster, file};
use fdbray_tests::{crash::App, durable::Look};

#[test]
fn calls_run_where_they_must_and_where_they_prefer_to_unless_that_is_busy() {
    let cluster = cluster();
    let _workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    cluster.driver(&["places", &file(&cluster, "notes")]).succeeds(90);
    Look::at(&cluster).leaves_nothing();
}

#[test]
fn when_a_worker_is_gone_what_had_to_run_there_fails_and_the_rest_runs_elsewhere() {
    let cluster = cluster();
    let mut workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["places-gone", &file(&cluster, "notes")]);
    let pid: u32 = driver.says(60, "kill").parse().unwrap();
    workers.iter_mut().filter(|worker| worker.pid() == pid).for_each(App::kill);
    driver.succeeds(90);
    Look::at(&cluster).leaves_nothing();
}
