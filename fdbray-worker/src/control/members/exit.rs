//! Proof that a process on this machine has exited.
#![allow(unsafe_code)]

use super::record::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use tokio::io::{Interest, unix::AsyncFd};

impl Host {
    /// Where this process runs.
    pub fn current() -> io::Result<Self> {
        let pid = std::process::id();
        Ok(Host {
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            pid_namespace: fs::metadata("/proc/self/ns/pid")?.ino(),
            pid,
            started: started(pid).unwrap_or(0),
        })
    }
}

/// What this process can tell of another one.
#[derive(Debug)]
pub enum Seen {
    /// It has exited. Certain.
    Exited,
    /// It runs; the descriptor becomes readable when it exits.
    Running(OwnedFd),
    /// It is elsewhere, or the kernel does not say.
    Unknown,
}

/// Looks after the process at `there`, from `here`. `one_machine` says that both have always been on one machine (an
/// LMDB store is never on two), so that another boot is long over.
pub fn look(here: &Host, there: &Host, one_machine: bool) -> Seen {
    if here.boot_id != there.boot_id {
        return if one_machine { Seen::Exited } else { Seen::Unknown };
    }
    if here.pid_namespace != there.pid_namespace {
        return Seen::Unknown;
    }
    let descriptor = match pidfd(there.pid) {
        Ok(descriptor) => descriptor,
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Seen::Exited,
        Err(_) => return Seen::Unknown,
    };
    // The descriptor holds on to whoever has the pid now: only then is its start worth a look.
    match started(there.pid) {
        Some(started) if there.started != 0 && started != there.started => Seen::Exited,
        _ if has_exited(&descriptor) => Seen::Exited,
        _ => Seen::Running(descriptor),
    }
}

/// Resolves when the process of a [`Seen::Running`] exits. Never, if the runtime cannot wait for it.
pub async fn exit(process: OwnedFd) {
    // SAFETY: an owned descriptor, which nobody replaces or closes while it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
    if let Ok(process) = registered
        && process.readable().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// When a process started, in clock ticks since the boot, the same number for whoever looks. The field behind the command's
/// name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    // Field 22 of proc(5); the first one here is number 3.
    let shown: u64 = fields.split(' ').nth(19)?.parse().ok()?;
    shown.checked_add_signed(boot_offset()?.checked_neg()?)
}

/// What the kernel adds in this process's time namespace, in clock ticks.
fn boot_offset() -> Option<i64> {
    // Kernels without time namespaces have no such file, and add nothing.
    let Ok(offsets) = fs::read_to_string("/proc/self/timens_offsets") else { return Some(0) };
    let mut words = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let (seconds, nanos): (i64, i64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    // Fractions of a tick may be rounded either way.
    (nanos % TICK_NANOS == 0)
        .then(|| seconds.checked_mul(1_000_000_000 / TICK_NANOS)?.checked_add(nanos / TICK_NANOS))?
}

/// A clock tick of the kernel's interface.
const TICK_NANOS: i64 = 10_000_000;

/// A descriptor of the process that has this pid now, which becomes readable when it exits.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the process of a [`Seen::Running`] has exited by now.
pub fn has_exited(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())) == Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_running_process_is_seen_running_and_its_exit_is_proven() {
        let here = Host::current().unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let there = Host { pid: child.id(), started: started(child.id()).unwrap(), ..here.clone() };
        assert!(matches!(look(&here, &there, true), Seen::Running(_)));
        let reused = Host { started: there.started + 1, ..there.clone() };
        assert!(matches!(look(&here, &reused, true), Seen::Exited), "another process has its pid");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(look(&here, &there, true), Seen::Exited));
    }

    #[test]
    fn of_other_machines_nothing_is_known() {
        let here = Host::current().unwrap();
        let elsewhere = Host { boot_id: "another".into(), ..here.clone() };
        assert!(matches!(look(&here, &elsewhere, false), Seen::Unknown));
        assert!(matches!(look(&here, &elsewhere, true), Seen::Exited), "the machine was started again");
        let contained = Host { pid_namespace: 1, ..here.clone() };
        assert!(matches!(look(&here, &contained, true), Seen::Unknown));
    }
}
