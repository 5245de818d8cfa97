//! What the tests with real processes share.

pub mod actors;
pub mod cluster;
pub mod crash;
pub mod durable;
pub mod objects;
