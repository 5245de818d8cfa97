//! What can go wrong on the network, one enum per operation.

use crate::{
    id::{ObjectId, ProcessId},
    payload::Damaged,
};
use std::time::Duration;

/// Why the network of this process did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// `--listen` names something that is no address.
    #[error(
        "`{address}` is not an address to listen on: {source}; write HOST:PORT, for instance 127.0.0.1:0"
    )]
    Address {
        /// What was given.
        address: String,
        /// What the system said of it.
        source: std::io::Error,
    },
    /// Without a secret only loopback addresses may be listened on, since anyone who can connect could run code here.
    #[error(
        "this process may not listen on {address}, which other machines reach, without a secret: set the cluster's \
         secret on every process, or listen on a loopback address"
    )]
    NeedsSecret {
        /// What was given.
        address: String,
    },
    /// The address cannot be listened on, most often because another process does.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `--advertise` is no address.
    #[error("`{address}` cannot be advertised: write HOST or HOST:PORT")]
    Advertise {
        /// What was given.
        address: String,
    },
    /// The system gave no thread, socket or randomness.
    #[error("the network did not start: {0}")]
    System(#[from] std::io::Error),
}

/// Why two processes did not come to a session. Both sides get one, each from its own point of view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer belongs to another cluster.
    #[error("the peer is of cluster `{theirs}`, this process of cluster `{ours}`")]
    Cluster {
        /// This process's cluster.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// The peer speaks another version of the protocol.
    #[error(
        "the peer speaks version {theirs} of the protocol, this process version {ours}: use one fdbray release"
    )]
    Version {
        /// This process's version.
        ours: u32,
        /// The peer's.
        theirs: u32,
    },
    /// One of the two has a secret and the other has none.
    #[error("{}", if *.here {
        "the peer requires the cluster's secret and this process has none"
    } else {
        "this process requires the cluster's secret and the peer has none"
    })]
    SecretMissing {
        /// Whether it is missing in this process.
        here: bool,
    },
    /// Both have a secret, and they differ.
    #[error("the peer's secret is not that of this process")]
    SecretWrong,
    /// The two run different binaries.
    #[error(
        "the two processes run different binaries: {}",
        .difference.as_deref().unwrap_or("their functions are the same, but values need not be; `allow_mixed_binaries` \
        allows it")
    )]
    Binaries {
        /// Which functions differ; `None` when none do.
        difference: Option<String>,
    },
    /// Somebody else answered at the peer's address.
    #[error("process {expected} was wanted and process {found} answered")]
    Process {
        /// Who was to be reached.
        expected: ProcessId,
        /// Who was.
        found: ProcessId,
    },
    /// The peer's Unix socket belongs to another user.
    #[error("the process at the other end belongs to user {uid}, not to this process's user")]
    User {
        /// The other user.
        uid: u32,
    },
    /// The peer did not answer in time.
    #[error("the peer did not answer within {0:?}")]
    Silent(Duration),
    /// What came is no fdbray handshake.
    #[error("the peer sent what is no fdbray handshake: {0}")]
    Garbage(String),
    /// The peer does not know the session that was to be resumed or given a bulk connection: it is over there.
    #[error("the session is over at the peer")]
    UnknownSession,
    /// Both dialled at once, and the other connection stays.
    #[error("another connection between the two processes stays")]
    Superseded,
    /// The connection broke during the handshake.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl HandshakeError {
    /// Whether another try, at another address or later, can end differently.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            HandshakeError::Process { .. }
                | HandshakeError::User { .. }
                | HandshakeError::Silent(_)
                | HandshakeError::Garbage(_)
                | HandshakeError::Broken(_)
        )
    }
}

/// Why a session ended, or never began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// Nobody accepts connections at any of the peer's addresses, or nobody can reach them.
    #[error("refused: {0}")]
    Refused(String),
    /// The two do not fit together.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The peer's process has exited, provably: it does nothing any more.
    #[error("its process has exited")]
    Exited,
    /// The peer closed its Unix socket without a word. Its process may live.
    #[error("the peer closed the connection")]
    Eof,
    /// The connection broke and could not be resumed in time.
    #[error("the connection broke ({why}) and was not resumed within {within:?}")]
    NotResumed {
        /// How it broke.
        why: String,
        /// The time that it had.
        within: Duration,
    },
    /// The peer ended it on purpose.
    #[error("the peer ended the session: {0}")]
    ByPeer(String),
    /// This process ended it on purpose.
    #[error("{0}")]
    Here(String),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer began a new session in its place.
    #[error("the peer began a new session")]
    Replaced,
}

/// Why bytes were not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The peer has no such object, or no longer.
    #[error("process {peer} does not have object {id}")]
    Gone {
        /// Who was asked.
        peer: ProcessId,
        /// For what.
        id: ObjectId,
    },
    /// There is no session with the peer, or it ended meanwhile.
    #[error("the session with process {peer} ended before object {id} was fetched")]
    PeerLost {
        /// Who was asked.
        peer: ProcessId,
        /// For what.
        id: ObjectId,
    },
    /// More bytes than this process takes in one value.
    #[error("object {id} has {len} bytes, of at most {limit}")]
    TooLarge {
        /// What was asked for.
        id: ObjectId,
        /// Its length.
        len: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// The peer's object has another length than it was said to have.
    #[error("object {id} was to have {asked} bytes and has {found}")]
    Length {
        /// What was asked for.
        id: ObjectId,
        /// The length asked for.
        asked: u64,
        /// The length that the peer found.
        found: u64,
    },
    /// There is no room for it.
    #[error("object {id}, of {len} bytes, cannot be fetched: {why}")]
    Full {
        /// What was asked for.
        id: ObjectId,
        /// Its length.
        len: u64,
        /// What is full, with the accounting.
        why: String,
    },
    /// What the peer sent was not what its checksum said, again and again.
    #[error(
        "the bytes of object {id} that process {peer} sends are damaged on their way; look at its memory and network"
    )]
    Checksum {
        /// Who sent it.
        peer: ProcessId,
        /// Which object.
        id: ObjectId,
    },
    /// What the peer sent for the object is no value.
    #[error("object {id}, fetched from process {peer}: {why}")]
    Damaged {
        /// Who sent it.
        peer: ProcessId,
        /// Which object.
        id: ObjectId,
        /// What is wrong.
        why: Damaged,
    },
}
