#![deny(unused_must_use)]
use fdbray::prelude::*;

#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

async fn f() {
    add::options().cpus(2.0);
    add::options().submit(1, 2);
    fdbray::settle([add::remote(1, 2)]);
}

fn main() {}
