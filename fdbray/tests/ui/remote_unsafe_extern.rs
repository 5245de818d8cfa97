#![allow(unused)]
use fdbray::prelude::*;

#[remote]
unsafe fn unchecked() {}

#[remote]
extern "C" fn foreign() {}

fn main() {}
