//! The runtime inside every fdbray process: it owns, schedules, moves and stores bytes and knows no user type.
pub mod config;
pub mod control;
pub mod id;
