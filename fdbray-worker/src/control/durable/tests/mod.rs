//! The transitions, one by one, on both engines; under faults in `storm`.

mod actors;
mod checker;
pub(super) mod help;
mod limits;
mod places;
mod steps;
mod storm;
mod waits;
