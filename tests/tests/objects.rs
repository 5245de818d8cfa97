//! Large values in shared memory: read in place by the processes of a host, and given back when nobody reads them.

#[path = "objects/refused.rs"]
mod refused;
#[path = "objects/sharing.rs"]
mod sharing;
#[path = "objects/spilling.rs"]
mod spilling;

/// The drivers and workers of tests that are more than one program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_objects_app");
