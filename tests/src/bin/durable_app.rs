//! The drivers and workers of the tests of durable futures. What a driver does is told by its first argument.

use fdbray_tests::{crash, durable};
use std::process::ExitCode;

fn main() -> ExitCode {
    crash::show_logs();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("hold-store") => crash::scenarios::hold_store(&args[1..]),
        _ => app::main(),
    }
}

mod app {
    use super::{ExitCode, durable};

    #[fdbray::main]
    pub(super) async fn main() -> ExitCode {
        if let Err(error) = durable::scenario().await {
            eprintln!("{error:?}");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}
