#![allow(unused)]
use fdbray::prelude::*;

struct Uncreated;

#[actor]
impl Uncreated {
    fn new() -> Self {
        Uncreated
    }
    pub fn maybe() -> Option<Self> {
        None
    }
    pub fn get(&self) {}
}

fn main() {}
