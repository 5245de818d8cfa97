#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn bump(n: &mut u64) {
    *n += 1;
}

fn main() {}
