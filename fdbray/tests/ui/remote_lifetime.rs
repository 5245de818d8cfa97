#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn named<'a>(text: &'a str) -> usize {
    text.len()
}

#[remote]
fn forever(text: &'static str) -> usize {
    text.len()
}

fn main() {}
