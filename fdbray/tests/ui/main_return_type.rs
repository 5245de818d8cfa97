#![allow(unused)]
#[fdbray::main]
async fn main() -> u8 {
    1
}
