#![allow(unused)]
use fdbray::prelude::*;
use std::borrow::Cow;

#[remote]
fn longest(words: Vec<&str>, title: Option<Cow<'_, str>>) -> (usize, &str) {
    (words.len(), "")
}

#[remote]
fn first(words: &[String]) -> &str {
    &words[0]
}

fn main() {}
