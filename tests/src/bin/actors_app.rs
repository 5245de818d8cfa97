//! The drivers and workers of the tests of actors that have a cluster of their own. What a driver does is told by its
//! arguments.

use std::process::ExitCode;

#[fdbray::main]
async fn main() -> ExitCode {
    fdbray_tests::crash::show_logs();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    fdbray_tests::actors::scenarios::play(&words).await;
    ExitCode::SUCCESS
}
