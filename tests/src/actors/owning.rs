//! What a driver does that ends before its actor would.

use super::{Journal, file, within};
use std::path::Path;

/// Makes an actor that writes the file `end` at its end; writes three lines into it; has it run a method that never returns and
/// says so by the file `hangs`, with a thousand calls that wait behind that. Then the driver leaves, or `stays`.
pub(super) async fn owns(end: &str, hangs: &str, stays: bool) -> fdbray::Result<()> {
    let journal = Journal::remote_ending_with(end);
    for n in 0..3 {
        within(60, "a line", journal.write(0, n)).await?;
    }
    let _running = journal.hangs(hangs);
    let _queued: Vec<_> = (0..1_000).map(|n| journal.write(0, n)).collect();
    file(Path::new(hangs)).await;
    println!("has called");
    if stays {
        std::future::pending().await
    }
    Ok(())
}
