//! Programs as a whole: how they start and end, whatever their `main` does, and what they leave behind.

use crate::{app, by_hand};
use fdbray::Error;
use fdbray_tests::cluster::*;
use std::{fs, path::Path};

#[test]
fn a_main_that_returns_ends_its_program_well() {
    app(&["add"]).succeeds(30).says_after_driver(&["3"]);
}

#[test]
fn an_error_of_main_is_shown_with_its_function_and_fails_the_program() {
    app(&["fails"]).fails(30).complains(&["Error:", "refuses", "refused with code 7"]);
}

#[test]
fn a_panic_of_main_ends_the_program_though_work_is_pending() {
    let ended = app(&["panics"]).ends(30);
    assert_eq!(ended.status.code(), Some(101), "{ended}");
    ended.complains(&["the driver's own panic"]);
}

#[test]
fn a_program_that_exits_in_the_middle_takes_its_workers_with_it() {
    let (dir, token) = (tempfile::tempdir().unwrap(), token());
    let ended = app(&["exits"]).env("FDBRAY_TMPDIR", dir.path().display()).env(TOKEN, &token).ends(30);
    assert_eq!(ended.status.code(), Some(5), "{ended}");
    nothing_is_left(dir.path(), &token);
}

#[test]
fn when_main_returns_its_pending_work_is_dropped_and_its_exit_code_kept() {
    let (dir, token) = (tempfile::tempdir().unwrap(), token());
    let note = tempfile::tempdir().unwrap();
    let note = note.path().join("dropped").display().to_string();
    let ended =
        app(&["leaves work", &note]).env("FDBRAY_TMPDIR", dir.path().display()).env(TOKEN, &token).ends(30);
    assert_eq!(ended.status.code(), Some(7), "{ended}");
    assert!(
        ended.stdout.contains("a waiting thread: Err(\"the fdbray runtime of this process has ended\")"),
        "{ended}"
    );
    nothing_is_left(dir.path(), &token);
}

#[test]
fn after_a_shutdown_everything_ends_with_an_error_that_says_so() {
    app(&["shuts down"]).succeeds(30).says_after_driver(&[
        "before: 3",
        "pending: Shutdown",
        "call: Shutdown",
        "batch: Shutdown",
        "submit: Shutdown",
        "put: Shutdown",
        "again: nothing",
    ]);
}

#[test]
fn in_process_everything_happens_in_the_drivers_process() {
    let ended = app(&["where", "8"]).env("FDBRAY_IN_PROCESS", 1).succeeds(30);
    let pid = |start: &str| ended.stdout.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
    assert!(pid("driver ").is_some() && pid("driver ") == pid("pids "), "{ended}");
    let panicked = app(&["panic in process"]).env("FDBRAY_IN_PROCESS", 1).succeeds(30);
    assert!(panicked.stdout.contains("panics: Panicked"), "{panicked}");
    app(&["everything"]).env("FDBRAY_IN_PROCESS", 1).succeeds(60);
    app(&["shuts down"]).env("FDBRAY_IN_PROCESS", 1).succeeds(30);
}

#[test]
fn a_call_without_a_runtime_says_how_to_start_one() {
    // The test harness's own process has none.
    for error in [
        add::remote(1, 2).wait().unwrap_err(),
        add::map([(1, 2)]).remove(0).wait().unwrap_err(),
        add::options().cpus(2.0).remote(add::remote(1, 2), 1).wait().unwrap_err(),
        fdbray::put(&1).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Control { message, .. } if message.contains("#[fdbray::main]")),
            "{error:?}"
        );
    }
    assert!(fdbray::task::current().is_none());
}

#[test]
fn a_main_written_by_hand_runs_in_the_driver_only() {
    let (run, start) = (by_hand(&["run"]).succeeds(30), by_hand(&["start"]).succeeds(30));
    run.says(&["driver: 3"]);
    start.says(&[
        "driver: 3",
        "after: the fdbray runtime of this process has ended",
        "again: the fdbray runtime of this process was started before",
    ]);
    by_hand(&["own runtime"]).succeeds(30).says(&["driver: 3"]);
}

#[test]
fn a_main_written_by_hand_that_starts_nothing_has_typed_errors() {
    let ended = by_hand(&["without"]).succeeds(30);
    assert_eq!(ended.stdout.matches("`fdbray::Config`").count(), 2, "{ended}");
}

#[test]
fn a_worker_that_cannot_serve_does_not_go_on_in_a_main_written_by_hand() {
    let ended = by_hand(&["--worker", "--cluster", "lmdb:///proc/nowhere?cluster=x"]).fails(30);
    ended.says(&[]);
    ended.complains(&["Error:", "/proc/nowhere"]);
}

#[test]
fn a_task_knows_what_it_is() {
    app(&["contexts"]).succeeds(30).says_after_driver(&[
        "true 1 context true",
        "true 1 context_async true",
        "true",
    ]);
}

#[test]
fn after_a_run_every_table_is_empty_and_nothing_is_left_on_the_machine() {
    for workers in [1, 2] {
        let (dir, token) = (tempfile::tempdir().unwrap(), token());
        let run = app(&["everything"]).env("FDBRAY_WORKERS", workers).env("FDBRAY_CPUS", 2);
        let ended = run.env("FDBRAY_TMPDIR", dir.path().display()).env(TOKEN, &token).succeeds(60);
        assert!(ended.stdout.contains("driver is empty: yes\nworker is empty: yes\n"), "{ended}");
        assert_eq!(ended.stderr, "", "a run without trouble says nothing of its own");
        nothing_is_left(dir.path(), &token);
    }
}

/// A variable by which the processes of one run are known.
const TOKEN: &str = "CLUSTER_TEST_TOKEN";

fn token() -> String {
    fdbray::ProcessId::random().to_string()
}

/// Waits until the processes of a run are gone, and looks for files.
fn nothing_is_left(dir: &Path, token: &str) {
    let processes = || {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let has_token = |environment: Vec<u8>| String::from_utf8_lossy(&environment).contains(token);
        all.filter(|entry| fs::read(entry.path().join("environ")).is_ok_and(has_token)).count()
    };
    eventually(10, "the processes of the run are gone", || (processes() == 0).then_some(()));
    let left: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let shared = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let shared: Vec<_> =
        shared.map(|entry| entry.file_name()).filter(|n| n.to_string_lossy().contains("fdbray")).collect();
    assert!(shared.is_empty(), "{shared:?}");
}
