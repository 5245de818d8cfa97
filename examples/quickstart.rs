//! The first program: remote functions, futures passed to calls, many at once, and an error that keeps its type.
//!
//! `cargo run --release --example quickstart` starts a private cluster: a worker process of this same binary, and an
//! embedded control plane. Both are gone when the program ends.

use fdbray::prelude::*;
use serde::{Deserialize, Serialize};

/// Still an ordinary function: `add(1, 2)` runs here, `add::remote(1, 2)` runs on a worker.
#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// Remote functions may be async and may fail.
#[remote]
async fn divide(x: i64, y: i64) -> Result<i64, DivideError> {
    x.checked_div(y).ok_or(DivideError { x, y })
}

/// An error that is serializable reaches the caller as itself.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{x} cannot be divided by {y}")]
struct DivideError {
    x: i64,
    y: i64,
}

#[fdbray::main]
async fn main() -> fdbray::Result<()> {
    // A call gives a future at once. It can be an argument before its value exists.
    let three = add::remote(1, 2);
    let seven = divide::remote(add::remote(&three, 11), 2);
    println!("(1 + 2 + 11) / 2 = {}", seven.await?);

    // Many calls as one batch; `wait` hands back the first to finish, `settle` all of them.
    let squares = add::map((0..1000).map(|i| (i * i, 0)));
    let (first, rest) = fdbray::wait(squares, 10).await;
    println!("{} of the calls finished, {} may still run", first.len(), rest.len());
    let mut sum = 0;
    for square in fdbray::settle(first.into_iter().chain(rest)).await {
        sum += square?;
    }
    println!("the squares below 1000 add up to {sum}");

    // The error arrives with its type, even through a call that only needed the value.
    match add::remote(divide::remote(1, 0), 1).await {
        Err(Error::Application(e)) if e.is::<DivideError>() => {
            let DivideError { x, y } = e.downcast()?;
            println!("as it should: {x} / {y} has no value");
        }
        other => println!("that was not to be expected: {other:?}"),
    }
    Ok(())
}
