#![allow(unused)]
use fdbray::prelude::*;
use std::rc::Rc;

#[remote]
async fn held() -> u8 {
    let n = Rc::new(1);
    std::future::ready(()).await;
    *n
}

fn main() {}
