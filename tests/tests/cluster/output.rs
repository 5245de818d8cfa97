//! What remote code prints and logs: seen in the driver's terminal with its worker and function, unless turned off.

use crate::app;
use fdbray_tests::cluster::*;

/// The functions' names, cut to their last part, before what they said.
fn said(output: &str) -> Vec<String> {
    let line = |line: &str| {
        let (from, text) = line.strip_prefix('(')?.split_once(") ")?;
        let (functions, worker) = from.split_once(' ')?;
        assert_eq!(worker.len(), 4, "{line}");
        let functions: Vec<_> = functions.split('|').filter_map(|name| name.rsplit("::").next()).collect();
        let text = text.replace("fdbray_tests::cluster::functions: ", "");
        Some(format!("{}: {text}", functions.join("|")))
    };
    output.lines().filter_map(line).collect()
}

#[test]
fn what_remote_code_prints_and_logs_shows_in_the_drivers_terminal() {
    let ended = app(&["talks"]).env("FDBRAY_WORKERS", 1).succeeds(30);
    assert_eq!(
        said(&ended.stdout),
        ["talks: stdout of a", "talks_async: stdout of b", "talks: stdout of last"]
    );
    let mut errors = said(&ended.stderr);
    errors.sort();
    let expected = [
        "talks: INFO tracing of a",
        "talks: INFO tracing of last",
        "talks: stderr of a",
        "talks: stderr of last",
        "talks_async: stderr of b",
    ];
    assert_eq!(errors, expected, "{ended}");
    assert!(
        !ended.stdout.contains("quiet") && !ended.stderr.contains("quiet"),
        "turned off for the call: {ended}"
    );
}

#[test]
fn output_is_turned_off_for_the_whole_program() {
    let ended = app(&["talks"]).env("FDBRAY_LOG_TO_DRIVER", false).succeeds(30);
    assert!(!ended.stdout.contains("std") && ended.stderr.is_empty(), "{ended}");
}

#[test]
fn output_of_a_shared_worker_shows_in_the_drivers_terminal_and_in_its_own() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_app"));
    let mut worker = cluster.worker(&[]);
    let ended = app(&["talks"]).env("FDBRAY_CLUSTER", cluster.url()).succeeds(30);
    assert!(said(&ended.stdout).contains(&"talks_async: stdout of b".to_owned()), "{ended}");
    worker.says(10, "stdout of a");
    let quiet =
        app(&["talks"]).env("FDBRAY_CLUSTER", cluster.url()).env("FDBRAY_LOG_TO_DRIVER", 0).succeeds(30);
    assert_eq!(quiet.stdout.lines().count(), 1, "only what the driver itself says: {quiet}");
}
