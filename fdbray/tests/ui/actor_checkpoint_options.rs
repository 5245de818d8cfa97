#![allow(unused)]
use fdbray::prelude::*;

struct Rarely;

#[actor(checkpoint = "rarely")]
impl Rarely {
    pub fn new() -> Self {
        Rarely
    }
}

struct Never;

#[actor(pub(crate), checkpoint = 0)]
impl Never {
    pub fn new() -> Self {
        Never
    }
}

struct Twice;

#[actor(checkpoint, checkpoint = 5)]
impl Twice {
    pub fn new() -> Self {
        Twice
    }
}

struct OnMethod;

#[actor]
impl OnMethod {
    #[actor(checkpoint)]
    pub fn new() -> Self {
        OnMethod
    }
}

struct Nonsense;

#[actor(pub, 3)]
impl Nonsense {
    pub fn new() -> Self {
        Nonsense
    }
}

fn main() {}
