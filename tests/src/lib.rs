//! What the tests with real processes share.

pub mod crash;
