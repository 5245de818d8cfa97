//! What two processes tell each other before a session: the messages, their checks, the proof of the secret.
//!
//! Four messages, each a little-endian `u32` length and that many bytes of postcard, at most [`MAX_MESSAGE`]:
//!
//! ```text
//! dialler                                acceptor
//! preamble, Hello                ->
//!                                <-      preamble, Hello
//!    both check the other's Hello, by the same rules
//! Proof                          ->
//!                                <-      Answer::Accept | Answer::Refuse | Answer::Differ
//! after Differ only: Listing     ->
//! ```
//!
//! The preamble is [`MAGIC`] and the protocol's version as a little-endian `u32`; it never changes, so that any two
//! versions can tell each other apart. Proofs are HMAC-SHA-256 under the secret over the side's name and a hash of
//! both Hellos, which hold a fresh challenge each: the dialler proves first, so that an acceptor gives strangers
//! nothing to guess at.

use super::{error::HandshakeError, options::Role};
use crate::{id::ProcessId, registry};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// The version of everything that travels between processes.
pub const PROTOCOL: u32 = 4;

/// The first bytes of every connection.
pub const MAGIC: [u8; 8] = *b"fdbray\r\n";

/// The most bytes that a message of the handshake may have.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Bytes of the preamble.
pub(crate) const PREAMBLE: usize = MAGIC.len() + 4;

/// What each side says of itself first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its cluster.
    pub cluster: String,
    /// Who it is.
    pub from: ProcessId,
    /// Whom it takes the other for.
    pub to: ProcessId,
    /// What it does.
    pub role: Role,
    /// The session's nonce, chosen by the side that dialled first; the acceptor repeats it.
    pub nonce: u64,
    /// What the connection is for.
    pub lane: Lane,
    /// To resume a session: the last frame number that the dialler has of it.
    pub resume: Option<u64>,
    /// Its executable.
    pub build: u64,
    /// Its functions.
    pub fingerprint: u64,
    /// Whether it takes peers with another executable, function by function.
    pub mixed: bool,
    /// Whether it has a secret, and so wants proof of it.
    pub secured: bool,
    /// Random, so that a proof is good for one connection.
    pub challenge: [u8; 32],
    /// Where it can be dialled; empty when nowhere.
    pub addresses: Vec<String>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lane {
    /// Frames.
    Control,
    /// Objects, in both directions.
    Bulk,
}

/// The dialler's proof that it has the secret; zeroes when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof(pub [u8; 32]);

/// The acceptor's last word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The connection stands.
    Accept {
        /// The acceptor's proof.
        proof: Proof,
        /// The last frame number that it has of the session; 0 for a new one.
        received: u64,
        /// The nonce that it proposed itself when it last dialled: an attempt of that nonce is no new session.
        stale: Option<u64>,
    },
    /// The binaries differ; the dialler is to send its [`Listing`].
    Differ {
        /// The acceptor's proof.
        proof: Proof,
        /// Its functions.
        listing: Listing,
    },
    /// It does not.
    Refuse(Refusal),
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The dialler's proof is wrong.
    Secret,
    /// See [`HandshakeError::UnknownSession`].
    UnknownSession,
    /// See [`HandshakeError::Superseded`].
    Superseded,
}

/// Name and signature hash of each function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing(pub Vec<(String, u64)>);

/// Checks what the other side said, by rules that come out alike on both sides.
pub(crate) fn check(ours: &Hello, theirs: &Hello) -> Result<(), HandshakeError> {
    if ours.cluster != theirs.cluster {
        return Err(HandshakeError::Cluster { ours: ours.cluster.clone(), theirs: theirs.cluster.clone() });
    }
    for (expected, found) in [(ours.to, theirs.from), (theirs.to, ours.from)] {
        if expected != found {
            return Err(HandshakeError::Process { expected, found });
        }
    }
    if ours.from == theirs.from {
        return Err(HandshakeError::Garbage("a process cannot connect to itself".into()));
    }
    if ours.secured != theirs.secured {
        return Err(HandshakeError::SecretMissing { here: !ours.secured });
    }
    if (ours.nonce, ours.lane) != (theirs.nonce, theirs.lane) {
        return Err(HandshakeError::Garbage("the answer is to another question".into()));
    }
    Ok(())
}

