#![allow(unused)]
use fdbray::prelude::*;

#[remote]
struct State;

fn main() {}
