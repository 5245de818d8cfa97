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
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |d| d.as_nanos());
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

/// An object: the result of a task, or a value that was put. Displays as `owner-seq` and parses from that; one that the
/// cluster owns, a durable future, as `d<process>-<number>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The process that keeps its record; for a durable future the one that submitted it, which may be long gone.
    pub owner: ProcessId,
    /// Its number there: unique for the owner's life.
    pub seq: u64,
}

/// In the number of an object that the cluster owns.
const DURABLE: u64 = 1 << 63;

impl ObjectId {
    /// The durable future that `submitter` made as its number `n`.
    pub fn durable(submitter: ProcessId, n: u64) -> Self {
        ObjectId { owner: submitter, seq: n | DURABLE }
    }

    /// Whether the cluster owns it.
    pub fn is_durable(self) -> bool {
        self.seq & DURABLE != 0
    }

    /// The number that its submitter gave it.
    pub fn number(self) -> u64 {
        self.seq & !DURABLE
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_durable() { "d" } else { "" };
        write!(f, "{kind}{}-{:x}", self.owner, self.number())
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
        let (durable, rest) =
            s.strip_prefix('d').filter(|r| r.find('-') == Some(16)).map_or((false, s), |r| (true, r));
        let (owner, number) = rest.split_once('-').ok_or(ParseIdError)?;
        let (owner, number) = (owner.parse()?, u64::from_str_radix(number, 16).map_err(|_| ParseIdError)?);
        if number & DURABLE != 0 {
            return Err(ParseIdError);
        }
        Ok(if durable { ObjectId::durable(owner, number) } else { ObjectId { owner, seq: number } })
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
