//! Durable futures, by real processes: what drivers see, and what becomes of them when anybody dies, stops, leaves, joins
//! late or is of another build. At the end of each test the store is looked at: everything in it agrees, and nothing is
//! left once all has been released.

use fdbray_tests::crash::Cluster;

#[path = "durable/api.rs"]
mod api;
#[path = "durable/away.rs"]
mod away;
#[path = "durable/clocks.rs"]
mod clocks;
#[path = "durable/joining.rs"]
mod joining;
#[path = "durable/killed.rs"]
mod killed;
#[path = "durable/leaving.rs"]
mod leaving;
#[path = "durable/places.rs"]
mod places;

/// The drivers and workers.
const PROGRAM: &str = env!("CARGO_BIN_EXE_durable_app");
/// Another build.
const OTHER: &str = env!("CARGO_BIN_EXE_durable_other");

/// A cluster that nobody has joined.
fn cluster() -> Cluster {
    Cluster::new(PROGRAM).env("CRASH_LOG", "warn")
}

/// A file in the cluster's directory, as text.
fn file(cluster: &Cluster, name: &str) -> String {
    cluster.file(name).display().to_string()
}
