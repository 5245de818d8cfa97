//! Where memory cannot be shared, large values are copied over the socket, and that is said once.

use fdbray_tests::crash::{App, Cluster};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crash_app");
/// Enough for the store and for threads, not for an arena of the default size.
const LITTLE: [&str; 2] = ["prlimit", "--as=6000000000"];

/// Large values go to the worker and from it; what it warns of is shown by the driver.
fn warns_once(mut driver: App, of: &str) {
    driver.says(60, "all");
    driver.succeeds(10);
    let said = driver.errors();
    assert_eq!(said.matches("its large values are copied over the socket").count(), 1, "{said}");
    assert!(said.contains(of), "{said}");
}

const LARGE: [&str; 3] = ["large", "1", "8388608"];

#[test]
fn who_cannot_map_the_memory_of_others_copies_their_large_values() {
    let mut cluster = Cluster::embedded(PROGRAM).env("FDBRAY_STORE_BYTES", "64MB");
    cluster.behind(&LITTLE);
    let _worker = cluster.worker(&["--cpus", "1"]);
    cluster.behind(&[]);
    let cluster = cluster.env("FDBRAY_STORE_BYTES", "");
    warns_once(cluster.driver(&LARGE), "cannot be read (the peer's arena could not be mapped");
}

#[test]
fn who_can_have_no_shared_memory_keeps_large_values_on_the_heap() {
    let mut cluster = Cluster::embedded(PROGRAM);
    let _worker = cluster.worker(&["--cpus", "1"]);
    cluster.behind(&LITTLE);
    warns_once(cluster.driver(&LARGE), "cannot be read (it handed over none)");
}