/// Whether the two binaries may work together.
pub(crate) fn fit(ours: &Hello, theirs: &Hello) -> bool {
    ours.build == theirs.build || (ours.mixed && theirs.mixed)
}

/// The error of two binaries that do not fit.
pub(crate) fn binaries_differ(ours: &[(String, u64)], theirs: &Listing) -> HandshakeError {
    HandshakeError::Binaries { difference: registry::difference(ours, &theirs.0) }
}

/// What both sides have said, as the proofs cover it.
pub(crate) fn transcript(dialler: &[u8], acceptor: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The length keeps the two apart.
    hash.update((dialler.len() as u64).to_le_bytes());
    hash.update(dialler);
    hash.update(acceptor);
    hash.finalize().into()
}

/// A side that can prove the secret, and be told from the other.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

/// The proof of `side`; zeroes without a secret.
pub(crate) fn prove(secret: Option<&[u8]>, side: Side, transcript: &[u8; 32]) -> Proof {
    secret
        .map_or(Proof([0; 32]), |secret| Proof(mac(secret, side, transcript).finalize().into_bytes().into()))
}

/// Whether `proof` is the one of `side`, in constant time. Without a secret anything is.
pub(crate) fn proven(secret: Option<&[u8]>, side: Side, transcript: &[u8; 32], proof: &Proof) -> bool {
    secret.is_none_or(|secret| mac(secret, side, transcript).verify_slice(&proof.0).is_ok())
}

fn mac(secret: &[u8], side: Side, transcript: &[u8; 32]) -> Hmac<Sha256> {
    // An HMAC key may have any length, so that this cannot fail; an empty key would still be checked alike.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(match side {
        Side::Dialler => b"fdbray dialler",
        Side::Acceptor => b"fdbray acceptor",
    });
    mac.update(transcript);
    mac
}

/// The preamble of this version.
pub(crate) fn preamble() -> [u8; PREAMBLE] {
    let mut out = [0; PREAMBLE];
    out[..MAGIC.len()].copy_from_slice(&MAGIC);
    out[MAGIC.len()..].copy_from_slice(&PROTOCOL.to_le_bytes());
    out
}

/// Checks a peer's preamble.
///
/// # Errors
/// [`HandshakeError::Garbage`] or [`HandshakeError::Version`].
pub fn check_preamble(bytes: &[u8]) -> Result<(), HandshakeError> {
    let garbage = || HandshakeError::Garbage("it does not begin as fdbray does".into());
    let version = bytes.strip_prefix(&MAGIC).ok_or_else(garbage)?;
    let theirs = u32::from_le_bytes(version.try_into().map_err(|_| garbage())?);
    if theirs != PROTOCOL {
        return Err(HandshakeError::Version { ours: PROTOCOL, theirs });
    }
    Ok(())
}

/// The bytes of a message, with its length before it.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![0; 4];
    // Writing to a vector fails only for types that none of these messages has.
    if let Ok(body) = postcard::to_stdvec(message) {
        out.extend_from_slice(&body);
    }
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    out
}

/// Decodes a message of the handshake (without its length) from bytes that anybody may have sent.
///
/// # Errors
/// [`HandshakeError::Garbage`] for anything but exactly one message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HandshakeError> {
    let garbage = |what: String| HandshakeError::Garbage(what);
    if bytes.len() > MAX_MESSAGE {
        return Err(garbage(format!("a message of {} bytes", bytes.len())));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(garbage(format!("{} bytes too many", rest.len()))),
        Err(e) => Err(garbage(e.to_string())),
    }
}

/// As many entries as fit into a message, so that even a program with endless functions gets its answer.
pub(crate) fn bounded(listing: &[(String, u64)]) -> Listing {
    let mut room = MAX_MESSAGE - 1024;
    let fits = |(name, _): &&(String, u64)| {
        let left = room.checked_sub(name.len() + 20);
        room = left.unwrap_or(0);
        left.is_some()
    };
    Listing(listing.iter().take_while(fits).cloned().collect())
}
