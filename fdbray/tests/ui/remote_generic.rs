#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn largest<T: Ord>(items: Vec<T>) -> Option<T>
where
    T: Clone,
{
    items.into_iter().max()
}

fn main() {}
