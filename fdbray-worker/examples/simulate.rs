//! Runs the simulation over many seeds, or one with a trace.
//!
//! ```text
//! cargo run --release -p fdbray-worker --example simulate -- --seeds 2000 [--from 0x5000] [--counts]
//! cargo run --release -p fdbray-worker --example simulate -- --seed 0x1234 --trace
//! ```

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    process::ExitCode,
    time::{Instant, SystemTime},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        let said = arguments.get(at + 1)?;
        match said.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => said.parse().ok(),
        }
    };
    let trace = arguments.iter().any(|a| a == "--trace");
    if let Some(seed) = number("--seed") {
        println!("{:?}", simulation::run(seed, trace));
        return ExitCode::SUCCESS;
    }
    let count = number("--seeds").unwrap_or(100);
    let fresh = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos() as u64) & 0xffff_ffff_0000;
    let from = number("--from").unwrap_or(fresh);
    let begun = Instant::now();
    let (mut failed, mut tasks, mut events) = (Vec::new(), 0, 0);
    let mut counts = BTreeMap::new();
    for seed in from..from + count {
        match catch_unwind(|| simulation::run(seed, false)) {
            Ok(report) => {
                tasks += report.tasks;
                events += report.events;
                for (what, count) in report.counts {
                    *counts.entry(what).or_insert(0) += count;
                }
            }
            Err(_) => {
                eprintln!(
                    "to replay: cargo run --release -p fdbray-worker --example simulate -- --seed {seed:#x} --trace\n"
                );
                failed.push(seed);
            }
        }
    }
    println!(
        "{count} seeds from {from:#x}: {} failed, {tasks} tasks, {events} events, {:.1} s",
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if arguments.iter().any(|a| a == "--counts") {
        println!("{counts:#?}");
    }
    for seed in &failed {
        println!("failed: {seed:#x}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
