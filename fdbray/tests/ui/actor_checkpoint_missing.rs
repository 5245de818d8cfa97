#![allow(unused)]
use fdbray::{Checkpoint, prelude::*};

struct Counter(i64);

#[actor(pub(crate), checkpoint = 100)]
impl Counter {
    pub fn new() -> Self {
        Counter(0)
    }
    pub fn add(&mut self, k: i64) -> i64 {
        self.0 += k;
        self.0
    }
}

struct State;

struct Saves;

impl Checkpoint for Saves {
    type Saved = State;
    fn save(&self) -> fdbray::Result<State> {
        Ok(State)
    }
    fn restore(_: State) -> fdbray::Result<Self> {
        Ok(Saves)
    }
}

#[actor(checkpoint)]
impl Saves {
    pub fn new() -> Self {
        Saves
    }
}

fn main() {}
