#![allow(unused)]
use fdbray::prelude::*;

struct NotAnError;

#[remote]
fn fallible() -> Result<u8, NotAnError> {
    Ok(1)
}

fn main() {}
