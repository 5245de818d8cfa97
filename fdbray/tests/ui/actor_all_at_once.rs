#![allow(unused)]
use fdbray::prelude::*;

struct Wrong(u8);

#[actor]
impl Wrong {
    #[actor(cpu = 2, max_restarts = "often", concurrency = 3)]
    pub fn new(a: &mut u8) -> Self {
        Wrong(*a)
    }
    pub fn options() {}
    fn remote(&self) {}
    pub fn clone(&self) -> u8 {
        self.0
    }
    pub fn generic<T>(&self, t: T) {}
    pub fn prints(&self, t: impl ToString) {}
    pub fn borrows(&self) -> &u8 {
        &self.0
    }
    pub fn named<'a>(&'a self) -> Option<&'a u8> {
        None
    }
    pub unsafe fn promises(&mut self) -> ! {
        loop {}
    }
    #[actor(cpus = 2, durable, retries = -1)]
    #[actor(logs = false)]
    pub fn add(&mut self) {}
    #[actor(concurrency = 2)]
    pub fn alone(&mut self) {}
    #[actor(concurrency = 0, name = "")]
    pub fn never(&self) {}
    #[actor]
    pub fn bare(&self) {}
    #[actor(retries = 2)]
    fn local(&self) {}
}

fn main() {}
