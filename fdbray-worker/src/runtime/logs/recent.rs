//! Which functions ran a moment ago: what was printed is read a little later, when its function may have ended.

use super::Functions;
use rustix::time::{ClockId, clock_gettime};
use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
};

/// How much earlier than it is read a text was printed, in milliseconds, mostly.
const MOMENT: u64 = 50;

/// And at most, when the thread that reads it got no time.
const LATE: u64 = 2_000;

/// How many functions a thread remembers to have named in this tick of the clock.
const NAMED: usize = 4;

/// Notes that `function` runs, so that what it prints can be ascribed to it; `quiet` when that is not to be shown. To be called when a task (or a poll of one)
/// starts, and again when it ends. Costs a look at the coarse clock, some 5 ns, but once for every tick of it.
pub fn ran(function: &'static str, quiet: bool) {
    thread_local!(static LAST: [Cell<(usize, bool, u64)>; NAMED] = const { [const { Cell::new((0, false, 0)) }; NAMED] });
    let key = function.as_ptr().addr();
    let entry = (key, quiet, now());
    LAST.with(|last| {
        // Names are a few bytes long, so the lowest bits of neighbours differ.
        let last = &last[(key >> 3) % NAMED];
        if last.replace(entry) != entry {
            note(function, quiet, entry.2);
        }
    });
}

/// What ran after `drained`, when there was no text, as far as a moment ago, or last; `None` when all of it was quiet.
pub(super) fn since(drained: u64) -> Option<Functions> {
    let now = now();
    let earliest = drained.max(now.saturating_sub(LATE));
    let mut ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
    let last = ran.iter().map(|run| run.at).max().unwrap_or(0);
    let earliest = earliest.max(last.min(now.saturating_sub(MOMENT)));
    ran.retain(|run| run.at >= earliest);
    let shown = |run: &&Run| !run.quiet;
    (ran.is_empty() || ran.iter().any(|run| !run.quiet))
        .then(|| ran.iter().filter(shown).map(|run| run.function).collect())
}

/// Milliseconds of a clock that is cheap to read and ticks every 1 to 10 of them.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// What ran lately, and when last. Few: those that are older than a moment make room.
static RAN: Mutex<Vec<Run>> = Mutex::new(Vec::new());

struct Run {
    function: &'static str,
    quiet: bool,
    /// When it was noted last.
    at: u64,
}

const MOST: usize = 64;

fn note(function: &'static str, quiet: bool, now: u64) {
    let mut ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
    match ran.iter_mut().find(|run| std::ptr::eq(run.function, function) && run.quiet == quiet) {
        Some(run) => run.at = now,
        None => {
            if ran.len() >= MOST {
                ran.retain(|run| run.at + MOMENT >= now);
            }
            // More than that in one moment: whom to name is unsure anyway.
            if ran.len() < MOST {
                ran.push(Run { function, quiet, at: now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_counts_for_a_moment_after_it_ended() {
        let start = now();
        ran("recent::a", false);
        ran("recent::b", false);
        ran("recent::a", false);
        let names = |f: Option<Functions>| {
            let f = f.expect("these are not quiet");
            f.names().filter(|n| n.starts_with("recent::")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(since(start)), ["recent::a", "recent::b"]);
        while now() <= start + MOMENT {
            std::thread::yield_now();
        }
        ran("recent::b", false);
        assert_eq!(names(since(start)), ["recent::b"]);
        while now() <= start + 3 * MOMENT {
            std::thread::yield_now();
        }
        assert_eq!(names(since(start)), ["recent::b"], "the last is named, if the text is read late");
    }
}
