//! The child's side: what a process that [`Children`](super::Children) started finds out about itself.

use super::super::{leash, scratch::Scratch};
use rustix::thread::{name as thread_name, set_name};
use std::{
    env,
    ffi::CString,
    io,
    path::{Path, PathBuf},
};

/// Which child this is.
pub(super) const INDEX: &str = "FDBRAY_CHILD_INDEX";
/// The private cluster's directory.
pub(super) const SCRATCH: &str = "FDBRAY_SCRATCH";
/// Set when fds 1 and 2 are pipes for this process itself to read.
pub(super) const CAPTURED: &str = "FDBRAY_CAPTURED";

/// What a child knows of itself.
#[derive(Debug)]
pub struct Born {
    /// The cluster to join.
    pub cluster: String,
    /// Which of its parent's children this is.
    pub index: usize,
    /// The private cluster's directory; to be kept until the process ends.
    pub scratch: Option<Scratch>,
    /// Whether this process must read its own output (see [`Output::Captured`](super::Output::Captured)).
    pub captured: bool,
}

/// What this process is if [`Children`](super::Children) started it, else `None`; also in a program that a child's user
/// code starts, which inherits the same variables. From here on the process ends with its parent. To be called once,
/// first thing in `main`: standard input tells, and becomes `/dev/null`.
///
/// # Errors
/// When the private cluster's directory is gone, or there is no descriptor or thread left.
pub fn born() -> io::Result<Option<Born>> {
    let Some(cluster) = env::var(super::ENV).ok().filter(|_| leash::is_on()) else { return Ok(None) };
    // In this order: if the parent is gone already, the directory goes with it.
    let scratch = env::var_os(SCRATCH).map(|path| Scratch::join(&PathBuf::from(path)));
    leash::hold()?;
    name_main_thread();
    let index = env::var(INDEX).ok().and_then(|i| i.parse().ok()).unwrap_or(0);
    Ok(Some(Born {
        cluster,
        index,
        scratch: scratch.transpose()?,
        captured: env::var_os(CAPTURED).is_some(),
    }))
}

/// Whether this process was started by a private cluster.
pub fn is_child() -> bool {
    env::var_os(super::ENV).is_some() && leash::is_on()
}

/// Started through `/proc/self/exe`, a process is called `exe` in `ps` and `top`.
fn name_main_thread() {
    if thread_name().is_ok_and(|name| name.as_c_str() == c"exe")
        && let Some(program) = env::args_os().next()
        && let Some(file) = Path::new(&program).file_name()
        && let Ok(name) = CString::new(file.as_encoded_bytes())
    {
        // For people only.
        let _ = set_name(&name);
    }
}
