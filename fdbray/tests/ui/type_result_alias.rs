#![allow(unused)]
use fdbray::prelude::*;

type Fallible<T> = Result<T, std::fmt::Error>;

#[remote]
fn hidden() -> Fallible<u8> {
    Ok(1)
}

fn main() {}
