//! The decoders. What a target decodes it also uses, as its caller would: displays an error, walks a list.

use crate::Target;

pub mod control;
pub mod core;
pub mod error;
pub mod exec;
pub mod net;
pub mod payload;

/// Every target.
pub fn all() -> Vec<Target> {
    [control::TARGETS, core::TARGETS, error::TARGETS, exec::TARGETS, net::TARGETS, payload::TARGETS].concat()
}
