//! Another build of `durable_app`, as in a rolling upgrade: it has one function of the same name and types, one that
//! differs, one of its own, and lacks the rest.

use fdbray::prelude::*;

/// `durable_app` has the same.
#[remote(name = "durable::same")]
fn same(x: i64) -> String {
    format!("{x} from the other")
}

/// `durable_app` has the same.
#[remote(name = "durable::same_zeros")]
fn same_zeros(n: usize) -> Vec<u8> {
    vec![0; n]
}

/// `durable_app`'s is of other types.
#[remote(name = "durable::differs")]
fn differs(x: String) -> String {
    x
}

/// `durable_app` has none.
#[remote(name = "durable::only_in_other")]
fn only_in_other() -> i64 {
    1
}

/// Takes long the first time, and is there at once the second time.
#[remote]
fn waits() -> u32 {
    let attempt = fdbray::task::current().map_or(0, |task| task.attempt);
    if attempt < 2 {
        std::thread::sleep(std::time::Duration::from_secs(120));
    }
    attempt
}

#[fdbray::main]
async fn main() -> fdbray::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("waits") {
        let waits = waits::options().durable().remote();
        waits.submitted().await?;
        println!("submitted");
        println!("waited {}", waits.await?);
        return Ok(());
    }
    let same = same::options().durable().remote(1);
    println!("same {}", same.await?);
    let own = only_in_other::options().durable().remote();
    let differs = differs::options().durable().remote("text");
    println!("only in other {}", own.await?);
    println!("differs {}", differs.await?);
    Ok(())
}
