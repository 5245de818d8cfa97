#![allow(unused)]
use fdbray::prelude::*;

const MANY: &str = "many";

#[remote(cpus = MANY, retries = MANY)]
fn wrong() {}

fn main() {}
