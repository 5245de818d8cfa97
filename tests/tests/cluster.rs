//! Whole clusters of real processes: what programs see of calls, failures, output, starting, joining and leaving.

use fdbray_tests::cluster::Run;

#[path = "cluster/binaries.rs"]
mod binaries;
#[path = "cluster/data.rs"]
mod data;
#[path = "cluster/ending.rs"]
mod ending;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/futures.rs"]
mod futures;
#[path = "cluster/invocations.rs"]
mod invocations;
#[path = "cluster/joined.rs"]
mod joined;
#[path = "cluster/large.rs"]
mod large;
#[path = "cluster/limits.rs"]
mod limits;
#[path = "cluster/nesting.rs"]
mod nesting;
#[path = "cluster/output.rs"]
mod output;
#[path = "cluster/programs.rs"]
mod programs;

/// The program `app`.
fn app(args: &[&str]) -> Run {
    Run::new(env!("CARGO_BIN_EXE_app")).args(args)
}

/// The program `by_hand`.
fn by_hand(args: &[&str]) -> Run {
    Run::new(env!("CARGO_BIN_EXE_by_hand")).args(args)
}
