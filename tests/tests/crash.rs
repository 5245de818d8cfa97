//! Real processes under SIGKILL, SIGSTOP, aborts, full disks and peers that talk nonsense: nothing hangs, nothing is lost,
//! nothing is done twice that must not be, and nothing stays behind.

#[path = "crash/killed.rs"]
mod killed;
