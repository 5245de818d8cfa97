#![allow(unused)]
use fdbray::prelude::*;

struct Secret;

#[remote]
fn plain() -> Secret {
    Secret
}

#[remote]
fn fallible() -> Result<Secret, std::io::Error> {
    Ok(Secret)
}

fn main() {}
