//! Compiles the code in the README, as a test of its documentation. The examples are beside this folder.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
