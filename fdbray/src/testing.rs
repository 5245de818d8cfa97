//! What `#[fdbray::test]` expands to: a test in a process of its own, with a private cluster of its own.
//!
//! The test harness owns `main`, and one process can be in one cluster only. So the test function runs in up to three
//! kinds of processes of the same binary, told apart by two variables:
//!
//! | process | `FDBRAY_TEST` | `FDBRAY_CHILD` | what the test function does there |
//! |---|---|---|---|
//! | the harness | unset | unset | starts the driver with this one test, waits for it, takes over its verdict |
//! | the driver | `driver` | unset | starts a private cluster, runs the body, leaves with a verdict |
//! | a worker of that cluster | `driver` | set by the cluster | serves the cluster, leaves |
//!
//! A process that has either variable never starts a driver, so a test binary cannot start itself without end. The
//! verdict is the exit code and, for a panic, a line with its message, so that `#[should_panic(expected = "..")]` works.
//! Where panics abort (`panic = "abort"`), the driver dies with the panic's message in its output instead.

use fdbray_worker::runtime::{self, Entered, code_number, report};
use std::{
    any::Any,
    env,
    future::Future,
    io::{BufRead, BufReader, Read},
    panic::{self, AssertUnwindSafe},
    process::{self, Child, Command, ExitStatus, Stdio, Termination},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// One `#[fdbray::test]`.
#[derive(Debug)]
pub struct Test {
    /// `module_path!()`, `::` and the function's name.
    pub path: &'static str,
    /// Worker processes of its cluster.
    pub workers: Option<u32>,
    /// CPUs of each.
    pub cpus: Option<u32>,
}

/// Runs the test, in whichever of its processes this is.
pub fn test<R: Termination, F: Future<Output = R>>(test: &Test, body: impl FnOnce() -> F) {
    if env::var_os(CHILD).is_some() {
        process::exit(serve());
    } else if env::var_os(ROLE).is_some() {
        process::exit(run(body));
    } else {
        test.start();
    }
}

/// Set in every process of a test but the harness.
const ROLE: &str = "FDBRAY_TEST";
/// Set by a private cluster in its workers.
const CHILD: &str = "FDBRAY_CHILD";
/// Begins the line with a panic's message.
const PANICKED: &str = "fdbray test panicked: ";
/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The exit code of a driver whose test panicked.
const PANIC_CODE: i32 = 101;

/// In a worker.
fn serve() -> i32 {
    match runtime::enter(None) {
        Ok(Entered::Worker(code)) => code_number(code),
        Ok(Entered::Driver(_)) => {
            eprintln!("Error: {CHILD} is set, but this process is no worker; unset it");
            1
        }
        Err(error) => code_number(report(&error)),
    }
}

/// In the driver.
fn run<R: Termination, F: Future<Output = R>>(body: impl FnOnce() -> F) -> i32 {
    let ran = match runtime::enter(None) {
        Ok(Entered::Driver(driver)) => {
            panic::catch_unwind(AssertUnwindSafe(|| driver.run(async || body().await)))
        }
        Ok(Entered::Worker(code)) => return code_number(code),
        Err(error) => Ok(Err(error)),
    };
    match ran {
        Ok(Ok(returned)) => code_number(returned.report()),
        Ok(Err(error)) => code_number(report(&error)),
        Err(panic) => {
            println!("{PANICKED}{}", message(&*panic).escape_default());
            PANIC_CODE
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a value that is no text")
}

impl Test {
    /// In the harness: panics unless the test succeeds in its own process.
    fn start(&self) {
        let (_, name) = self.path.split_once("::").unwrap_or(("", self.path));
        let mut driver = match self.command(name).spawn() {
            Ok(driver) => driver,
            Err(error) => panic!("the test's own process could not be started: {error}"),
        };
        let output = lines(&mut driver);
        let end = watch(&mut driver, &output, Instant::now() + LIMIT);
        match end {
            End::Left(status) if status.success() => {}
            // Without the hook, which has spoken in the driver.
            End::Panicked(message) => panic::resume_unwind(Box::new(message)),
            End::Left(status) => panic!("`{name}` failed in its own process: {status}"),
            End::TooLong => panic!("`{name}` did not end within {LIMIT:?}; its process was killed"),
            End::Lost(error) => panic!("the process of `{name}` could not be waited for: {error}"),
        }
    }

    fn command(&self, name: &str) -> Command {
        let binary = env::current_exe().unwrap_or_else(|e| panic!("the test binary is not to be found: {e}"));
        let mut command = Command::new(binary);
        command
            .args([name, "--exact", "--include-ignored", "--nocapture", "--quiet", "--test-threads=1"])
            .env(ROLE, "driver")
            .env_remove("FDBRAY_CLUSTER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (variable, n) in [("FDBRAY_WORKERS", self.workers), ("FDBRAY_CPUS", self.cpus)] {
            if let Some(n) = n {
                command.env(variable, n.to_string());
            }
        }
        command
    }
}

/// How a driver ended.
enum End {
    Left(ExitStatus),
    Panicked(String),
    TooLong,
    Lost(std::io::Error),
}

/// Repeats what the driver prints, which the harness captures, until it has left.
fn watch(driver: &mut Child, output: &Receiver<String>, until: Instant) -> End {
    let mut panicked = None;
    let mut show = |line: String| match line.strip_prefix(PANICKED) {
        Some(message) => panicked = Some(unescape(message.trim_end())),
        None if said_by_a_harness(&line) => {}
        None => print!("{line}"),
    };
    let end = loop {
        match output.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => {
                show(line);
                continue;
            }
            // Not a moment of silence: both pipes are closed.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(5)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        match driver.try_wait() {
            Ok(Some(status)) => break End::Left(status),
            Ok(None) if Instant::now() < until => {}
            Ok(None) => {
                // Its workers go with it. An error means that it has just left by itself.
                let _ = driver.kill();
                let _ = driver.wait();
                break End::TooLong;
            }
            Err(error) => break End::Lost(error),
        }
    };
    // What is still in the pipes. They may be held open by a worker that is about to leave, so this does not wait long.
    while let Ok(line) = output.recv_timeout(Duration::from_millis(100)) {
        show(line);
    }
    match panicked {
        Some(message) => End::Panicked(message),
        None => end,
    }
}

/// The harness of the driver, and of each worker, says what the one that the user sees says already. What a worker says
/// comes as `(name) text`.
fn said_by_a_harness(line: &str) -> bool {
    let line = line.trim_end_matches(['\r', '\n']);
    let of_worker = line.strip_prefix('(').and_then(|line| line.split_once(") "));
    match of_worker {
        Some((_, text)) => text.is_empty() || text == RUNNING,
        None => line == RUNNING,
    }
}

/// What a harness says first, when it is told to be quiet.
const RUNNING: &str = "running 1 test";

/// The lines that `driver` prints on both of its outputs, as they come.
fn lines(driver: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let outputs: [Option<Box<dyn Read + Send>>; 2] =
        [driver.stdout.take().map(|o| Box::new(o) as _), driver.stderr.take().map(|o| Box::new(o) as _)];
    for output in outputs.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || forward(output, &sender));
    }
    receiver
}

