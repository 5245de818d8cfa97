#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn traced(n: u8, #[cfg(feature = "trace")] id: u64) -> u8 {
    n
}

fn main() {}
