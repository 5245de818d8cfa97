//! A value that has left the arena, or is about to: parked in memory until it is written, then on the disk.

use super::{
    Arena, BlockMut,
    disk::{Disk, Extent, SpillError},
    parked::Parked,
};
use crate::payload::Payload;
use bytes::{Bytes, BytesMut};
use std::{
    fmt,
    ops::DerefMut,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A value outside of the arena. What it takes on the disk is free again when it is dropped.
pub struct Spilled {
    len: u64,
    state: Mutex<State>,
}

enum State {
    /// It is being written.
    Parked(Parked),
    OnDisk(Arc<Extent>),
}

/// What was written cannot be read as it was.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damaged {
    /// The file has become shorter, or the disk fails.
    #[error("a spilled value cannot be read: {0}; look at the disk of the spill directory")]
    Unreadable(#[source] Arc<std::io::Error>),
    /// Its bytes are not those that were written.
    #[error("a spilled value is damaged; look at the disk of the spill directory")]
    Changed,
}

impl Spilled {
    /// Parks `value`, of which the caller holds no other clone, so that it can be written.
    ///
    /// # Errors
    /// Gives it back when it is not in `arena`, or somebody else holds some of it.
    pub fn park(value: Payload, arena: &Arena) -> Result<Arc<Self>, Payload> {
        let len = value.len() as u64;
        let parked = Parked::of(value, arena)?;
        Ok(Arc::new(Spilled { len, state: Mutex::new(State::Parked(parked)) }))
    }

    /// Such a value that stays in memory, for the simulator.
    #[doc(hidden)]
    pub fn simulated(value: Payload) -> Arc<Self> {
        let len = value.len() as u64;
        Arc::new(Spilled { len, state: Mutex::new(State::Parked(Parked::simulated(&value))) })
    }

    /// How many bytes it is.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes, which is not spilled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is on disk.
    pub fn is_written(&self) -> bool {
        matches!(*self.state(), State::OnDisk(_))
    }

    /// The value, while it is in memory still.
    pub fn in_memory(&self) -> Option<Payload> {
        match &*self.state() {
            State::Parked(parked) => Some(parked.value()),
            State::OnDisk(_) => None,
        }
    }

    /// Writes it down, and lets go of the memory.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn write(&self, disk: &Disk) -> Result<(), SpillError> {
        let parked = match &*self.state() {
            State::Parked(parked) => parked.clone(),
            State::OnDisk(_) => return Ok(()),
        };
        let extent = disk.write(parked.form(), &parked.value().flat_parts())?;
        let before = std::mem::replace(&mut *self.state(), State::OnDisk(Arc::new(extent)));
        // Not under the lock.
        drop((before, parked));
        Ok(())
    }

    /// Reads it into memory of the arena that `room` gives, or into this process's own where that gives none.
    ///
    /// # Errors
    /// [`Damaged`]: it is lost.
    pub fn read(&self, room: impl FnOnce(usize) -> Option<BlockMut>) -> Result<Payload, Damaged> {
        let extent = match &*self.state() {
            State::Parked(parked) => return Ok(parked.value()),
            State::OnDisk(extent) => extent.clone(),
        };
        let len = self.len as usize;
        let bytes: Bytes = match room(len) {
            Some(mut block) => {
                extent.read(block.deref_mut())?;
                block.seal().into()
            }
            None => {
                let mut bytes = BytesMut::zeroed(len);
                extent.read(&mut bytes)?;
                bytes.freeze()
            }
        };
        extent.value(bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Spilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spilled({} bytes, {})", self.len, if self.is_written() { "on disk" } else { "in memory" })
    }
}
