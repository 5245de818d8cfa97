//! The thread that starts, watches, restarts, stops and reaps the children.

use super::{ChildEvent, ChildSpec, Exit, Output, Shared, born};
use crate::runtime::leash::Leash;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{ioctl_fionbio, read},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a killed process may take to go. One that hangs in the kernel is left to init.
const KILLED: Duration = Duration::from_secs(5);

/// The most that is kept of what a child printed last.
const LAST_WORDS: u64 = 64 << 10;

pub(super) struct Supervisor {
    spec: ChildSpec,
    leash: Leash,
    shared: Arc<Shared>,
    excused: Box<dyn Fn(u32) -> bool + Send>,
    on_event: Box<dyn FnMut(ChildEvent) + Send>,
    places: Vec<Place>,
}

/// One of the children, through all its lives.
struct Place {
    state: State,
    /// Quick deaths in a row.
    deaths: u32,
}

enum State {
    Due(Instant),
    Runs(Life),
    Abandoned,
}

struct Life {
    child: Child,
    pidfd: OwnedFd,
    since: Instant,
}

impl Supervisor {
    pub(super) fn new(
        spec: ChildSpec,
        leash: Leash,
        shared: Arc<Shared>,
        excused: Box<dyn Fn(u32) -> bool + Send>,
        on_event: Box<dyn FnMut(ChildEvent) + Send>,
    ) -> Self {
        let now = Instant::now();
        let places = (0..spec.count).map(|_| Place { state: State::Due(now), deaths: 0 }).collect();
        Supervisor { spec, leash, shared, excused, on_event, places }
    }

