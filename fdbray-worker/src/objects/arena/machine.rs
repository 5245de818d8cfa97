//! How much memory may still be reserved before the machine, or the container around this process, runs out.

use super::full::Bound;
use crate::config::machine;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Tells how much memory is left. Tests put others in the place of [`ThisMachine`].
pub trait Machine: Send + Sync {
    /// What can still be used at this moment.
    fn available(&self) -> Available;
}

/// Memory that can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// What limits it.
    pub of: Owner,
}

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A control group (a container) around this process.
    Group,
    /// The machine.
    Machine,
}

impl Available {
    /// Why nothing more is reserved.
    pub(super) fn bound(self, reserve: u64) -> Bound {
        match self.of {
            Owner::Group => Bound::Group { available: self.bytes, reserve },
            Owner::Machine => Bound::Machine { available: self.bytes, reserve },
        }
    }
}

/// The machine that this process runs on: `/proc/meminfo` and the control groups.
#[derive(Clone, Debug)]
pub struct ThisMachine {
    root: PathBuf,
}

impl Default for ThisMachine {
    fn default() -> Self {
        ThisMachine { root: "/".into() }
    }
}

impl ThisMachine {
    /// As if the machine's files were below `root`.
    pub fn below(root: &Path) -> Self {
        ThisMachine { root: root.into() }
    }
}

impl Machine for ThisMachine {
    fn available(&self) -> Available {
        let meminfo = fs::read_to_string(self.root.join("proc/meminfo")).ok();
        // A machine that tells nothing refuses by itself when it has no more.
        let bytes = meminfo.and_then(|text| machine::kilobytes(&text, "MemAvailable:")).unwrap_or(u64::MAX);
        let groups = machine::memory_groups(&self.root).into_iter().filter_map(|group| {
            let bytes = group.limit()?.saturating_sub(group.used()?);
            Some(Available { bytes, of: Owner::Group })
        });
        groups.fold(Available { bytes, of: Owner::Machine }, Available::min)
    }
}

/// The bytes that an arena may have where nothing is configured: 30% of the memory of the machine or the container.
pub fn default_limit() -> u64 {
    machine::memory() / 10 * 3
}

/// The bytes that arenas leave to others where nothing is configured: 5% of the memory, between 64 MiB and 2 GiB.
pub fn default_reserve() -> u64 {
    (machine::memory() / 20).clamp(64 << 20, 2 << 30)
}
