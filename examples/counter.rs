//! The first actor: state that lives in a worker and is called from wherever a handle of it is.
//!
//! `cargo run --release --example counter` starts a private cluster, as `quickstart` does.

use fdbray::prelude::*;
use std::collections::BTreeMap;

/// An ordinary struct: `Tally::new()` makes one here, `Tally::remote()` an actor in a worker.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, u64>,
}

#[actor]
impl Tally {
    #[actor(max_restarts = 1)]
    pub fn new() -> Self {
        Tally::default()
    }

    /// `&mut self`: runs alone. Calls of one caller run in the order made.
    pub fn count(&mut self, word: &str) -> u64 {
        let count = self.counts.entry(word.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// `&self`: runs beside others of its kind.
    pub fn most(&self) -> Option<(String, u64)> {
        self.counts.iter().max_by_key(|(_, count)| **count).map(|(word, count)| (word.clone(), *count))
    }

    /// Async, and with an error that its caller gets.
    pub async fn save(&self, path: &str) -> std::io::Result<()> {
        let lines: Vec<String> = self.counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
        std::fs::write(path, lines.join("\n"))
    }
}

/// A task that is given the handle, and calls the same actor.
#[remote]
async fn read(text: String, tally: TallyHandle) -> fdbray::Result<usize> {
    let counts: Vec<_> = text.split_whitespace().map(|word| tally.count(word)).collect();
    let words = counts.len();
    for count in fdbray::settle(counts).await {
        count?;
    }
    Ok(words)
}

#[fdbray::main]
async fn main() -> fdbray::Result<()> {
    // A handle at once; the actor is made meanwhile.
    let tally = Tally::remote();
    let first = tally.count("the");
    println!("the: {}", first.await?);

    // Tasks in any worker share it.
    let texts = ["the cat sat on the mat", "the dog saw the cat", "on and on"];
    let readers = read::map(texts.map(|text| (text, &tally)));
    let mut words = 0;
    for count in fdbray::settle(readers).await {
        words += count?;
    }
    println!("{words} words were counted");
    if let Some((word, count)) = tally.most().await? {
        println!("most often: {word}, {count} times");
    }

    // An error of a method is its caller's; the actor goes on.
    match tally.save("/no/such/directory/words").await {
        Err(Error::Application(e)) => println!("as it should: {e}"),
        other => println!("that was not to be expected: {other:?}"),
    }

    // It ends with its last handle, or when it is told; calls made before still run.
    let last = tally.count("end");
    tally.stop().await?;
    println!("end: {}", last.await?);
    match tally.most().await {
        Err(Error::ActorEnded { .. }) => println!("as it should: it has ended"),
        other => println!("that was not to be expected: {other:?}"),
    }
    Ok(())
}
