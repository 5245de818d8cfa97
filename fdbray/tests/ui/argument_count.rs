#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

fn main() {
    add::remote(1);
    add::remote(1, 2, 3);
    add::map(0..3);
}
