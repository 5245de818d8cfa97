//! The driver and the workers of the tests of crashes that need more than one program.

fn main() {}
