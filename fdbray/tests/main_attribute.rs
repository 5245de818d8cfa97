//! `#[fdbray::main]`: the body runs on the main thread, in a tokio runtime, and need not be `Send`. Fails by panicking.

use fdbray::Error;
use std::{rc::Rc, thread, time::Duration};

/// What this program checks.
#[fdbray::main]
async fn main() -> fdbray::Result<()> {
    assert_eq!(thread::current().name(), Some("main"));
    assert!(fdbray::task::current().is_none());
    let held = Rc::new(5);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let elsewhere = tokio::spawn(async { thread::current().id() }).await.map_err(Error::application)?;
    assert_ne!(elsewhere, thread::current().id());
    assert_eq!(*held, 5);
    Ok(())
}
