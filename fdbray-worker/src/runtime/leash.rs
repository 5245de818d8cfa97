//! The leash: the children of a private cluster end when their parent does, however it ended.
//!
//! The parent holds the write end of a pipe to which nobody ever writes; every child has the read end as its standard
//! input and blocks on it. When the parent is gone, also by SIGKILL, the kernel closes the write end, and the child
//! sees the end of the pipe. A stopped child is woken first: it asked for SIGCONT on its parent's death. As that
//! signal follows the parent's *thread*, children are started from a thread that lives as long as they do.
//!
//! The write end is close-on-exec, so that no sibling holds it. Were it held nevertheless, by a process that user code
//! forked off the parent, the child also watches the parent's pidfd.
#![allow(unsafe_code)]

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FileType, fstat},
    io::{Errno, fcntl_dupfd_cloexec, read, retry_on_intr},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, set_parent_process_death_signal},
    stdio,
};
use std::{
    env, fs, io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// Names the leash to the child, as `<inode of the pipe>:<pid of the parent>`. It says nothing about the processes
/// that a child starts and that inherit it: they have another standard input.
pub const ENV: &str = "FDBRAY_LEASH";

/// How long clean-ups may take once the parent is gone. All must be over within a second.
const CLEAN_UP: Duration = Duration::from_millis(700);

/// The parent's side. Dropping it ends all children.
#[derive(Debug)]
pub struct Leash {
    tail: OwnedFd,
    name: String,
    _hand: OwnedFd,
}

impl Leash {
    /// A new leash, with nobody on it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (tail, hand) = pipe_with(PipeFlags::CLOEXEC)?;
        let name = format!("{}:{}", fstat(&tail)?.st_ino, getpid().as_raw_nonzero());
        Ok(Leash { tail, name, _hand: hand })
    }

    /// Puts the process that `command` starts on this leash. Takes its standard input.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn put_on(&self, command: &mut Command) -> io::Result<()> {
        command.stdin(self.tail.try_clone()?).env(ENV, &self.name);
        Ok(())
    }
}

/// The child's side: from here on this process ends with its parent. Says whether there is a leash at all; when there
/// is none, the process was not started by [`Leash::put_on`]. To be called early in `main`, and after what must be
/// cleaned up was registered; calling it again does nothing. Standard input becomes `/dev/null`.
///
/// # Errors
/// When there is no descriptor or no thread to watch the parent with.
pub fn hold() -> io::Result<bool> {
    static HELD: Mutex<Option<bool>> = Mutex::new(None);
    let mut held = lock(&HELD);
    if let Some(held) = *held {
        return Ok(held);
    }
    let Some(watch) = Watch::from_environment()? else {
        *held = Some(false);
        return Ok(false);
    };
    // At once, on this thread; and again on the thread that surely stays, as the kernel keeps it by thread.
    set_parent_process_death_signal(Some(Signal::CONT))?;
    thread::Builder::new().name("fdbray-leash".into()).stack_size(256 << 10).spawn(move || {
        // A failure leaves what the line above did.
        let _ = set_parent_process_death_signal(Some(Signal::CONT));
        watch.until_parent_gone();
        end();
    })?;
    *held = Some(true);
    Ok(true)
}

/// Whether this process is on a leash, without taking hold of it. True only until [`hold`] was called.
pub(super) fn is_on() -> bool {
    named_here().is_some()
}

/// The parent's pid, if standard input is the pipe that the environment names.
fn named_here() -> Option<String> {
    let name = env::var(ENV).ok()?;
    let (inode, parent) = name.split_once(':')?;
    let stdin = fstat(stdio::stdin()).ok()?;
    let is_pipe = FileType::from_raw_mode(stdin.st_mode).is_fifo();
    (is_pipe && stdin.st_ino.to_string() == inode).then(|| parent.to_owned())
}

/// Runs `clean_up` when the parent is gone, before this process ends. It must be brief, and must wait for nothing that
/// user code may hold: what is not over in 0.7 s is cut off.
pub fn on_parent_gone(clean_up: impl FnOnce() + Send + 'static) {
    lock(&CLEAN_UPS).push(Box::new(clean_up));
}

type CleanUp = Box<dyn FnOnce() + Send>;

static CLEAN_UPS: Mutex<Vec<CleanUp>> = Mutex::new(Vec::new());

/// What a child looks at to see its parent's end.
struct Watch {
    tail: OwnedFd,
    /// `None` when another process stands between this one and its parent, which may go early.
    parent: Option<OwnedFd>,
}

impl Watch {
    fn from_environment() -> io::Result<Option<Self>> {
        let Some(parent) = named_here() else { return Ok(None) };
        let tail = fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
        stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
        let parent = parent.parse().ok().and_then(Pid::from_raw).and_then(|pid| {
            // Where there are no pidfds, and when the parent has gone meanwhile, the pipe says it all.
            let parent = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            // Asked last: as it still is our parent, the number was not another process's when it was opened.
            (getppid() == Some(pid)).then_some(parent)
        });
        Ok(Some(Watch { tail, parent }))
    }

    fn until_parent_gone(&self) {
        loop {
            let mut fds = vec![PollFd::new(&self.tail, PollFlags::IN)];
            fds.extend(self.parent.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                // It cannot be watched any more; staying would risk staying for ever.
                Err(_) => return,
                Ok(_) => {}
            }
            let parent_ended = fds.get(1).is_some_and(|p| !p.revents().is_empty());
            let pipe_spoke = !fds[0].revents().is_empty();
            let pipe_ended =
                pipe_spoke && !retry_on_intr(|| read(&self.tail, &mut [0_u8; 16])).is_ok_and(|n| n > 0);
            if parent_ended || pipe_ended {
                return;
            }
        }
    }
}

/// Cleans up and ends this process, without a chance for anything else to delay it.
fn end() -> ! {
    let (done, over) = mpsc::channel::<()>();
    let cleaner = thread::Builder::new().name("fdbray-clean-up".into()).spawn(move || {
        clean_up();
        drop(done);
    });
    match cleaner {
        Ok(_) => drop(over.recv_timeout(CLEAN_UP)),
        Err(_) => clean_up(),
    }
    // SAFETY: ends the process; unlike `exit` it runs no handlers of user code, which might hang.
    unsafe { libc::_exit(0) }
}

fn clean_up() {
    for clean_up in std::mem::take(&mut *lock(&CLEAN_UPS)) {
        // One that panics must not keep the others from running.
        let _ = catch_unwind(AssertUnwindSafe(clean_up));
    }
}

/// What is guarded here is whole after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
