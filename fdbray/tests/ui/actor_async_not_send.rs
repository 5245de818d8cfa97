#![allow(unused)]
use fdbray::prelude::*;
use std::rc::Rc;

struct Waits;

#[actor]
impl Waits {
    pub fn new() -> Self {
        Waits
    }
    pub async fn wait(&mut self) {
        let local = Rc::new(0);
        std::future::ready(()).await;
        drop(local);
    }
}

fn main() {}
