//! A program that is run to its end: with which arguments and variables, and what it said.

use std::{
    fmt,
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// A program to run. No `FDBRAY_*` variable of this process reaches it.
#[derive(Debug)]
pub struct Run {
    command: Command,
}

impl Run {
    /// Runs `program`, with a private cluster unless something else is set.
    pub fn new(program: &str) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FDBRAY_"))
        {
            command.env_remove(name);
        }
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run { command }
    }

    /// With these arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// With this variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.command.env(name, value.to_string());
        self
    }

    /// Runs it to its end, and all its output to the end of that.
    ///
    /// # Panics
    /// If that takes longer than `seconds`; the program is killed then.
    pub fn ends(mut self, seconds: u64) -> Ended {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", self.command));
        let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
        let status = wait(&mut child, until);
        let rest = |from: &Receiver<String>| {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(2));
            // The outputs stay open for as long as any process that has inherited them.
            from.recv_timeout(left).unwrap_or_else(|_| "(somebody still holds this output open)".to_owned())
        };
        let (stdout, stderr) = (rest(&stdout), rest(&stderr));
        match status {
            Some(status) => Ended { status, stdout, stderr },
            None => panic!("{:?} did not end within {seconds} s\n{stdout}\n{stderr}", self.command),
        }
    }

    /// The same, and it has to succeed. Gives what it said on stdout.
    ///
    /// # Panics
    /// If it fails, or takes longer than `seconds`.
    pub fn succeeds(self, seconds: u64) -> Ended {
        let ended = self.ends(seconds);
        assert!(ended.status.success(), "{ended}");
        ended
    }

    /// The same, and it has to fail with exit code 1.
    ///
    /// # Panics
    /// If it succeeds or crashes, or takes longer than `seconds`.
    pub fn fails(self, seconds: u64) -> Ended {
        let ended = self.ends(seconds);
        assert_eq!(ended.status.code(), Some(1), "{ended}");
        ended
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// What it and its children said on stdout.
    pub stdout: String,
    /// The same of stderr.
    pub stderr: String,
}

impl Ended {
    /// Asserts that stdout is this, line by line.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn says(&self, lines: &[&str]) {
        assert_eq!(self.stdout.lines().collect::<Vec<_>>(), lines, "{self}");
    }

    /// Asserts that stdout is this, after the line with which the program `app` says that it is a driver.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn says_after_driver(&self, lines: &[&str]) {
        let mut said = self.stdout.lines();
        assert!(said.next().is_some_and(|line| line.starts_with("driver ")), "{self}");
        assert_eq!(said.collect::<Vec<_>>(), lines, "{self}");
    }

    /// Asserts that stderr names all of these.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn complains(&self, of: &[&str]) {
        for word in of {
            assert!(self.stderr.contains(word), "nothing about {word:?}\n{self}");
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { status, stdout, stderr } = self;
        write!(f, "{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Waits for the end, and kills what does not end.
fn wait(child: &mut Child, until: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                // It may just have ended.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            Err(e) => panic!("the program cannot be waited for: {e}"),
        }
    }
}

/// Reads an output to its end.
fn read(output: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, text) = mpsc::channel();
    if let Some(mut output) = output {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What could be read counts.
            let _ = output.read_to_end(&mut bytes);
            // Whoever waited may have given up.
            let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    text
}
