//! Where the records of members are. The table is in the module's documentation.

use crate::control::store::{Key, StampedKey};
use crate::id::ProcessId;

#[derive(Clone)]
pub(super) struct Keys {
    root: Key,
}

impl Keys {
    pub(super) fn new(cluster: &str) -> Self {
        Keys { root: Key::new().str("fdbray").str(cluster) }
    }

    pub(super) fn members(&self) -> Key {
        self.root.clone().str("member")
    }

    pub(super) fn member(&self, id: ProcessId) -> Key {
        self.members().u64(id.get())
    }

    pub(super) fn beat(&self, id: ProcessId) -> Key {
        self.root.clone().str("beat").u64(id.get())
    }

    pub(super) fn tombstone(&self, id: ProcessId) -> Key {
        self.root.clone().str("tomb").u64(id.get())
    }

    pub(super) fn epoch(&self) -> Key {
        self.root.clone().str("epoch")
    }

    pub(super) fn log(&self) -> Key {
        self.root.clone().str("log")
    }

    /// The place of a transaction's change in the log.
    pub(super) fn next_log(&self) -> StampedKey {
        self.log().next_stamp(0)
    }
}
