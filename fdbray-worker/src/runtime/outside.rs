//! The world outside this process: its links, its cluster, and carrying out what the core wants of them.

use super::{
    Process,
    durable::Durables,
    fetch::fetch_value,
    logs::{Functions, LogLine, Printer, Stream},
    marks::{MarksView, SLOTS},
    news::News,
    process::mark_of,
    shared::SharedMemory,
};
use crate::{
    control::members::{Member, MembershipHandle},
    core::Effects,
    id::ProcessId,
    net::{Link, Net, PeerHello, Role},
};
use rustc_hash::FxHashMap;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

/// The world outside this process.
pub(crate) struct Outside {
    pub net: Net,
    /// Set once this process has joined; until then nobody knows it, so nothing depends on it.
    members: OnceLock<MembershipHandle>,
    durables: OnceLock<Arc<Durables>>,
    pub io: tokio::runtime::Handle,
    pub links: Arc<Links>,
}

/// Sessions that stand. Filled by the network's calls, which may come before everything else has started.
pub(crate) struct Links {
    shared: Arc<SharedMemory>,
    all: RwLock<FxHashMap<ProcessId, Arc<Link>>>,
    /// What peers on this host have started, readable also after they died.
    marks: Mutex<FxHashMap<ProcessId, Arc<MarksView>>>,
}

impl Links {
    pub fn new(shared: Arc<SharedMemory>) -> Self {
        Links { shared, all: RwLock::default(), marks: Mutex::default() }
    }

    /// Adds one; gives the peer's start marks, if it is on this host.
    pub fn add(&self, link: &Arc<Link>) -> Option<Arc<MarksView>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(link.peer(), link.clone());
        match handed(link.peer_hello()).marks?.try_clone().and_then(MarksView::open) {
            Ok(view) => {
                let view = Arc::new(view);
                self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(link.peer(), view.clone());
                Some(view)
            }
            Err(e) => {
                tracing::warn!(
                    "the start marks of {} cannot be read ({e}): if it dies, every task that was sent to it counts as \
                     started",
                    link.peer()
                );
                None
            }
        }
    }

    pub fn remove(&self, peer: ProcessId) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    }

    pub fn get(&self, peer: ProcessId) -> Option<Arc<Link>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }

    pub fn peers(&self) -> Vec<ProcessId> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Notes that a process has exited or left its cluster, so that it is not dialled any more: ids are not used again.
    pub fn departed(&self, id: ProcessId) {
        self.shared.departed(id);
    }

    pub fn is_departed(&self, id: ProcessId) -> bool {
        self.shared.is_departed(id)
    }

    /// Up to which number the tasks of a lease may have been started by a peer that is gone.
    pub fn take_marks(&self, peer: ProcessId) -> impl Fn(u32) -> Option<u32> + use<> {
        let view = self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        move |lease| {
            let mark = view.as_ref()?.read(lease as usize % SLOTS)?;
            // A slot that another lease has used last tells that lease's number; one that none has used since, zero.
            match mark >> 32 {
                of if of == u64::from(lease) => Some(mark as u32),
                of if mark_of(lease, 0) > mark && of < u64::from(lease) => Some(0),
                _ => None,
            }
        }
    }
}

/// What a peer of this host has handed over: its shared memory, and, if it is a worker, its start marks.
pub(super) struct Handed<'a> {
    pub arena: Option<&'a OwnedFd>,
    pub marks: Option<&'a OwnedFd>,
}

/// Sorts what [`Served`](super::serve::Served) has handed over.
pub(super) fn handed(hello: &PeerHello) -> Handed<'_> {
    match (&hello.fds[..], hello.role) {
        ([arena, marks, ..], _) => Handed { arena: Some(arena), marks: Some(marks) },
        ([marks], Role::Worker) => Handed { arena: None, marks: Some(marks) },
        ([arena], Role::Driver) => Handed { arena: Some(arena), marks: None },
        ([], _) => Handed { arena: None, marks: None },
    }
}

impl Outside {
    pub fn new(net: Net, io: tokio::runtime::Handle, links: Arc<Links>) -> Self {
        Outside { net, members: OnceLock::new(), durables: OnceLock::new(), io, links }
    }

