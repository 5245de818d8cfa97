//! What SIGTERM and SIGINT mean to a worker: the first asks it to drain, the second ends it at once.
//!
//! A driver never calls this: its signals belong to the user's program.
#![allow(unsafe_code)]

use rustix::{
    event::{EventfdFlags, eventfd},
    io::{read, retry_on_intr, write},
};
use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag, low_level,
};
use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Who a terminal's Ctrl-C speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// A worker that someone started by hand: SIGINT drains it as SIGTERM does.
    Drains,
    /// A child of a private cluster: the terminal sends SIGINT to it too, but the driver decides what happens.
    Ignored,
}

/// The worker's handlers; once it is dropped, the signals do nothing.
#[derive(Debug)]
pub struct Signals {
    actions: Vec<SigId>,
    closing: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
}

impl Signals {
    /// Calls `drain`, once and on a thread of its own, when the first SIGTERM (or SIGINT) arrives. A second one ends the
    /// process in the handler itself with 128 + signal, however stuck the process is.
    ///
    /// # Errors
    /// When the operating system gives no descriptor or no thread.
    pub fn watch(interrupt: Interrupt, drain: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let closing = Arc::new(AtomicBool::new(false));
        let mut signals = Signals { actions: Vec::new(), closing: closing.clone(), wake: wake.clone() };
        let asked = Arc::new(AtomicBool::new(false));
        thread::Builder::new().name("fdbray-signals".into()).stack_size(256 << 10).spawn(move || {
            if wait(&wake) && !closing.load(Ordering::Acquire) {
                drain();
            }
        })?;
        signals.drain_on(SIGTERM, &asked)?;
        match interrupt {
            Interrupt::Drains => signals.drain_on(SIGINT, &asked)?,
            // Not SIG_IGN, which the programs that user code starts would inherit.
            Interrupt::Ignored => signals.actions.push(flag::register(SIGINT, Arc::default())?),
        }
        Ok(signals)
    }

    fn drain_on(&mut self, signal: i32, asked: &Arc<AtomicBool>) -> io::Result<()> {
        // In this order: the first signal finds `asked` unset, sets it and wakes the thread; the second ends us.
        self.actions.push(flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())?);
        self.actions.push(flag::register(signal, asked.clone())?);
        let wake = self.wake.clone();
        let poke = move || {
            let _ = write(&*wake, &1_u64.to_ne_bytes());
        };
        // SAFETY: the action is one write(2) to a descriptor that it owns, which is async-signal-safe; rustix makes the
        // system call without touching errno, allocating or locking.
        self.actions.push(unsafe { low_level::register(signal, poke) }?);
        Ok(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
        self.closing.store(true, Ordering::Release);
        let _ = write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

/// Whether something was written to the eventfd.
fn wait(wake: &OwnedFd) -> bool {
    retry_on_intr(|| read(wake, &mut [0_u8; 8])).is_ok()
}

#[cfg(test)]
pub(super) mod tests;
