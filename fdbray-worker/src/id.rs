//! Names that mean the same in every process of a cluster: processes and objects.

use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU64, str::FromStr};

/// A process: one incarnation of a program that joined a cluster. Random, never zero, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId(NonZeroU64);

impl ProcessId {
    /// The id for `raw`, unless that is zero.
    pub const fn new(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(ProcessId(raw)),
            None => None,
        }
    }

    /// A new random id, from the operating system's source of randomness.
    pub fn random() -> Self {
        let random = std::hash::RandomState::new();
        let mut salt = 0_u64;
        loop {
            // `RandomState` is seeded by the operating system once a thread and differs for every value;
            // pid and time are mixed in so that two processes forked from one parent differ too.
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
            let hash = std::hash::BuildHasher::hash_one(&random, (std::process::id(), now, salt));
            if let Some(id) = ProcessId::new(hash) {
                return id;
            }
            salt += 1;
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ProcessId {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        u64::from_str_radix(s, 16).ok().and_then(ProcessId::new).ok_or(ParseIdError)
    }
}

/// An object: the result of a task, or a value that was put. Displays as `owner-seq` and parses from that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The process that keeps its record.
    pub owner: ProcessId,
    /// Its number there: unique for the owner's life.
    pub seq: u64,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.owner, self.seq)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let (owner, seq) = s.split_once('-').ok_or(ParseIdError)?;
        Ok(ObjectId { owner: owner.parse()?, seq: u64::from_str_radix(seq, 16).map_err(|_| ParseIdError)? })
    }
}

/// Text that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: ids are hexadecimal, `<process>` or `<process>-<number>`")]
pub struct ParseIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_what_they_display() {
        let id = ObjectId { owner: ProcessId::new(0xabc).unwrap(), seq: 77 };
        assert_eq!(id.to_string(), "0000000000000abc-4d");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("0-1".parse::<ObjectId>(), Err(ParseIdError));
        assert_ne!(ProcessId::random(), ProcessId::random());
    }
}
