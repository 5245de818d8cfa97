#![allow(unused)]
#[fdbray::main(clusterr = "x", cluster)]
fn main(args: Vec<String>) {}