    pub(super) fn run(mut self) {
        loop {
            // Before anything is started, so that none is started after the order to stop.
            let stop = self.shared.orders().stop;
            if let Some(grace) = stop {
                return self.stop(grace);
            }
            self.start_due();
            self.await_change(self.next_due());
            self.reap();
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.places.len() {
            if !matches!(self.places[index].state, State::Due(at) if at <= now) {
                continue;
            }
            match self.start(index) {
                Ok(life) => {
                    let pid = life.child.id();
                    self.places[index].state = State::Runs(life);
                    self.shared.orders().pids[index] = Some(pid);
                    self.tell(ChildEvent::Started { index, pid });
                }
                Err(error) => {
                    // There is nothing to wait for when the program itself is missing or forbidden.
                    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
                    if matches!(error.kind(), NotFound | PermissionDenied | InvalidInput) {
                        self.places[index].deaths = self.spec.restart.deaths;
                    }
                    self.died(index, None, Exit::NotStarted(Arc::new(error)), Duration::ZERO, String::new());
                }
            }
        }
    }

    fn start(&self, index: usize) -> io::Result<Life> {
        let mut command = Command::new(&self.spec.program);
        if let Some(name) = &self.spec.name {
            command.arg0(name);
        }
        command.args(&self.spec.args).envs(self.spec.env.iter().map(|(k, v)| (k, v)));
        command.env(super::ENV, &self.spec.cluster).env(born::INDEX, index.to_string());
        match &self.spec.scratch {
            Some(path) => command.env(born::SCRATCH, path),
            None => command.env_remove(born::SCRATCH),
        };
        command.env_remove(born::CAPTURED);
        match self.spec.output {
            Output::Inherited => &mut command,
            Output::Nowhere => command.stdout(Stdio::null()).stderr(Stdio::null()),
            Output::Captured => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).env(born::CAPTURED, "1")
            }
        };
        self.leash.put_on(&mut command)?;
        // No `pre_exec` and the like above: only so does it go by posix_spawn, which does not copy page tables.
        let mut child = command.spawn()?;
        let since = Instant::now();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.ok_or(io::ErrorKind::InvalidData.into()).and_then(|pid| {
            // Not reaped yet, so the number is still this child's.
            Ok(pidfd_open(pid, PidfdFlags::empty())?)
        });
        match pidfd {
            Ok(pidfd) => Ok(Life { child, pidfd, since }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Until an order came, a child ended or `until`.
    fn await_change(&self, until: Option<Instant>) {
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        fds.extend(self.lives().map(|life| PollFd::new(&life.pidfd, PollFlags::IN)));
        let timeout = until.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        // An interruption is a change like another: the caller looks at everything anyway.
        if poll(&mut fds, timeout.as_ref()).is_ok() && !fds[0].revents().is_empty() {
            let _ = read(&self.shared.wake, &mut [0_u8; 8]);
        }
    }

    fn reap(&mut self) {
        for index in 0..self.places.len() {
            let State::Runs(life) = &mut self.places[index].state else { continue };
            let Some(exit) = life.exit() else { continue };
            let (pid, lived, words) = (life.child.id(), life.since.elapsed(), life.last_words());
            self.shared.orders().pids[index] = None;
            self.died(index, Some(pid), exit, lived, words);
        }
    }

    fn died(&mut self, index: usize, pid: Option<u32>, exit: Exit, lived: Duration, last_words: String) {
        let excused = pid.is_some_and(|pid| (self.excused)(pid));
        let place = &mut self.places[index];
        place.deaths =
            if excused || lived >= self.spec.restart.healthy { 1 } else { place.deaths.saturating_add(1) };
        let deaths = place.deaths;
        let restart_in = self.spec.restart.pause(deaths);
        place.state = restart_in.map_or(State::Abandoned, |pause| State::Due(Instant::now() + pause));
        self.tell(ChildEvent::Died { index, pid, exit: exit.clone(), last_words, restart_in });
        if restart_in.is_none() {
            let left = self.places.iter().filter(|p| !matches!(p.state, State::Abandoned)).count();
            self.tell(ChildEvent::GaveUp { index, exit, deaths, left });
        }
    }

    fn stop(mut self, grace: Duration) {
        let start = Instant::now();
        let mut until = start + grace;
        for life in self.lives() {
            // One that has ended meanwhile is reaped below. A stopped one must run to hear of it.
            let _ = pidfd_send_signal(&life.pidfd, Signal::TERM);
            let _ = pidfd_send_signal(&life.pidfd, Signal::CONT);
        }
        while self.drop_ended() && Instant::now() < until {
            self.await_change(Some(until));
            let grace = self.shared.orders().stop.unwrap_or_default();
            until = until.min(start + grace);
        }
        for life in self.lives() {
            let _ = pidfd_send_signal(&life.pidfd, Signal::KILL);
        }
        let until = Instant::now() + KILLED;
        while self.drop_ended() && Instant::now() < until {
            self.await_change(Some(until));
        }
        for life in self.lives() {
            tracing::warn!(
                pid = life.child.id(),
                "a killed worker process hangs in the kernel and is left behind"
            );
        }
    }

    /// Reaps those that ended, on order; says whether any is left.
    fn drop_ended(&mut self) -> bool {
        let mut left = false;
        for (index, place) in self.places.iter_mut().enumerate() {
            let State::Runs(life) = &mut place.state else { continue };
            if life.exit().is_some() {
                place.state = State::Abandoned;
                self.shared.orders().pids[index] = None;
            } else {
                left = true;
            }
        }
        left
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.places.iter().filter_map(|place| match &place.state {
            State::Runs(life) => Some(life),
            _ => None,
        })
    }

    fn next_due(&self) -> Option<Instant> {
        let due = |place: &Place| match place.state {
            State::Due(at) => Some(at),
            _ => None,
        };
        self.places.iter().filter_map(due).min()
    }

    fn tell(&mut self, event: ChildEvent) {
        // A panic in it must not take the children with it.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.on_event)(event)));
    }
}

impl Life {
    /// How it ended, if it did; reaps it.
    fn exit(&mut self) -> Option<Exit> {
        match self.child.try_wait() {
            Ok(status) => status.map(Exit::Status),
            // Someone else reaped it. The pidfd knows whether it is gone.
            Err(_) => {
                let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
                let ended = poll(&mut fds, Some(&timespec(Duration::ZERO))).is_ok_and(|n| n > 0);
                ended.then_some(Exit::Unknown)
            }
        }
    }

    /// What is left in the pipes of a child that ended.
    fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        let mut drain = |pipe: &mut dyn Read| {
            // Up to where it would block: programs that the child started may still hold the other end.
            let _ = pipe.take(LAST_WORDS).read_to_end(&mut words);
        };
        if let Some(mut pipe) = self.child.stdout.take().filter(never_blocks) {
            drain(&mut pipe);
        }
        if let Some(mut pipe) = self.child.stderr.take().filter(never_blocks) {
            drain(&mut pipe);
        }
        String::from_utf8_lossy(&words).into_owned()
    }
}

fn never_blocks(pipe: &impl AsFd) -> bool {
    ioctl_fionbio(pipe, true).is_ok()
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up, so that a wait does not end just before its time and is begun again.
    let duration = duration.min(Duration::from_secs(3600)) + Duration::from_micros(1);
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
