//! The handshake over a socket, as dialler and as acceptor. What is said is in [`hello`](super::hello).

use super::{
    error::HandshakeError,
    hello::{
        self, Answer, Hello, Lane, Listing, MAX_MESSAGE, PREAMBLE, Proof, Refusal, Side, check, fit, proven,
    },
    options::Options,
    socket::Socket,
};
use crate::id::ProcessId;
use serde::de::DeserializeOwned;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// What a dialler asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) to: ProcessId,
    pub(crate) nonce: u64,
    pub(crate) lane: Lane,
    pub(crate) resume: Option<u64>,
}

/// A handshake that the dialler has brought to its end.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) theirs: Hello,
    pub(crate) fds: Vec<OwnedFd>,
    /// The last frame number that the acceptor has of the session.
    pub(crate) received: u64,
    /// A nonce that the acceptor proposed itself, of an attempt that is no new session.
    pub(crate) stale: Option<u64>,
}

/// Asks for a connection.
pub(crate) async fn dial(
    socket: &Socket,
    options: &Options,
    addresses: &[String],
    ask: Ask,
    fds: Vec<OwnedFd>,
) -> Result<Accepted, HandshakeError> {
    within(options, async {
        check_user(socket)?;
        let ours = own_hello(options, addresses, ask)?;
        let said = hello::encode(&ours);
        send(socket, &[&hello::preamble()[..], &said].concat(), &[]).await?;
        receive_preamble(socket).await?;
        let mut received_fds = Vec::new();
        let (theirs, heard): (Hello, _) = receive(socket, &mut received_fds).await?;
        check(&ours, &theirs)?;
        let transcript = hello::transcript(&said[4..], &heard);
        let secret = options.secret.as_ref().map(|s| s.bytes());
        let proof = hello::prove(secret, Side::Dialler, &transcript);
        send(socket, &hello::encode(&proof), &fds).await?;
        let answered = |proof: &Proof| {
            proven(secret, Side::Acceptor, &transcript, proof)
                .then_some(())
                .ok_or(HandshakeError::SecretWrong)
        };
        match receive(socket, &mut received_fds).await?.0 {
            Answer::Accept { proof, received, stale } => {
                answered(&proof)?;
                Ok(Accepted { theirs, fds: received_fds, received, stale })
            }
            Answer::Differ { proof, listing } => {
                answered(&proof)?;
                send(socket, &hello::encode(&hello::bounded(&options.listing)), &[]).await?;
                Err(hello::binaries_differ(&options.listing, &listing))
            }
            Answer::Refuse(Refusal::Secret) => Err(HandshakeError::SecretWrong),
            Answer::Refuse(Refusal::UnknownSession) => Err(HandshakeError::UnknownSession),
            Answer::Refuse(Refusal::Superseded) => Err(HandshakeError::Superseded),
        }
    })
    .await
}

/// A dialler that has proven who it is and waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) theirs: Hello,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) socket: Socket,
    proof: Proof,
}

impl Caller {
    /// Lets a dialler come as far as that, or tells it why not. `proven_to_be` is who it is, once that is known.
    pub(crate) async fn receive(
        socket: Socket,
        options: &Options,
        addresses: &[String],
        proven_to_be: &mut Option<ProcessId>,
    ) -> Result<Self, HandshakeError> {
        within(options, async {
            check_user(&socket)?;
            // The preamble goes out whatever came, so that a dialler of another version learns which this one is.
            let theirs = receive_preamble(&socket).await;
            if !matches!(theirs, Err(HandshakeError::Garbage(_) | HandshakeError::Broken(_))) {
                send(&socket, &hello::preamble(), &[]).await?;
            }
            theirs?;
            let mut fds = Vec::new();
            let (theirs, heard): (Hello, _) = receive(&socket, &mut fds).await?;
            let ask = Ask { to: theirs.from, nonce: theirs.nonce, lane: theirs.lane, resume: None };
            let ours = own_hello(options, addresses, ask)?;
            let said = hello::encode(&ours);
            send(&socket, &said, &[]).await?;
            check(&ours, &theirs)?;
            let (proof, _): (Proof, _) = receive(&socket, &mut fds).await?;
            let transcript = hello::transcript(&heard, &said[4..]);
            let secret = options.secret.as_ref().map(|s| s.bytes());
            if !proven(secret, Side::Dialler, &transcript, &proof) {
                send(&socket, &hello::encode(&Answer::Refuse(Refusal::Secret)), &[]).await?;
                return Err(HandshakeError::SecretWrong);
            }
            *proven_to_be = Some(theirs.from);
            let proof = hello::prove(secret, Side::Acceptor, &transcript);
            if !fit(&ours, &theirs) {
                let differ = Answer::Differ { proof, listing: hello::bounded(&options.listing) };
                send(&socket, &hello::encode(&differ), &[]).await?;
                let (listing, _): (Listing, _) = receive(&socket, &mut fds).await?;
                return Err(hello::binaries_differ(&options.listing, &listing));
            }
            Ok(Caller { theirs, fds, socket, proof })
        })
        .await
    }

