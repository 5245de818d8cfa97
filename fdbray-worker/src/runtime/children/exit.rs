//! How a child ended, as data and as a sentence.

use std::{fmt, io, os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc};

/// How a child ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exit {
    /// With this status: a code or a signal.
    Status(ExitStatus),
    /// It could not be started.
    NotStarted(Arc<io::Error>),
    /// It is gone, but the program's own code took its status (`waitpid(-1)`, or SIGCHLD is ignored).
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::NotStarted(error) => write!(f, "could not be started: {error}"),
            Exit::Unknown => write!(f, "is gone for an unknown reason"),
            Exit::Status(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exited with code {code}"),
                (None, Some(signal)) => {
                    write!(f, "was killed by signal {signal}")?;
                    if let Some(name) = name(signal) {
                        write!(f, " ({name})")?;
                    }
                    Ok(())
                }
                (None, None) => write!(f, "ended with {status}"),
            },
        }
    }
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT: it aborted",
        libc::SIGSEGV => "SIGSEGV: invalid memory access or stack overflow",
        libc::SIGBUS => "SIGBUS: a mapped file shrank or memory ran out",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL: by hand or by the kernel for want of memory",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGXCPU => "SIGXCPU: a limit of processor time",
        libc::SIGSYS => "SIGSYS: a forbidden system call",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_the_end_of_a_sentence() {
        let show = |raw| Exit::Status(ExitStatus::from_raw(raw)).to_string();
        assert_eq!(show(3 << 8), "exited with code 3");
        assert_eq!(show(6), "was killed by signal 6 (SIGABRT: it aborted)");
        assert_eq!(show(40), "was killed by signal 40");
    }
}
