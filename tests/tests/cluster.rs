//! Whole clusters of real processes: what programs see of calls, failures, output, starting, joining and leaving.

#[path = "cluster/futures.rs"]
mod futures;
