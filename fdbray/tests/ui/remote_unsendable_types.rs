#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn apply(f: fn(u8) -> u8, p: *const u8, d: Box<dyn Fn()>) {}

fn main() {}
