#![allow(unused)]
use fdbray::prelude::*;

#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[remote]
fn total(v: Vec<i64>) -> i64 {
    v.into_iter().sum()
}

async fn f() -> fdbray::Result<()> {
    let x = add::remote(1, 2);
    x.await?;
    x.await?;
    let futures: Vec<_> = (0..3).map(|i| add::remote(i, i)).collect();
    total::remote(&futures);
    add::remote(1, 2)?;
    let n: i64 = add::remote(1, 2);
    Ok(())
}

fn main() {}
