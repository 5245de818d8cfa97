//! The records of members, as they are stored.

use super::MemberError;
use crate::control::store::StoreError;
use crate::id::ProcessId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A registered process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The process.
    pub id: ProcessId,
    /// Whether it executes.
    pub role: Role,
    /// Where it can be reached, best first: `unix:@name`, `tcp:1.2.3.4:7000`. None for a driver that cannot be dialled.
    pub addresses: Vec<String>,
    /// What it offers. Nothing, for a driver.
    pub capacity: Capacity,
    /// By which tasks can choose it.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// A hash of its executable.
    pub build_id: u64,
    /// A hash of its table of remote functions.
    pub fingerprint: u64,
    /// Its version of fdbray.
    pub version: String,
    /// Where it runs, so that processes beside it can see it exit.
    pub host: Host,
}

/// What a process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It only submits.
    Driver,
    /// It also executes.
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Driver => "driver",
            Role::Worker => "worker",
        })
    }
}

/// What a worker offers, or a shape asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capacity {
    /// In ten-thousandths of a cpu.
    pub cpus: u64,
    /// In ten-thousandths of a gpu.
    pub gpus: u64,
    /// In bytes.
    pub memory: u64,
    /// Other resources, in ten-thousandths.
    #[serde(default)]
    pub named: Vec<(String, u64)>,
}

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The kernel's `boot_id`: another one after each start of the machine.
    pub boot_id: String,
    /// The inode of its pid namespace, within which `pid` means something.
    pub pid_namespace: u64,
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks of its boot: tells it from a later process with its pid. 0 if unknown.
    pub started: u64,
}

/// What changed in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A process registered.
    Joined(Member),
    /// It left of its own accord.
    Left(ProcessId),
    /// It was declared dead.
    Died(Tombstone),
}

/// Says that a process is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The process.
    pub id: ProcessId,
    /// Who declared it dead.
    pub by: ProcessId,
    /// On what grounds.
    pub cause: Cause,
}

/// The grounds for a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It was seen to have exited.
    Exited,
    /// Its beat stood at this number for too long.
    Silent {
        /// The number.
        beat: u64,
    },
}

impl fmt::Display for Tombstone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Exited => write!(f, "process {} has exited, as process {} saw", self.id, self.by),
            Cause::Silent { .. } => {
                write!(f, "process {} did not beat for 5 s of process {}", self.id, self.by)
            }
        }
    }
}

/// A record as MessagePack with field names.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, MemberError> {
    rmp_serde::to_vec_named(record)
        .map_err(|error| StoreError::Record { key: "member".into(), why: error.to_string() }.into())
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, MemberError> {
    rmp_serde::from_slice(value).map_err(|error| {
        let key = key.escape_ascii().to_string();
        StoreError::Record { key, why: error.to_string() }.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_a_field_that_is_new_or_missing_is_still_read() {
        #[derive(Serialize)]
        struct Newer {
            cpus: u64,
            gpus: u64,
            memory: u64,
            flux_capacitors: u64,
        }
        let newer = encode(&Newer { cpus: 1, gpus: 2, memory: 3, flux_capacitors: 4 }).unwrap();
        let read: Capacity = decode(b"key", &newer).unwrap();
        assert_eq!(read, Capacity { cpus: 1, gpus: 2, memory: 3, named: Vec::new() });
    }

    #[test]
    fn damaged_records_are_errors_or_records_but_never_a_panic() {
        let host = Host { boot_id: "b".into(), pid_namespace: 1, pid: 2, started: 3 };
        let member = Member {
            id: ProcessId::new(7).unwrap(),
            role: Role::Worker,
            addresses: vec!["tcp:1.2.3.4:5".into()],
            capacity: Capacity { named: vec![("x".into(), 1)], ..Capacity::default() },
            labels: vec![("a".into(), "b".into())],
            build_id: u64::MAX,
            fingerprint: 1,
            version: "0.1.0".into(),
            host,
        };
        let change = Change::Joined(member);
        let bytes = encode(&change).unwrap();
        assert_eq!(decode::<Change>(b"key", &bytes).unwrap(), change);
        for at in 0..bytes.len() {
            let _ = decode::<Change>(b"key", &bytes[..at]);
            for byte in 0..=u8::MAX {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                let _ = decode::<Change>(b"key", &damaged);
            }
        }
    }

    #[test]
    fn garbage_is_an_error_that_names_its_key() {
        let error = decode::<Member>(b"\x02key\x00", b"\xc1garbage").unwrap_err();
        assert!(error.to_string().contains("key"), "{error}");
    }
}
