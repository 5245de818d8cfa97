//! Frames, handshake, connections: the sessions between processes, with two lanes each.
//!
//! [`Net::start`] is the way in: it listens, dials and serves a [`Host`], which decides everything about frames but
//! their boundaries. A session is a [`Link`]; sending is [`Link::flush`] on the caller's thread or
//! [`Link::wake_writer`] for the I/O thread's. Large values are pulled by [`Net::fetch`] over a second connection that
//! has a thread of its own, so that frames never wait for them.
//!
//! One file each: the [`frame`]s of the control lane; the messages of the handshake ([`hello`]) and the exchange of
//! them; dialling and listening; the table of sessions; the life of one; the bulk lane.

mod ask;
mod build_id;
mod bulk;
mod connect;
mod error;
pub mod frame;
pub mod fuzz;
mod handshake;
pub mod hello;
mod host;
mod link;
mod listen;
mod manager;
mod options;
mod service;
mod session;
mod socket;
#[cfg(test)]
mod tests;

pub use build_id::build_id;
pub use bulk::{Room, wire as bulk_wire};
pub use error::{Ended, FetchError, HandshakeError, NetError};
pub use host::{Host, Soon};
pub use link::{Link, PeerHello};
pub use options::{Options, Role, Secret};
pub use service::Net;
pub use socket::MAX_FDS;

use std::io;

/// Random bytes from the operating system.
fn fill_random(mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        let (filled, rest) = rustix::rand::getrandom(&mut *out, rustix::rand::GetRandomFlags::empty())
            .map(|count| out.split_at_mut(count))?;
        debug_assert!(!filled.is_empty());
        out = rest;
    }
    Ok(())
}

/// A random number from the operating system.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill_random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
