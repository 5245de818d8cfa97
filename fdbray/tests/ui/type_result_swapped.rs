#![allow(unused)]
use fdbray::prelude::*;

mod swapped {
    pub type Result<E, T> = std::result::Result<T, E>;
}

#[remote]
fn other_way_round() -> swapped::Result<String, u8> {
    Ok(1)
}

fn main() {}
