//! Large values in shared memory: read in place by the processes of a host, and given back when nobody reads them.

#[path = "objects/refused.rs"]
mod refused;
#[path = "objects/sharing.rs"]
mod sharing;
