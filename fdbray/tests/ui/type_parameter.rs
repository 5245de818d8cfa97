#![allow(unused)]
use fdbray::prelude::*;

struct Secret;

#[remote]
fn by_value(secret: Secret) {}

#[remote]
fn by_reference(secret: &Secret) {}

#[remote]
fn in_a_slice(secrets: &[Secret]) {}

fn main() {}
