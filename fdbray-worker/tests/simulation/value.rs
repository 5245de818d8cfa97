//! The bytes of arguments and values: which logical future they stand for, a checksum, the futures inside, padding.

use super::plan::Lid;
use fdbray_worker::id::{ObjectId, ProcessId};

/// What is in the arguments of a call or in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The logical future: of the call itself, or of the value.
    pub lid: Lid,
    /// What the value is; zero in arguments.
    pub sum: u64,
    /// The futures inside.
    pub inside: Vec<(ObjectId, Lid)>,
    /// Further bytes.
    pub pad: usize,
}

impl Content {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 20 * self.inside.len() + self.pad);
        out.extend((self.lid as u32).to_le_bytes());
        out.extend(self.sum.to_le_bytes());
        out.extend((self.inside.len() as u32).to_le_bytes());
        for (id, lid) in &self.inside {
            out.extend(id.owner.get().to_le_bytes());
            out.extend(id.seq.to_le_bytes());
            out.extend((*lid as u32).to_le_bytes());
        }
        out.resize(out.len() + self.pad, self.lid as u8);
        out
    }

    pub fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let count = word(12) as usize;
        let inside = (0..count).map(|i| 16 + 20 * i).map(|at| {
            let owner = ProcessId::new(long(at)).expect("no process is zero");
            (ObjectId { owner, seq: long(at + 8) }, word(at + 16) as Lid)
        });
        let pad = &bytes[16 + 20 * count..];
        let lid = word(0) as Lid;
        assert!(pad.iter().all(|b| *b == lid as u8), "the padding of a value of {lid} was changed");
        Content { lid, sum: long(4), inside: inside.collect(), pad: pad.len() }
    }
}
