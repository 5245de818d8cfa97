#![allow(unused)]
struct Secret;

fn main() {
    let _ = fdbray::put(&Secret);
}
