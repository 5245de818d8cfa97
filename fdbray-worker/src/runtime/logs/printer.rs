//! The driver's side: lines from the workers onto the terminal.

use super::{LogLine, Stream, queue::Queue};
use crate::id::ProcessId;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, write},
    stdio::{stderr, stdout},
};
use std::{
    env,
    fmt::Write,
    io::{self, IsTerminal},
    os::fd::AsFd,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

/// The most that waits for the terminal.
const WAITING: usize = 4 << 20;

/// Prints lines on a thread of its own, so that a terminal that stands still stops nothing else.
#[derive(Clone)]
pub struct Printer(Arc<Inner>);

struct Inner {
    queue: Arc<Queue<(ProcessId, LogLine)>>,
    done: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none left.
    pub fn start() -> io::Result<Self> {
        let queue = Arc::new(Queue::new(WAITING));
        let (ends, done) = mpsc::channel();
        let lines: Arc<Queue<(ProcessId, LogLine)>> = queue.clone();
        thread::Builder::new().name("fdbray-printer".into()).stack_size(256 << 10).spawn(move || {
            while let Some((taken, dropped)) = lines.take() {
                taken.iter().for_each(|(worker, line)| print_line(*worker, line));
                if dropped > 0 {
                    let text =
                        format!("… {dropped} lines of the workers dropped: the terminal is too slow\n");
                    let _ = write_all(stderr(), text.as_bytes());
                }
            }
            drop(ends);
        })?;
        Ok(Printer(Arc::new(Inner { queue, done: std::sync::Mutex::new(done) })))
    }

    /// Prints a line soon; never blocks.
    pub fn print(&self, worker: ProcessId, line: LogLine) {
        let bytes = line.text.len() + 128;
        self.0.queue.push((worker, line), bytes);
    }

    /// Prints what waits, for at most `patience`; nothing is printed after that.
    pub fn stop(&self, patience: Duration) {
        self.0.queue.close();
        if let Ok(done) = self.0.done.lock() {
            let _ = done.recv_timeout(patience);
        }
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer").finish_non_exhaustive()
    }
}

/// Writes `line` to standard output, or to standard error if it did not come from there, in one piece, as
/// `(add 3f2a) text`. That the terminal or pipe is closed concerns the program's own output, not ours.
pub fn print_line(worker: ProcessId, line: &LogLine) {
    match line.stream {
        Stream::Stdout => {
            let text = render(worker, line, colours(stdout().is_terminal()));
            let _ = write_all(stdout(), text.as_bytes());
        }
        Stream::Stderr | Stream::Event => {
            let text = render(worker, line, colours(stderr().is_terminal()));
            let _ = write_all(stderr(), text.as_bytes());
        }
    }
}

/// The whole of `bytes`, in one write if the other side takes it; not through `std`'s handles, whose lock user code may
/// hold for long.
pub(super) fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match write(&fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            // Somebody else who shares the terminal made it non-blocking.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn render(worker: ProcessId, line: &LogLine, colour: bool) -> String {
    let worker = worker.to_string();
    let short = &worker[..4];
    let mut prefix = match line.functions.names().next() {
        Some(_) => format!("({} {short})", line.functions),
        None => format!("({short})"),
    };
    if colour {
        // Green, yellow, blue, magenta, cyan: red is for errors.
        let shade = 32 + worker.bytes().map(u32::from).sum::<u32>() % 5;
        prefix = format!("\x1b[{shade}m{prefix}\x1b[0m");
    }
    let mut text = String::new();
    for line in line.text.split('\n') {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{prefix} {line}");
    }
    text
}

/// See <https://no-color.org>.
fn colours(terminal: bool) -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    terminal && *WANTED.get_or_init(|| env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::logs::Functions;

    fn line(functions: &[&'static str], text: &str) -> LogLine {
        let functions: Functions = functions.iter().copied().collect();
        LogLine { stream: Stream::Stdout, functions, text: text.into() }
    }

    #[test]
    fn a_line_names_its_functions_and_its_worker() {
        let worker = ProcessId::new(0x3f2a_0000_0000_0001).unwrap();
        assert_eq!(render(worker, &line(&["add"], "text"), false), "(add 3f2a) text\n");
        assert_eq!(render(worker, &line(&[], ""), false), "(3f2a) \n");
        assert_eq!(render(worker, &line(&["a", "b", "a"], "x\ny"), false), "(a|b 3f2a) x\n(a|b 3f2a) y\n");
        assert_eq!(render(worker, &line(&["a", "b", "c", "d"], "x"), false), "(a|b|c|… 3f2a) x\n");
        assert!(render(worker, &line(&["add"], "text"), true).ends_with("m(add 3f2a)\x1b[0m text\n"));
    }

    #[test]
    fn a_closed_pipe_is_an_error_that_nobody_dies_of() {
        let (from, into) = rustix::pipe::pipe().unwrap();
        drop(from);
        assert_eq!(write_all(into, b"x"), Err(Errno::PIPE));
    }
}
