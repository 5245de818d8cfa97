//! Following the cluster: members that come, go and die, and what becomes of this process when it is declared dead.

use super::{Process, local::LOCAL, outside::Links, start::resources};
use crate::{
    control::members::{Event, Events, Member, Role},
    core::PeerInfo,
    id::ProcessId,
};
use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt,
    process::{Command, exit},
    sync::{Arc, PoisonError, mpsc::Sender},
    time::Duration,
};

/// Why a worker stops serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was asked to: it finishes what runs.
    Drain,
    /// The cluster has declared it dead: it drops everything.
    Declared,
}

/// Tells the core what happens in the cluster. `stop` is of a worker.
pub(super) async fn follow(
    process: Arc<Process>,
    links: Arc<Links>,
    mut events: Events,
    stop: Option<Sender<Stop>>,
) {
    let mut pids = BTreeMap::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Joined(member) => {
                pids.insert(member.id, member.host.pid);
                let capacity = (member.role == Role::Worker).then(|| resources(member.capacity.clone()));
                let info = PeerInfo { id: member.id, capacity };
                process.with_core(true, |core, fx| core.member_joined(info, fx));
            }
            Event::Left(id) => {
                clear_up_after(&process, id);
                pids.remove(&id);
                links.departed(id);
                let nothing = |_| None;
                process.with_core(true, |core, fx| core.member_left(id, false, &nothing, fx));
            }
            Event::Dead { id, exited } => {
                let pid = pids.remove(&id);
                let exited = exited || kill_if_child(pid).await;
                clear_up_after(&process, id);
                died(&process, &links, id, exited);
            }
            Event::Tombstoned(tombstone) => {
                let why = tombstone.map_or_else(|| "it was declared dead".to_owned(), |t| t.to_string());
                tracing::error!(
                    "this process was paused or cut off for so long that the cluster gave it up: {why}"
                );
                process.with_core(true, |core, fx| core.end(fx));
                if let Some(stop) = &stop {
                    // It may be stopping already.
                    let _ = stop.send(Stop::Declared);
                }
            }
            Event::StoreUnreachable(e) => tracing::warn!("the control plane does not answer: {e}"),
            Event::StoreBack => tracing::info!("the control plane answers again"),
        }
    }
}

/// Somebody who works returns the claims of who does not any more.
fn clear_up_after(process: &Process, id: ProcessId) {
    if let Some(durables) = process.outside().and_then(|o| o.durables()).filter(|_| process.marks().is_some())
    {
        durables.died(id);
    }
}

/// What a process has started is known for certain only once it starts nothing more.
fn died(process: &Arc<Process>, links: &Links, id: ProcessId, exited: bool) {
    links.departed(id);
    let marks = links.take_marks(id);
    let started = |lease| marks(lease).filter(|_| exited);
    process.with_core(true, |core, fx| core.member_left(id, true, &started, fx));
}

/// A child that was declared dead but has not exited (it is stopped, or hangs) makes room for another. Says whether it
/// is gone.
async fn kill_if_child(pid: Option<u32>) -> bool {
    let Some(pid) = pid else { return false };
    let runs = |kill: bool| {
        let local = LOCAL.lock().unwrap_or_else(PoisonError::into_inner);
        local.as_ref().is_some_and(|local| if kill { local.kill(pid) } else { local.has(pid) })
    };
    if !runs(true) {
        return false;
    }
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        if !runs(false) {
            return true;
        }
    }
    false
}

/// Who judges whom: all judge all, but the children of a private cluster not their driver. If it is gone, so are they; if
/// it is stopped, in a debugger say, it goes on with them afterwards.
pub(super) fn judges(child: bool) -> fn(&Member) -> bool {
    if child { |member| member.role != Role::Driver } else { |_| true }
}

/// A worker that was declared dead starts again as a new process. A child of a private cluster is started again by its
/// parent, whose leash would not survive.
pub(super) fn begin_anew(child: bool) -> ! {
    if child {
        exit(DECLARED_DEAD);
    }
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let error = command.args(args).exec();
    eprintln!("fdbray: this worker was declared dead and cannot start again: {error}");
    exit(1)
}

/// How often, and how many times, a killed child is looked at.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: u32 = 250;
/// The exit code of a child that was declared dead (`EX_TEMPFAIL`).
const DECLARED_DEAD: i32 = 75;
