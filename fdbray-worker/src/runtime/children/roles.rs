//! For tests: this test binary, run again as a process of its own that plays a role.
#![allow(unsafe_code)]

use crate::runtime::{
    children::{ChildEvent, ChildSpec, Children, Output, born},
    logs::{Capture, CaptureOptions, Functions, LogLine},
    scratch::Scratch,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const ROLE: &str = "FDBRAY_TEST_ROLE";
/// A directory in which roles and tests leave each other files.
pub(in crate::runtime) const DIR: &str = "FDBRAY_TEST_DIR";
const LIMIT: Duration = Duration::from_secs(30);

/// Plays the role that the environment names; as an ordinary test it does nothing.
#[test]
fn role() {
    let Ok(role) = env::var(ROLE) else { return };
    let (role, argument) = role.split_once(' ').unwrap_or((&role, ""));
    match role {
        "child" => child(argument),
        "driver" => driver(argument),
        "signals" => super::super::signals::tests::role(argument),
        "logs" => super::super::logs::tests::role(argument),
        _ => panic!("no such role: {role}"),
    }
}

/// A child of a private cluster that did what children do at their start, and then `then`.
fn child(then: &str) {
    let born = born();
    if then == "nested" {
        leave("nested", &format!("{:?}", born.map(|born| born.is_some())));
        return;
    }
    let born = born.unwrap().expect("started by `Children`");
    assert_eq!(born.cluster, "lmdb:///nowhere");
    match then {
        "sleeps" => leave(&format!("ready-{}", born.index), &std::process::id().to_string()),
        "ignores SIGTERM" => {
            let signals =
                crate::runtime::signals::Signals::watch(super::super::signals::Interrupt::Ignored, || {});
            leave("ready-0", "");
            sleep_on(signals);
        }
        "exits" => std::process::exit(3),
        "speaks and exits" => {
            eprintln!("my last words");
            std::process::exit(3);
        }
        "captures" => {
            let (send, lines) = std::sync::mpsc::channel();
            let options = CaptureOptions { given: born.captured, tee: false };
            // The test harness prints to the same pipes, also before its own end of line.
            let sink = move |line: LogLine| {
                if let Some((_, said)) = line.text.split_once('@') {
                    drop(send.send(format!("{:?} {said}", line.stream)));
                }
            };
            let capture = Capture::start(options, sink, Functions::default).unwrap();
            println!("@to stdout");
            eprintln!("@to stderr");
            capture.stop(LIMIT);
            let mut lines: Vec<_> = lines.iter().collect();
            lines.sort();
            leave("captured", &lines.join(", "));
        }
        "starts another" => {
            // As user code may: with all that it has inherited.
            Command::new("/proc/self/exe").args(arguments()).env(ROLE, "child nested").status().unwrap();
        }
        _ => panic!("no such child: {then}"),
    }
    sleep_on(born);
}

/// A driver with two children and a scratch directory. With `replaced`, it deletes its own binary
/// first; with `forks`, another process inherits all that it has open.
fn driver(how: &str) {
    if how == "replaced" {
        let exe = env::current_exe().unwrap();
        fs::remove_file(&exe).unwrap();
        fs::write(&exe, "something else").unwrap();
    }
    let scratch = Scratch::create().unwrap();
    fs::create_dir(scratch.path().join("store")).unwrap();
    fs::write(scratch.path().join("store/data"), "data").unwrap();
    let mut spec = spec("sleeps", 2);
    spec.scratch = Some(scratch.path().to_owned());
    let children = Children::start(spec, |_| false, |_| {}).unwrap();
    if how == "forks" {
        // SAFETY: the new process makes one system call and nothing else, until it is killed.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            },
            pid => leave("forked", &pid.to_string()),
        }
    }
    sleep_on((scratch, children));
}

pub(in crate::runtime) fn sleep_on<T>(_kept: T) -> ! {
    loop {
        thread::park();
    }
}

fn arguments() -> Vec<OsString> {
    let name = module_path!().split_once("::").unwrap().1.to_owned() + "::role";
    [&name, "--exact", "--nocapture", "--test-threads=1"].map(Into::into).to_vec()
}

/// A command that plays `role` in a process of its own.
pub(in crate::runtime) fn play(role: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(arguments()).env(ROLE, role).env(DIR, dir).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null());
    command
}

/// Children that play `child <then>`.
pub(super) fn spec(then: &str, count: usize) -> ChildSpec {
    let mut spec = ChildSpec::workers("lmdb:///nowhere", count);
    spec.args = arguments();
    spec.env = vec![(ROLE.into(), format!("child {then}").into())];
    spec.env.extend(env::var_os(DIR).map(|dir| (DIR.into(), dir)));
    spec.output = Output::Nowhere;
    spec
}

/// Leaves a file for the test, whole from the moment it is there.
pub(in crate::runtime) fn leave(name: &str, text: &str) {
    let dir = PathBuf::from(env::var_os(DIR).unwrap());
    fs::write(dir.join(format!(".{name}")), text).unwrap();
    fs::rename(dir.join(format!(".{name}")), dir.join(name)).unwrap();
}

/// What a role left, once it is there.
pub(in crate::runtime) fn left(dir: &Path, name: &str) -> String {
    eventually(&format!("the file {name}"), || fs::read_to_string(dir.join(name)).ok())
}

/// Waits until `look` finds it.
pub(in crate::runtime) fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Lines that a role wrote after an `@`, of which the test harness around it writes none.
pub(in crate::runtime) fn said(stdout: ChildStdout) -> impl Iterator<Item = String> {
    let lines = BufReader::new(stdout).lines().map(Result::unwrap);
    lines.filter_map(|line| line.split_once('@').map(|(_, said)| said.to_owned()))
}

/// The next event; a child that hangs fails the test.
pub(super) fn next(events: &std::sync::mpsc::Receiver<ChildEvent>) -> ChildEvent {
    events.recv_timeout(LIMIT).expect("an event within 30 s")
}

/// A process that may have any parent.
pub(in crate::runtime) struct Other(OwnedFd);

impl Other {
    pub(in crate::runtime) fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        Other(pidfd_open(pid, PidfdFlags::empty()).expect("the process runs"))
    }

    pub(in crate::runtime) fn send(&self, signal: Signal) {
        pidfd_send_signal(&self.0, signal).unwrap();
    }

    /// Waits for its end, and fails if it does not come.
    pub(in crate::runtime) fn ends(&self) {
        let limit = Timespec { tv_sec: LIMIT.as_secs() as i64, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ended, 1, "the process still runs");
    }
}
