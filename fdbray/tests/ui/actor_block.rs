#![allow(unused)]
use fdbray::prelude::*;

struct Generic<T>(T);

#[actor]
impl<T> Generic<T> {
    pub fn new(t: T) -> Self {
        Generic(t)
    }
}

struct Instance<T>(T);

#[actor]
impl Instance<u8> {
    pub fn new(t: u8) -> Self {
        Instance(t)
    }
}

struct Dropped;

#[actor]
impl Drop for Dropped {
    fn drop(&mut self) {}
}

trait Named {}

#[actor]
impl dyn Named {
    pub fn get(&self) {}
}

#[actor(max_restarts = 2)]
impl Dropped {
    pub fn new() -> Self {
        Dropped
    }
}

#[actor]
struct NoBlock;

fn main() {}
