//! Actors in real processes: what runs in which order and beside what, how they come to be and end, and what is left of
//! them when a worker dies.

#[path = "actors/dying.rs"]
mod dying;
#[path = "actors/ending.rs"]
mod ending;
#[path = "actors/holding.rs"]
mod holding;
#[path = "actors/lasting.rs"]
mod lasting;
#[path = "actors/making.rs"]
mod making;
#[path = "actors/order.rs"]
mod order;
#[path = "actors/together.rs"]
mod together;

/// Seconds within which everything has to happen.
const LIMIT: u64 = 60;
