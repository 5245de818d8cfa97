#![allow(unused)]
use fdbray::prelude::*;

#[remote(
    cpu = 2,
    cpus = -1,
    gpus = "one",
    memory = "2 gigs",
    resources(tpu = "all"),
    retries,
    retry_errors = 1.5,
    logs = 1,
    name = "",
    stub = "other",
    retries = 3
)]
fn wrong() {}

#[remote(cpus: 2)]
fn colon() {}

#[remote(resources = 3, durable = true)]
fn list() {}

fn main() {}
