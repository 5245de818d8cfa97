#![allow(unused)]
use fdbray::prelude::*;

struct Counter(i64);

#[actor]
impl Counter {
    pub fn new(start: i64) -> Self {
        Counter(start)
    }
    pub fn add(&mut self, k: i64) -> i64 {
        self.0 += k;
        self.0
    }
    fn local(&self) {}
}

fn main() {
    let counter = Counter::remote("one");
    counter.add(1.5);
    counter.add();
    counter.local();
}
