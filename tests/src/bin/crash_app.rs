//! The drivers and workers of the tests of crashes. What a driver does is told by its first argument.

use fdbray_tests::crash::scenarios;
use std::process::{ExitCode, exit};

fn main() -> ExitCode {
    fdbray_tests::crash::show_logs();
    // A worker of a private cluster that never comes as far as that.
    if let (Some(code), Some(_)) = (std::env::var_os("CRASH_AT_START"), std::env::var_os("FDBRAY_CHILD")) {
        exit(code.to_str().and_then(|code| code.parse().ok()).unwrap_or(1));
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("hold-store") => scenarios::hold_store(&args[1..]),
        _ => app::main(),
    }
}

mod app {
    use super::{ExitCode, scenarios};

    #[fdbray::main]
    pub(super) async fn main() -> ExitCode {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        scenarios::play(&words).await;
        ExitCode::SUCCESS
    }
}
