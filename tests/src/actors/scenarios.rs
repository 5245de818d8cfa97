//! What the drivers of the tests of actors do that end before their cluster. One says how far it is on its standard output.

use super::{Journal, file, within};
use std::path::Path;

/// Makes an actor that writes the file `end` at its end; writes three lines into it; has it run a method that never returns and
/// says so by the file `hangs`, and a thousand calls wait behind that. Then it leaves, or stays.
///
/// # Panics
/// If there is no such scenario, and when something is wrong.
pub async fn play(words: &[&str]) {
    let [way, end, hangs] = words else { panic!("no such scenario: {words:?}") };
    let journal = Journal::remote_ending_with(*end);
    for n in 0..3 {
        within(60, "a line", journal.write(0, n)).await.expect("it can be written");
    }
    let _running = journal.hangs(*hangs);
    let _queued: Vec<_> = (0..1_000).map(|n| journal.write(0, n)).collect();
    file(Path::new(hangs)).await;
    println!("has called");
    match *way {
        "leaves" => {}
        "stays" => std::future::pending().await,
        _ => panic!("no such scenario: {words:?}"),
    }
}
