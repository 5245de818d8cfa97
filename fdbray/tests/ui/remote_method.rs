#![allow(unused)]
use fdbray::prelude::*;

struct State;

impl State {
    #[remote]
    fn run(&self) {}
}

fn main() {}
