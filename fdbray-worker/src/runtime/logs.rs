//! What remote code prints or logs in a worker, brought to the driver's terminal.
//!
//! In a worker, [`Capture`] reads what arrives at fds 1 and 2 from whatever code (Rust, C, the panic hook), and
//! [`TaskLayer`] takes `tracing` events; both give [`LogLine`]s to one sink, which sends them to the driver. There a
//! [`Printer`] writes them to the terminal, each after the function and the worker it came from.
//!
//! An event knows its task. Printed text comes through a pipe and does not, so it is ascribed to the functions that
//! ran meanwhile: exactly when that was one. Nothing here ever waits for a reader: what cannot be kept is counted.

mod capture;
mod layer;
mod lines;
mod printer;
mod queue;
mod recent;

pub use capture::{Capture, CaptureOptions};
pub use layer::TaskLayer;
pub use printer::{Printer, print_line};
pub use recent::ran;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The longest line that is kept whole, in bytes; longer ones are cut into several.
pub const LONGEST: usize = 8 << 10;

/// The most functions that a line is ascribed to.
pub const CANDIDATES: usize = 3;

/// One line of output of remote code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where it came from.
    pub stream: Stream,
    /// The functions that may have said it: one when that is sure, none when nothing ran.
    pub functions: Functions,
    /// What it said, without the line's end. An event's text may have several lines.
    pub text: String,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
    /// A `tracing` event.
    Event,
}

/// The functions that may have said a line: up to [`CANDIDATES`] by name.
///
/// Given by exec for what runs right now; displays as `add`, `add|parse`, `add|parse|sum|…` or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Functions {
    names: Vec<Cow<'static, str>>,
    more: bool,
}

impl Functions {
    /// Nothing runs.
    pub const NONE: Self = Functions { names: Vec::new(), more: false };

    /// Adds one, unless it is there already.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if self.names.contains(&name) {
            return;
        }
        match self.names.len() < CANDIDATES {
            true => self.names.push(name),
            false => self.more = true,
        }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    fn merge(&mut self, other: Self) {
        self.more |= other.more;
        other.names.into_iter().for_each(|name| self.add(name));
    }
}

impl FromIterator<&'static str> for Functions {
    fn from_iter<I: IntoIterator<Item = &'static str>>(names: I) -> Self {
        let mut functions = Functions::NONE;
        names.into_iter().for_each(|name| functions.add(name));
        functions
    }
}

impl std::fmt::Display for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join("|"))?;
        f.write_str(if self.more { "|…" } else { "" })
    }
}

/// The longest start of `text` that has at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
pub(super) mod tests;
