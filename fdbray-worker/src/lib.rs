//! The runtime inside every fdbray process: it owns, schedules, moves and stores bytes and knows no user type.
//!
//! [`runtime::enter`] is the way in. Applications depend on the crate `fdbray`, which turns typed values into the
//! bytes that this crate moves.

pub mod actors;
pub mod cell;
pub mod config;
pub mod control;
pub mod core;
pub mod error;
pub mod exec;
pub mod handle;
pub mod id;
pub mod net;
pub mod objects;
pub mod options;
pub mod payload;
pub mod registry;
pub mod runtime;
pub mod template;
