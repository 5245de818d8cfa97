#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[remote]
fn name(s: String) -> String {
    s
}

#[remote]
fn bytes(b: &[u8]) -> usize {
    b.len()
}

fn main() {
    let text: RemoteFuture<String> = name::remote("x");
    add::remote("one", 2);
    add::remote(1u32, 2);
    add::remote(&text, 2);
    name::remote(1);
    name::remote(Some("x"));
    bytes::remote("x");
    add::options().remote(1, "x");
    add::map((0..3).map(|i| (i, "x")));
}
