//! `#[fdbray::test]`: each test in a process of its own, whose verdict and output reach the harness.

use std::{
    env,
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Tests of this binary that ran in this process.
static RAN: AtomicUsize = AtomicUsize::new(0);

fn alone() {
    assert_eq!(RAN.fetch_add(1, Ordering::Relaxed), 0, "two tests in one process");
    assert_eq!(env::var("FDBRAY_TEST").as_deref(), Ok("driver"));
}

#[fdbray::test]
async fn runs_in_a_process_of_its_own() {
    alone();
}

#[fdbray::test(workers = 2, cpus = 3)]
async fn says_how_large_its_cluster_is() {
    alone();
    assert_eq!(env::var("FDBRAY_WORKERS").as_deref(), Ok("2"));
    assert_eq!(env::var("FDBRAY_CPUS").as_deref(), Ok("3"));
}

#[fdbray::test]
async fn may_return_a_result() -> fdbray::Result<()> {
    alone();
    let n: u8 = "7".parse().map_err(fdbray::Error::application)?;
    assert_eq!(n, 7);
    Ok(())
}

#[fdbray::test]
#[should_panic(expected = "expected \"é\"\nand more")]
async fn may_be_expected_to_panic() {
    alone();
    panic!("this is the expected \"é\"\nand more");
}

#[fdbray::test]
async fn runs_in_a_tokio_runtime() {
    alone();
    let on_another_thread = tokio::spawn(async { 5 }).await;
    assert_eq!(on_another_thread.unwrap(), 5);
}

mod inside {
    #[fdbray::test]
    async fn is_found_in_a_module() {
        super::alone();
    }
}

// The ones below fail; the tests at the end run them.

#[fdbray::test]
#[ignore = "fails"]
async fn panics() {
    println!("said before it failed");
    assert_eq!(1, 2, "numbers differ");
}

#[fdbray::test]
#[ignore = "fails"]
async fn returns_an_error() -> fdbray::Result<()> {
    Err(fdbray::Error::application("no luck"))
}

#[fdbray::test]
#[ignore = "fails"]
async fn returns_an_exit_code() -> ExitCode {
    ExitCode::from(42)
}

#[fdbray::test]
#[ignore = "fails"]
async fn aborts() {
    std::process::abort();
}

#[fdbray::test]
#[ignore = "fails"]
#[should_panic]
async fn does_not_panic() {}

/// The output of the harness when it runs one test that fails.
fn failure(name: &str) -> String {
    let mut harness = Command::new(env::current_exe().unwrap());
    harness.args(["--exact", "--include-ignored", name]).env_remove("FDBRAY_TEST");
    let output = harness.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("1 failed"), "{name} did not fail: {text}");
    text
}

#[test]
fn failures_are_reported_with_message_and_output() {
    let text = failure("panics");
    assert!(text.contains("said before it failed"), "{text}");
    assert!(text.contains("numbers differ"), "{text}");
    let text = failure("returns_an_error");
    assert!(text.contains("Error: no luck") && text.contains("exit status: 1"), "{text}");
    assert!(failure("returns_an_exit_code").contains("exit status: 42"));
    assert!(failure("aborts").contains("signal: 6"));
    failure("does_not_panic");
}

#[test]
fn a_worker_that_is_none_does_not_run_the_test() {
    let mut harness = Command::new(env::current_exe().unwrap());
    harness.args(["--exact", "--include-ignored", "--nocapture", "panics"]).env("FDBRAY_CHILD", "x");
    let output = harness.output().unwrap();
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("said before it failed"));
}