    /// Says that the connection stands.
    pub(crate) async fn accept(
        self,
        options: &Options,
        received: u64,
        stale: Option<u64>,
        fds: Vec<OwnedFd>,
    ) -> Result<Socket, HandshakeError> {
        let answer = hello::encode(&Answer::Accept { proof: self.proof, received, stale });
        within(options, send(&self.socket, &answer, &fds)).await?;
        Ok(self.socket)
    }

    /// Says that it does not.
    pub(crate) async fn refuse(self, options: &Options, refusal: Refusal) {
        let answer = hello::encode(&Answer::Refuse(refusal));
        // The dialler finds out anyway: the connection closes here.
        let _ = within(options, send(&self.socket, &answer, &[])).await;
    }
}

/// Ends a handshake that takes too long.
async fn within<T>(
    options: &Options,
    work: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    tokio::time::timeout(options.silence, work).await.unwrap_or(Err(HandshakeError::Silent(options.silence)))
}

fn own_hello(options: &Options, addresses: &[String], ask: Ask) -> Result<Hello, HandshakeError> {
    let mut challenge = [0; 32];
    super::fill_random(&mut challenge).map_err(broken)?;
    Ok(Hello {
        cluster: options.cluster.clone(),
        from: options.process,
        to: ask.to,
        role: options.role,
        nonce: ask.nonce,
        lane: ask.lane,
        resume: ask.resume,
        build: options.build,
        fingerprint: options.fingerprint,
        mixed: options.allow_mixed_binaries,
        secured: options.secret.is_some(),
        challenge,
        addresses: addresses.to_vec(),
    })
}

/// On a Unix socket the other end must be of the same user, or root: a socket's name can be taken by anybody.
fn check_user(socket: &Socket) -> Result<(), HandshakeError> {
    if socket.is_unix() {
        let uid = socket.peer_uid().map_err(broken)?;
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            return Err(HandshakeError::User { uid });
        }
    }
    Ok(())
}

async fn receive_preamble(socket: &Socket) -> Result<(), HandshakeError> {
    let mut bytes = Vec::with_capacity(PREAMBLE);
    socket.recv_exact(&mut bytes, PREAMBLE, &mut Vec::new()).await.map_err(broken)?;
    hello::check_preamble(&bytes)
}

/// One message, decoded and as it came.
async fn receive<T: DeserializeOwned>(
    socket: &Socket,
    fds: &mut Vec<OwnedFd>,
) -> Result<(T, Vec<u8>), HandshakeError> {
    let mut head = Vec::with_capacity(4);
    socket.recv_exact(&mut head, 4, fds).await.map_err(broken)?;
    let len = head.iter().rev().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
    if len > MAX_MESSAGE {
        return Err(HandshakeError::Garbage(format!("a message of {len} bytes")));
    }
    let mut body = Vec::new();
    socket.recv_exact(&mut body, len, fds).await.map_err(broken)?;
    Ok((hello::decode(&body)?, body))
}

async fn send(socket: &Socket, bytes: &[u8], fds: &[OwnedFd]) -> Result<(), HandshakeError> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    socket.send_all(bytes, &fds).await.map_err(broken)
}

fn broken(e: io::Error) -> HandshakeError {
    HandshakeError::Broken(match e.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed it".into(),
        _ => e.to_string(),
    })
}
