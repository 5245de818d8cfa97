//! Whole clusters of real processes: what programs see of calls, failures, output, starting, joining and leaving.

#[path = "cluster/ending.rs"]
mod ending;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/futures.rs"]
mod futures;
#[path = "cluster/large.rs"]
mod large;
#[path = "cluster/nesting.rs"]
mod nesting;
