#![allow(unused)]
#[fdbray::main]
struct Main;

fn main() {}
