//! What can happen in the world.

use super::world::P;
use bytes::Bytes;
use fdbray_worker::{
    core::{Got, Nanos, PeerInfo, TaskKey, message::TaskName},
    id::ObjectId,
};

/// Something that happens to a process or to the world.
#[derive(Debug)]
pub enum Event {
    Tick(P),
    Flush(P, P),
    Deliver { from: P, to: P, epoch: u64, frames: Bytes },
    Release(P),
    Runner(P),
    Step(P, u32),
    Resume(P, TaskKey),
    Abandon(P, TaskKey),
    Abort(P, TaskName),
    Serve { to: P, from: Vec<P>, id: ObjectId, attempt: u32 },
    Fetched { to: P, id: ObjectId, attempt: u32, got: Got },
    DropCopies(P),
    Joined(P, PeerInfo),
    Left(P, P, bool),
    Drain,
    Leave(P, Nanos),
    End,
    Dialled(P, P),
    Up { to: P, peer: P, session: u64, epoch: u64, fresh: bool, received: u64 },
    Cut { at: P, peer: P, epoch: u64 },
    Ended { at: P, peer: P, session: Option<u64>, why: Option<&'static str> },
    Mend(P, P),
    Part(P, P, u64),
    Crash,
    Pause,
    CutSome,
    Late,
    FaultsOver,
}

/// An event in the heap: the first comes first, and of equals the one planned first.
pub struct Due {
    pub at: Nanos,
    pub seq: u64,
    pub event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Due {}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Event {
    /// The process that handles it, if it is one: not while it is paused, and not when it is dead.
    pub fn whose(&self) -> Option<P> {
        match self {
            Event::Tick(p)
            | Event::Flush(p, _)
            | Event::Release(p)
            | Event::DropCopies(p)
            | Event::Runner(p)
            | Event::Step(p, _)
            | Event::Resume(p, _)
            | Event::Abandon(p, _)
            | Event::Abort(p, _)
            | Event::Joined(p, _)
            | Event::Left(p, ..)
            | Event::Leave(p, _)
            | Event::Deliver { to: p, .. }
            | Event::Fetched { to: p, .. }
            | Event::Up { to: p, .. }
            | Event::Cut { at: p, .. }
            | Event::Ended { at: p, .. } => Some(*p),
            _ => None,
        }
    }
}
