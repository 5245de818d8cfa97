#![allow(unused)]
#[fdbray::main]
async fn start() {}
