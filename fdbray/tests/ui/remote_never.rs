#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn serve() -> ! {
    loop {}
}

fn main() {}
