#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn doubled(items: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    items.map(|n| n * 2)
}

fn main() {}
