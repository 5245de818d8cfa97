//! One object on its way here: its memory, and which parts of it are still to be asked for.

use super::ranges::Ranges;
use crate::{
    id::ObjectId,
    objects::BlockMut,
    payload::{Damaged, Payload},
};
use bytes::Bytes;
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// One object, whoever sends which part of it.
pub(super) struct Transfer {
    pub id: ObjectId,
    /// The attempt that gave it; 0 if that is not known.
    pub attempt: u32,
    pub len: u64,
    /// Held for looking, and for receiving what has arrived in a socket already; never across an await. Taken after that of
    /// a session's lane.
    state: Mutex<State>,
    /// There is something to ask for again, or everything is here.
    pub changed: Notify,
}

/// Memory for an object.
#[derive(Debug)]
pub enum Room {
    /// Which other processes of this host can read.
    Shared(BlockMut),
    /// For this process alone.
    Own(Vec<u8>),
}

impl Room {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Room::Shared(block) => block,
            Room::Own(bytes) => bytes,
        }
    }

    fn seal(self) -> Bytes {
        match self {
            Room::Shared(block) => block.seal().into(),
            Room::Own(bytes) => bytes.into(),
        }
    }
}

struct State {
    /// None for an object without bytes.
    room: Option<Room>,
    ranges: Ranges,
    /// Whether the bytes are a value's flat form; `None` before the first of them.
    flat: Option<bool>,
}

impl Transfer {
    /// `room` has `len` bytes, or is none when there are none.
    pub fn new(id: ObjectId, attempt: u32, len: u64, room: Option<Room>) -> Self {
        let state = State { room, ranges: Ranges::new(len), flat: None };
        Transfer { id, attempt, len, state: Mutex::new(state), changed: Notify::new() }
    }

    /// The next part to ask somebody for.
    pub fn take(&self) -> Option<Range<u64>> {
        self.state().ranges.take()
    }

    /// Whoever was asked for this does not send it.
    pub fn give_back(&self, range: Range<u64>) {
        self.state().ranges.give_back(range);
        self.changed.notify_waiters();
    }

    /// So many bytes more are here, and are what they should be.
    pub fn arrived(&self, bytes: u64) {
        let complete = {
            let mut state = self.state();
            state.ranges.arrived(bytes);
            state.ranges.complete()
        };
        if complete {
            self.changed.notify_waiters();
        }
    }

    pub fn complete(&self) -> bool {
        self.state().ranges.complete()
    }

    /// Whether bytes of this form can be some of this object's: all are of one form.
    pub fn fits(&self, flat: bool) -> bool {
        *self.state().flat.get_or_insert(flat) == flat
    }

    /// Gives `f` the memory of a part. Whoever calls was asked to bring it, and nobody else was.
    pub fn with<T>(&self, part: Range<u64>, f: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut state = self.state();
        let part = part.start as usize..part.end as usize;
        let bytes = state.room.as_mut().and_then(|room| room.bytes().get_mut(part));
        // Empty for an object without bytes, whose part is empty too.
        f(bytes.unwrap_or_default())
    }

    /// The value, once everything is here.
    pub fn value(&self) -> Result<Payload, Damaged> {
        let mut state = self.state();
        let bytes = state.room.take().map_or_else(Bytes::new, Room::seal);
        match state.flat {
            Some(true) => Payload::from_flat(bytes),
            _ => Ok(Payload::from(bytes)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
