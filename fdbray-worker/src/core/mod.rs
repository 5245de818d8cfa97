//! Decides: who owns, who runs, who waits, who holds. No I/O, no clock, no randomness of its own.
//!
//! [`Core`] is the state of one process. Everything that happens to it is a method call with the time already told
//! by [`Core::advance`], and everything that it wants done comes back in [`Effects`], to be carried out after the lock around the core
//! is released. The same code runs under the threads of a real process (`runtime`) and, many times over in one thread
//! on a virtual network, in the simulator (`tests/simulation`).
//!
//! A process plays two parts at once. As **owner** it keeps a [record](table) for each future that it made, a queue
//! per [shape], and the [leases](lease) that it holds. As **worker** it [grants](grant) leases from its own
//! capacity and hands [batches](grant::Start) of tasks to its threads. It leases from itself in the same way, over a loopback
//! session, so that a nested call is no special case.
//!
//! | file | what it decides |
//! |---|---|
//! | `session` | numbering, acknowledging and sending again what goes to one peer |
//! | `message` | what two processes say to each other |
//! | `peers`, `lost` | who is there, who is gone, and what follows from it |
//! | `table`, `submit`, `settle` | the life of an owned future |
//! | `lease`, `hold`, `dispatch`, `rebalance`, `placement` | the owner's side of running a task elsewhere |
//! | `grant`, `share`, `run` | the worker's side of it |
//! | `drain` | leaving in order |
//! | `blocking` | tasks that wait for futures and give their slot back |
//! | `borrow`, `lend` | futures of other owners, and this one's at others |
//! | `objects`, `copies` | values that are too large to travel inside a message; copies of them, and who has some |
//! | `stored` | the values that this process keeps, and which of them leave memory when that is full |
//! | `line`, `reach` | calls of actors: in order; where they go, and what becomes of them when the actor is gone |
//! | `incarnations` | the owner's side of actors that are lost, made again, or ended |
//! | `clustered` | actors of which the store knows: where they are, until when they run here, whose end is told |
//! | `hosted`, `mailbox` | the actors that live here, and which of their calls may run at once; calls that wait |
//! | `lasting`, `saving`, `ledger`, `checkpoint`, `ticket` | actors with checkpoints: each call once, across all their incarnations |
//! | `timers` | deadlines, retries, idle leases, shapes that nobody can run |

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod blocking;
mod borrow;
pub mod checkpoint;
mod clustered;
mod copies;
mod dispatch;
mod drain;
mod effects;
mod gate;
pub mod grant;
mod hold;
mod hosted;
mod incarnations;
mod lasting;
pub mod lease;
mod ledger;
mod lend;
mod line;
mod lost;
mod mailbox;
pub mod message;
mod objects;
mod peers;
mod placement;
mod reach;
mod rebalance;
mod run;
mod saving;
pub mod session;
mod settle;
pub mod shape;
mod share;
mod stored;
mod submit;
pub mod table;
#[cfg(test)]
mod tests;
mod ticket;
mod timers;

pub use blocking::Steal;
pub use borrow::Origin;
pub use effects::{Effects, Fetch, Flush, Got, Keep};
pub use gate::Gate;
pub use grant::{Finished, Instance, Start, TaskKey};
pub use peers::PeerInfo;
pub use placement::{At, Place};
pub use stored::{Found, SetAside};
pub use submit::Submission;

use crate::id::ProcessId;
use borrow::Borrows;
use grant::Worker;
use lease::Owner;
use objects::Objects;
use peers::Peers;
use rustc_hash::FxHashMap;
use shape::{Resources, Templates};
use table::Table;
use timers::Timers;

/// Time since the process started, in nanoseconds.
pub type Nanos = u64;

/// One millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// What a core is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This process.
    pub me: ProcessId,
    /// Seeds the choice among equals.
    pub seed: u64,
    /// What this process can run at once; `None` for a driver.
    pub capacity: Option<Resources>,
    /// Bytes that pending calls of this process may hold.
    pub max_pending_bytes: u64,
    /// Values above this many bytes are fetched rather than sent.
    pub inline: usize,
    /// How long a call waits for a worker that could ever run it.
    pub unschedulable_after: Nanos,
    /// How long an idle lease is kept.
    pub idle_lease: Nanos,
    /// A worker to which more than so many bytes of arguments would have to be moved is left out while there is another
    /// to which fewer would.
    pub locality: u64,
}

