//! A value with buffers, as it arrives over a socket or is read from a file.

use crate::Target;
use bytes::Bytes;
use fdbray_worker::payload::Payload;

pub(crate) const TARGETS: &[Target] = &[Target { name: "flat_values", decode: flat, corpus: flat_corpus }];

/// The flat form of a value.
pub fn flat(bytes: &[u8]) {
    match Payload::from_flat(Bytes::copy_from_slice(bytes)) {
        Err(damaged) => drop(damaged.to_string()),
        Ok(payload) => {
            assert_eq!(payload.len(), bytes.len());
            let parts = payload.buffers().iter().map(Bytes::len).sum::<usize>() + payload.head().len();
            assert!(parts <= bytes.len(), "parts of {parts} bytes");
            assert_eq!(payload.contiguous().len(), bytes.len());
        }
    }
}

fn flat_corpus() -> Vec<Vec<u8>> {
    let of = |lens: &[usize]| {
        let buffers = lens.iter().map(|len| Bytes::from(vec![7; *len])).collect();
        Payload::in_parts(Bytes::from_static(b"head"), buffers).contiguous().to_vec()
    };
    vec![of(&[]), of(&[1]), of(&[64, 0, 100])]
}
