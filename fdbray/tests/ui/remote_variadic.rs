#![allow(unused)]
use fdbray::prelude::*;

#[remote]
unsafe extern "C" fn printf(format: String, ...) {}

fn main() {}
