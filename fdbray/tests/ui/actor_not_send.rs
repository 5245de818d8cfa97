#![allow(unused)]
use fdbray::prelude::*;
use std::rc::Rc;

struct Local(Rc<u8>);

#[actor]
impl Local {
    pub fn new() -> Self {
        Local(Rc::new(0))
    }
    pub fn get(&mut self) -> u8 {
        *self.0
    }
}

fn main() {}