/// The state of one process. See the [module](self).
pub struct Core {
    settings: Settings,
    now: Nanos,
    random: u64,
    templates: Templates,
    table: Table,
    borrows: Borrows,
    owner: Owner,
    worker: Worker,
    peers: Peers,
    objects: Objects,
    lines: line::Lines,
    hosted: hosted::Hosted,
    clustered: clustered::Clustered,
    tickets: ticket::Tickets,
    kept: checkpoint::Kept,
    timers: Timers,
    /// Shapes with new tasks or new room, to be looked at when this turn ends.
    dirty: Dirty,
    /// Objects whose last reference may be gone, likewise.
    unreferenced: Vec<crate::id::ObjectId>,
    pending_bytes: u64,
    room_wanted: submit::RoomWanted,
    gates: gate::Gates,
    ended: bool,
    /// What the functions are called between binaries that differ, and which place that is in the registry.
    functions: Vec<u64>,
    places: FxHashMap<u64, u32>,
    /// Why no worker will ever come.
    hopeless: Option<String>,
}

impl Core {
    /// A process that knows nobody yet.
    pub fn new(settings: Settings) -> Self {
        let mut core = Core {
            now: 0,
            random: settings.seed | 1,
            templates: Templates::default(),
            table: Table::default(),
            borrows: Borrows::default(),
            owner: Owner::default(),
            worker: Worker::new(settings.capacity.clone()),
            peers: Peers::default(),
            objects: Objects::default(),
            lines: Default::default(),
            hosted: Default::default(),
            clustered: Default::default(),
            tickets: Default::default(),
            kept: Default::default(),
            timers: Timers::default(),
            dirty: Dirty::default(),
            unreferenced: Vec::new(),
            pending_bytes: 0,
            room_wanted: Default::default(),
            gates: Default::default(),
            ended: false,
            functions: Vec::new(),
            places: FxHashMap::default(),
            hopeless: None,
            settings,
        };
        core.add_loopback();
        core
    }

    /// This process.
    pub fn me(&self) -> ProcessId {
        self.settings.me
    }

    /// Whether this process keeps the record of `id`.
    fn owns(&self, id: crate::id::ObjectId) -> bool {
        id.owner == self.settings.me && !id.is_durable()
    }

    /// Tells what each function, by its place in the registry, is called between binaries that differ.
    pub fn name_functions(&mut self, names: Vec<u64>) {
        self.places = names.iter().zip(0..).map(|(name, place)| (*name, place)).collect();
        self.functions = names;
    }

    /// Tells the time, which never goes back.
    pub fn advance(&mut self, now: Nanos) {
        self.now = self.now.max(now);
    }

    /// The time that was told last.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Ends a turn: what became possible is done, until nothing more follows. Every entry point ends with it.
    fn turn(&mut self, fx: &mut Effects) {
        loop {
            self.free_unreferenced(fx);
            while let Some(shape) = self.dirty.pop() {
                self.dispatch(shape, fx);
            }
            self.dispatch_lines(fx);
            let heard = self.loopback(fx);
            if !heard && self.dirty.is_empty() && self.unreferenced.is_empty() && self.lines.is_clean() {
                break;
            }
        }
        self.offer_work(fx);
        self.plan_rounds();
    }

    /// A number below `n`, for choices among equals (xorshift64*, Vigna).
    fn random_below(&mut self, n: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        if n == 0 { 0 } else { high as usize % n }
    }
}

/// Shapes to look at: a handful, so a list beats a set.
#[derive(Default)]
struct Dirty(Vec<u32>);

impl Dirty {
    fn insert(&mut self, shape: u32) {
        if !self.0.contains(&shape) {
            self.0.push(shape);
        }
    }

    fn extend(&mut self, shapes: std::ops::Range<u32>) {
        shapes.for_each(|s| self.insert(s));
    }

    fn pop(&mut self) -> Option<u32> {
        self.0.pop()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Core {
    /// Who waits for what; for the simulator, and for a process that seems to stand still.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "core of {}: {} records, {} pending bytes",
            self.me(),
            self.table.len(),
            self.pending_bytes
        )?;
        self.owner.describe(f)?;
        self.worker.describe(f)?;
        self.lines.describe(f)?;
        self.hosted.describe(f)?;
        self.peers.describe(f)
    }
}
