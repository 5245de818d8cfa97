//! Ways into the decoders of bytes from strangers, for fuzzers: any input must return, and allocate little.

use super::{
    bulk::wire,
    frame::{self, Front, Own},
    hello::{self, Answer, Hello, Listing, Proof},
};

/// Messages of the handshake.
pub fn handshake(bytes: &[u8]) {
    // Only that they return matters, here and below.
    let _ = hello::check_preamble(bytes);
    let _ = hello::decode::<Hello>(bytes);
    let _ = hello::decode::<Proof>(bytes);
    let _ = hello::decode::<Answer>(bytes);
    let _ = hello::decode::<Listing>(bytes);
}

/// A stream of frames on the control lane.
pub fn frames(mut bytes: &[u8]) {
    loop {
        match frame::front(bytes) {
            Ok(Front::Frames(len)) => {
                assert!(len >= frame::HEADER);
                bytes = &bytes[len..];
            }
            Ok(Front::Own(len)) => {
                let _ = Own::decode(&bytes[..len]);
                bytes = &bytes[len..];
            }
            Ok(Front::Partial(whole)) => return assert!(whole > bytes.len()),
            Err(_) => return,
        }
    }
}

/// Messages of the bulk lane.
pub fn bulk(bytes: &[u8]) {
    let _ = wire::Head::decode(bytes);
    let _ = wire::Request::decode(bytes);
    let _ = wire::decode_gone(bytes);
    if let Some((head, body)) = bytes.split_at_checked(wire::HEAD) {
        let _ = wire::Head::decode(head);
        let _ = wire::Request::decode(body);
        if let Some((chunk, bytes)) = body.split_at_checked(wire::CHUNK_HEAD) {
            let _ = wire::Chunk::decode(chunk, bytes.len());
        }
    }
}
