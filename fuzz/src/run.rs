//! Runs a target on many inputs and says how to run again what broke.

use crate::{
    Target, memory,
    mutate::{self, Random},
};
use std::{
    collections::hash_map::RandomState,
    env, fs,
    hash::BuildHasher,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

/// How long and with which inputs a target runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Decides the inputs.
    pub seed: u64,
    /// Inputs besides the corpus.
    pub inputs: u64,
}

impl Settings {
    /// `FUZZ_SEED` and `FUZZ_INPUTS`, or a fresh seed and 20,000 inputs.
    ///
    /// # Panics
    /// Where one of them is set and not a number.
    pub fn from_env() -> Self {
        let number = |name| {
            env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number: {n}")))
        };
        Settings {
            seed: number("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0)),
            inputs: number("FUZZ_INPUTS").unwrap_or(20_000),
        }
    }
}

/// Decodes the corpus, the files in `fuzz/corpus/NAME/`, and `settings.inputs` inputs made of both.
///
/// # Panics
/// When the decoder does, or takes more memory than its input justifies: see [`memory::allowed`].
pub fn run(target: &Target, settings: Settings) {
    let mut corpus = (target.corpus)();
    assert!(!corpus.is_empty(), "{} has no valid message to start from", target.name);
    corpus.extend(files(target.name));
    for bytes in &corpus {
        decode(target, bytes, settings);
    }
    let mut random = Random::new(settings.seed);
    for _ in 0..settings.inputs {
        decode(target, &mutate::input(&mut random, &corpus), settings);
    }
}

fn decode(target: &Target, bytes: &[u8], settings: Settings) {
    memory::reset();
    let decoded = panic::catch_unwind(AssertUnwindSafe(|| (target.decode)(bytes)));
    let largest = memory::reset();
    let wrong = match decoded {
        Err(_) => "panicked".to_owned(),
        Ok(()) if largest > memory::allowed(bytes.len()) => format!("asked for {largest} bytes at once"),
        Ok(()) => return,
    };
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    panic!(
        "{} {wrong} on these {} bytes: {hex}\nagain: FUZZ_SEED={} FUZZ_INPUTS={} cargo test -p fuzz {}\nto keep it: \
         echo {hex} | xxd -r -p > fuzz/corpus/{}/short-name",
        target.name,
        bytes.len(),
        settings.seed,
        settings.inputs,
        target.name,
        target.name
    )
}

fn files(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).collect()
}