fn forward(output: impl Read, to: &Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            break;
        }
        line.clear();
    }
}

/// What `escape_default` escaped.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('u') => {
                    let hex: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    out.extend(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32));
                }
                Some(other) => out.push(other),
                None => {}
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let text = "assertion `left == right` failed\n  left: \"é\\\"\t\n right: '\u{1f980}'\r\0";
        assert_eq!(unescape(&text.escape_default().to_string()), text);
    }

    #[test]
    fn a_test_that_does_not_end_is_killed_and_what_it_said_is_shown() {
        let mut command = Command::new("sh");
        let mut driver = command
            .args(["-c", "echo 'running 1 test'; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = lines(&mut driver);
        assert!(matches!(watch(&mut driver, &output, Instant::now()), End::TooLong));
        assert!(driver.try_wait().unwrap().is_some(), "it still runs");
    }

    #[test]
    fn what_harnesses_say_is_left_out() {
        for said in ["running 1 test\n", "(app::add 2a62) running 1 test\n", "(2a62) \n", "(2a62) "] {
            assert!(said_by_a_harness(said), "{said}");
        }
        for said in ["\n", "running 2 tests\n", "(2a62) hello\n", "a (2a62) \n", "(not one"] {
            assert!(!said_by_a_harness(said), "{said}");
        }
    }
}
