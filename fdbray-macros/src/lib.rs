//! The attribute macros of fdbray; use them through the crate `fdbray`.
