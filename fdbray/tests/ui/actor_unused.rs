#![deny(unused_must_use)]
use fdbray::prelude::*;

struct Counter(i64);

#[actor]
impl Counter {
    pub fn new(start: i64) -> Self {
        Counter(start)
    }
    pub fn add(&mut self, k: i64) {
        self.0 += k;
    }
}

fn main() {
    Counter::remote(1);
    Counter::options().cpus(1);
    let counter = Counter::remote(1);
    counter.ready();
    counter.add(1);
}
