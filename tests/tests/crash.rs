//! Real processes under SIGKILL, SIGSTOP, aborts, full disks and peers that talk nonsense: nothing hangs, nothing is lost,
//! nothing is done twice that must not be, and nothing stays behind.

#[path = "crash/drivers.rs"]
mod drivers;
#[path = "crash/foundationdb.rs"]
mod foundationdb;
#[path = "crash/killed.rs"]
mod killed;
#[path = "crash/losses.rs"]
mod losses;
#[path = "crash/noise.rs"]
mod noise;
#[path = "crash/starting.rs"]
mod starting;
#[path = "crash/stopped.rs"]
mod stopped;
#[path = "crash/stores.rs"]
mod stores;

/// The drivers and workers of clusters that are more than one program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_crash_app");