    /// This process has joined its cluster.
    pub fn joined(&self, members: MembershipHandle, durables: Arc<Durables>) {
        // Joined once, by the one who starts the process.
        let _ = self.members.set(members);
        let _ = self.durables.set(durables);
    }

    /// What it has to do with durable futures, once it has joined.
    pub fn durables(&self) -> Option<&Arc<Durables>> {
        self.durables.get()
    }

    /// The cluster, once it was joined.
    pub fn members(&self) -> Option<&MembershipHandle> {
        self.members.get()
    }

    pub fn member(&self, id: ProcessId) -> Option<Arc<Member>> {
        self.members.get()?.members().get(&id).cloned()
    }

    /// Tells a process something, if there is a session with it.
    pub fn tell(&self, peer: ProcessId, news: &News) {
        if let Some(link) = self.links.get(peer) {
            link.tell(news.encode());
        }
    }

    /// The pid of a member on this host.
    pub fn pid_of(&self, id: ProcessId) -> Option<u32> {
        self.member(id).map(|m| m.host.pid)
    }

    /// Leaves the cluster.
    pub async fn leave(&self) {
        if let Some(members) = self.members.get()
            && let Err(e) = members.leave().await
        {
            tracing::debug!("leaving the cluster failed, which the others will notice by themselves: {e}");
        }
    }

    fn dial(&self, process: &Arc<Process>, peer: ProcessId) {
        if self.links.is_departed(peer) {
            let process = process.clone();
            let nothing = |_| None;
            self.io.spawn(async move {
                process.with_core(true, |core, fx| core.ended_session(peer, None, &nothing, fx));
            });
            return;
        }
        let addresses = self.member(peer).map(|m| m.addresses.clone()).unwrap_or_default();
        self.net.dial(peer, &addresses);
        if let (false, Some(members)) = (addresses.iter().any(|a| a.starts_with("tcp:")), self.members()) {
            // One on this host that is gone is not waited for.
            members.look_at(peer);
        }
    }

    /// Carries out what the core wants of the network.
    pub fn carry_out(&self, process: &Arc<Process>, direct: bool, fx: &mut Effects) {
        for flush in fx.flush.drain(..) {
            if let Some(link) = self.links.get(flush.peer) {
                if direct || flush.urgent { link.flush() } else { link.wake_writer() }
            }
        }
        for fetch in fx.fetch.drain(..) {
            let process = process.clone();
            self.io.spawn(async move { fetch_value(&process, fetch).await });
        }
        for peer in fx.dial.drain(..) {
            self.dial(process, peer);
        }
        if !(fx.attach.is_empty() && fx.detach.is_empty() && fx.cancel.is_empty())
            && let Some(durables) = self.durables()
        {
            durables.carry_out(&mut fx.attach, &mut fx.detach, &mut fx.cancel);
        }
        if !(fx.find_actors.is_empty() && fx.confirmed.is_empty() && fx.over.is_empty() && fx.keep.is_empty())
            && let Some(durables) = self.durables()
        {
            durables.carry_out_actors(fx);
        }
        for (peer, why) in fx.close.drain(..) {
            self.net.close(peer, &why);
        }
    }
}

/// Shows a line of a worker in the driver's terminal.
pub(crate) fn print((worker, kind, function, text): (ProcessId, u8, String, String)) {
    let mut functions = Functions::NONE;
    if !function.is_empty() {
        functions.add(function);
    }
    let stream = match kind {
        0 => Stream::Stdout,
        1 => Stream::Stderr,
        _ => Stream::Event,
    };
    if let Some(printer) = printer() {
        printer.print(worker, LogLine { stream, functions, text });
    }
}

/// Which number a line's origin has on the wire.
pub(crate) fn kind_of(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Event => 2,
    }
}

/// The thread that prints workers' lines, started with the first of them.
pub(crate) fn printer() -> Option<&'static Printer> {
    static PRINTER: OnceLock<Option<Printer>> = OnceLock::new();
    PRINTER.get_or_init(|| Printer::start().ok()).as_ref()
}
