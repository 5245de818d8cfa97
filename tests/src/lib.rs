//! Nothing here: see the targets in Cargo.toml.
