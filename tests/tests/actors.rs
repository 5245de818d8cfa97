//! Actors in real processes: what runs in which order and beside what, how they come to be and end, and what is left of
//! them when a worker dies.

#[path = "actors/away.rs"]
mod away;
#[path = "actors/detached.rs"]
mod detached;
#[path = "actors/dying.rs"]
mod dying;
#[path = "actors/ending.rs"]
mod ending;
#[path = "actors/holding.rs"]
mod holding;
#[path = "actors/lasting.rs"]
mod lasting;
#[path = "actors/limits.rs"]
mod limits;
#[path = "actors/making.rs"]
mod making;
#[path = "actors/names.rs"]
mod names;
#[path = "actors/order.rs"]
mod order;
#[path = "actors/others.rs"]
mod others;
#[path = "actors/together.rs"]
mod together;

use fdbray_tests::crash::Cluster;

/// A cluster that nobody has joined.
fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_durable_app")).env("CRASH_LOG", "warn")
}

/// Seconds within which everything has to happen.
const LIMIT: u64 = 60;
