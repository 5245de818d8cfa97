#![allow(unused)]
use fdbray::prelude::*;

mod game {
    pub enum Result {
        Win,
    }
}

#[remote]
fn not_a_result() -> game::Result {
    game::Result::Win
}

fn main() {}
