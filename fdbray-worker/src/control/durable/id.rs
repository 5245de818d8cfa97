//! The names of durable futures.

use crate::control::store::Key;
use crate::control::store::key::Element;
use crate::id::{ObjectId, ParseIdError, ProcessId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A durable future. Chosen by the process that submits it, unique for ever. Displays as `d<process>-<number>`, all
/// hexadecimal, and parses from that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FutureId {
    /// The process that submitted it. It may be long gone.
    pub process: ProcessId,
    /// Its number there.
    pub seq: u64,
}

impl FutureId {
    /// The future of that number, of that process.
    pub fn new(process: ProcessId, seq: u64) -> Self {
        FutureId { process, seq }
    }

    /// As the last two elements of a key.
    pub(super) fn append(self, key: Key) -> Key {
        key.u64(self.process.get()).u64(self.seq)
    }

    /// The future that the last two elements of a key name.
    pub(super) fn from_elements(elements: &[Element]) -> Option<FutureId> {
        let [.., process, seq] = elements else { return None };
        Some(FutureId { process: ProcessId::new(process.as_u64()?)?, seq: seq.as_u64()? })
    }
}

impl fmt::Display for FutureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}-{:x}", self.process, self.seq)
    }
}

impl fmt::Debug for FutureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FutureId {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let id: ObjectId = s.parse()?;
        if !id.is_durable() {
            return Err(ParseIdError);
        }
        Ok(FutureId { process: id.owner, seq: id.number() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_what_they_display_and_come_back_from_keys() {
        let id = FutureId::new(ProcessId::new(0xabc).unwrap(), 77);
        assert_eq!(id.to_string(), "d0000000000000abc-4d");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("0000000000000abc-4d".parse::<FutureId>(), Err(ParseIdError), "that is an object");
        let key = id.append(Key::new().str("x"));
        assert_eq!(FutureId::from_elements(&Key::elements(key.as_ref()).unwrap()), Some(id));
    }
}
