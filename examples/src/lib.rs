//! What examples share: a data set and a small network. The examples are beside this folder.
//!
//! Also compiles the code in the README, as a test of its documentation.

pub mod digits;
pub mod network;
pub mod random;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
