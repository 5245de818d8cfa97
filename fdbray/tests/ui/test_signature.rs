#![allow(unused)]
#[fdbray::test(worker = 2, cpus = "all")]
#[test]
fn wrong(n: u8) {}

#[fdbray::test]
struct Wrong;

fn main() {}
