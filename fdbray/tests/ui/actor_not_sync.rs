#![allow(unused)]
use fdbray::prelude::*;
use std::cell::Cell;

struct Shared(Cell<u8>);

#[actor]
impl Shared {
    pub fn new() -> Self {
        Shared(Cell::new(0))
    }
    pub fn get(&self) -> u8 {
        self.0.get()
    }
}

fn main() {}
