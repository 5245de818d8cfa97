//! Distributed futures for Rust.
