#![allow(unused)]
use fdbray::prelude::*;

#[remote(cpu = 2, retries = "many")]
unsafe fn wrong<T>(a: &mut u8, b: Option<&str>) -> ! {
    loop {}
}

fn main() {}
