#![allow(unused)]
use fdbray::prelude::*;

struct Unsendable;

struct Actor;

#[actor]
impl Actor {
    pub fn new(a: Unsendable) -> Self {
        Actor
    }
    pub fn takes(&self, own: Self) {}
    pub fn gives(&self) -> Vec<Unsendable> {
        vec![]
    }
    pub fn fails(&self) -> Result<(), Unsendable> {
        Ok(())
    }
}

fn main() {}
