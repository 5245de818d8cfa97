//! One fuzz target for each decoder that reads bytes from a peer or a store: see [`targets::all`].
//!
//! `cargo test -p fuzz` runs each for a while on valid messages, on broken ones made of them, and on random bytes.
//! What breaks prints how to run it again. A target is a plain `fn(&[u8])`, so that `cargo fuzz` can run it too:
//! `fuzz_target!(|data: &[u8]| fuzz::targets::net::hello(data))`.

pub mod memory;
mod mutate;
mod run;
pub mod targets;

pub use mutate::Random;
pub use run::{Settings, run};

/// A decoder with what it decodes.
#[derive(Clone, Copy)]
pub struct Target {
    /// As it is named on the command line.
    pub name: &'static str,
    /// Decodes the bytes and looks at the result. Only what must never happen is a panic.
    pub decode: fn(&[u8]),
    /// Valid messages of each kind.
    pub corpus: fn() -> Vec<Vec<u8>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
