//! The driver and the workers of the tests that look at a whole program: `app SCENARIO ARGUMENTS`.

use fdbray_tests::cluster::scenario;
use std::process::ExitCode;

#[fdbray::main]
async fn main() -> fdbray::Result<ExitCode> {
    // A driver says so at once; a worker never does.
    println!("driver {}", std::process::id());
    scenario().await
}
