//! The life of a session: carried by a connection, resumed over others, ended once.

use super::{
    bulk, connect,
    error::{Ended, HandshakeError},
    frame::{self, Front, Own},
    handshake::{self, Accepted, Ask, Caller},
    hello::{Lane, Refusal},
    host::Soon,
    link::Link,
    manager::Manager,
    socket::Socket,
};
use crate::control::members::exit::{exit, has_exited};
use bytes::{Buf, BytesMut};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};

/// Carries a session from its first connection to its end.
pub(crate) async fn run(
    manager: Arc<Manager>,
    link: Arc<Link>,
    socket: Socket,
    mut resumes: mpsc::Receiver<Box<Caller>>,
) {
    let _cleanup = Cleanup { manager: &manager, link: &link };
    let process = if link.same_host() { socket.peer_process() } else { None };
    let mut next = Resumed { socket, peer_received: 0 };
    let mut fresh = true;
    let why = loop {
        let socket = Arc::new(next.socket);
        manager.host.connected(&link, fresh, next.peer_received);
        if !fresh {
            link.bulk().restart();
        }
        fresh = false;
        link.attach(socket.clone());
        bulk::open_if_wanted(&manager, &link);
        let stopped = carry(&manager, &link, &socket, &mut resumes).await;
        let broken = match stopped {
            Stopped::End(why) => break why,
            Stopped::Broken(why) if link.same_host() => {
                tracing::debug!(peer = %link.peer(), why, "the Unix socket ended");
                break exited_or_not(&link, process).await;
            }
            Stopped::Broken(why) => {
                drop(socket);
                manager.host.disconnected(&link);
                resume(&manager, &link, &mut resumes, why).await
            }
            // The peer noticed first that the old connection is dead.
            Stopped::Resume(caller) => {
                drop(socket);
                manager.host.disconnected(&link);
                match accept(&manager, &link, caller).await {
                    Some(resumed) => Ok(resumed),
                    None => resume(&manager, &link, &mut resumes, "it broke again".into()).await,
                }
            }
        };
        match broken {
            Ok(resumed) => next = resumed,
            Err(why) => break why,
        }
    };
    // Whoever asks for the session from here on is told that it is over.
    resumes.close();
    while let Ok(caller) = resumes.try_recv() {
        caller.refuse(&manager.options, Refusal::UnknownSession).await;
    }
    end(&manager, &link, &why);
}

/// What the end of a Unix socket means. A process that is killed closes its sockets just before its exit can be seen, so
/// that proof is waited for.
async fn exited_or_not(link: &Link, process: Option<OwnedFd>) -> Ended {
    let Some(process) = process else { return Ended::Eof };
    if has_exited(&process) {
        return Ended::Exited;
    }
    tokio::select! {
        biased;
        () = exit(process) => Ended::Exited,
        why = link.closed() => why,
        () = sleep(EXIT) => Ended::Eof,
    }
}

/// Removes a session and tells the host, in this order, so that the host can dial again at once.
fn end(manager: &Manager, link: &Link, why: &Ended) {
    link.close(why.clone());
    link.detach();
    manager.forget(link);
    link.bulk().end();
    link.asks().end();
    manager.host.ended(link.peer(), link.nonce(), why);
}

/// Leaves nothing of a session behind, also when the runtime ends before it does, or the host panics.
struct Cleanup<'a> {
    manager: &'a Manager,
    link: &'a Link,
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        self.link.close(Ended::Here("the network of this process has ended".into()));
        self.link.detach();
        self.manager.forget(self.link);
        self.link.bulk().end();
        self.link.asks().end();
        self.link.finish();
    }
}

/// Another connection for a session.
struct Resumed {
    socket: Socket,
    /// The last frame number that the peer has of this process.
    peer_received: u64,
}

/// Why a connection carries its session no longer.
enum Stopped {
    /// It broke.
    Broken(String),
    /// The peer has made another one.
    Resume(Box<Caller>),
    /// The session is over.
    End(Ended),
}

/// Reads and writes until the connection ends. Both tasks have stopped when this returns, so that what the host has
/// received changes no more.
async fn carry(
    manager: &Arc<Manager>,
    link: &Arc<Link>,
    socket: &Arc<Socket>,
    resumes: &mut mpsc::Receiver<Box<Caller>>,
) -> Stopped {
    let mut reader = tokio::spawn(read(manager.clone(), link.clone(), socket.clone()));
    let writer = tokio::spawn(link.clone().write(socket.clone()));
    let stopped = tokio::select! {
        read = &mut reader => match read {
            Ok(stopped) => stopped,
            Err(e) => Stopped::End(Ended::Here(format!("handling what the peer sent failed: {e}"))),
        },
        Some(caller) = resumes.recv() => Stopped::Resume(caller),
        why = link.closed() => Stopped::End(why),
    };
    let farewell = match &stopped {
        Stopped::End(Ended::ByPeer(_)) | Stopped::Broken(_) | Stopped::Resume(_) => None,
        Stopped::End(why) => Some(why.to_string()),
    };
    let said = farewell.is_some();
    if let Some(why) = farewell {
        link.send_own(&Own::Bye(why));
        let deadline = Instant::now() + FAREWELL;
        while !link.is_flushed() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
    }
    link.detach();
    writer.abort();
    // Their results are of no interest: the reader's is `stopped`, or it was stopped.
    let _ = writer.await;
    if !reader.is_finished() {
        reader.abort();
        let _ = reader.await;
    }
    if said {
        tokio::spawn(linger(socket.clone()));
    } else {
        socket.shutdown();
    }
    stopped
}

/// Closes a connection so that the peer can read what was sent last: closing with bytes unread would reset it.
async fn linger(socket: Arc<Socket>) {
    socket.shutdown_write();
    let mut scratch = Vec::with_capacity(READ);
    let drain = async {
        while let Ok(1..) = socket.recv(&mut scratch, READ).await {
            scratch.clear();
        }
    };
    // A peer that goes on sending has had its time.
    let _ = timeout(FAREWELL, drain).await;
}

/// Hands whole frames to the host as they arrive.
async fn read(manager: Arc<Manager>, link: Arc<Link>, socket: Arc<Socket>) -> Stopped {
    let mut buf = BytesMut::with_capacity(READ);
    let mut wanted = frame::HEADER;
    let mut turn = 0_u32;
    loop {
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(TURN) {
            // A busy peer must not keep the thread from the others, nor from the writers.
            tokio::task::yield_now().await;
        }
        let spare = buf.capacity() - buf.len();
        if spare < SPARE {
            // A long frame's room grows with what has arrived of it, not with what it announced.
            buf.reserve(READ.max(wanted.saturating_sub(buf.len()).min(buf.len())));
        }
        match socket.recv(&mut buf, usize::MAX).await {
            Ok(0) => return Stopped::Broken("the peer closed it".into()),
            Ok(_) => {}
            Err(e) => return Stopped::Broken(e.to_string()),
        }
        loop {
            match frame::front(&buf) {
                Ok(Front::Partial(whole)) => {
                    wanted = whole;
                    break;
                }
                Ok(Front::Frames(len)) => {
                    let frames = buf.split_to(len).freeze();
                    if let Err(why) = manager.host.frames(&link, frames) {
                        return Stopped::End(Ended::Protocol(why));
                    }
                }
                Ok(Front::Own(len)) => {
                    match Own::decode(&buf[..len]) {
                        Some(Own::OpenBulk) => bulk::open(&manager, &link, true),
                        Some(Own::Bye(why)) => return Stopped::End(Ended::ByPeer(why)),
                        Some(Own::Ask(number, question)) => match manager.host.asked(&link, question) {
                            Soon::Now(answer) => link.send_own(&Own::Answer(number, answer)),
                            Soon::Later(answer) => link.answer_later(number, answer),
                        },
                        Some(Own::Answer(number, answer)) => link.asks().answered(number, answer),
                        Some(Own::Tell(news)) => manager.host.told(&link, news),
                        // A later version may say more.
                        None => {}
                    }
                    buf.advance(len);
                }
                Err(e) => return Stopped::End(Ended::Protocol(e.to_string())),
            }
        }
    }
}

/// Gets another connection for a session whose connection broke, or the reason why there is none.
async fn resume(
    manager: &Arc<Manager>,
    link: &Arc<Link>,
    resumes: &mut mpsc::Receiver<Box<Caller>>,
    broke: String,
) -> Result<Resumed, Ended> {
    let deadline = Instant::now() + manager.options.resume;
    let lost = || Ended::NotResumed { why: broke.clone(), within: manager.options.resume };
    tracing::debug!(peer = %link.peer(), why = broke, "a connection broke");
    let other = async {
        match link.route() {
            Some(route) => redial(manager, link, route, deadline).await,
            None => Err(knock(link, deadline).await),
        }
    };
    tokio::pin!(other);
    loop {
        tokio::select! {
            why = link.closed() => return Err(why),
            Some(caller) = resumes.recv() => {
                if let Some(resumed) = accept(manager, link, caller).await {
                    return Ok(resumed);
                }
            }
            done = &mut other => return done.map_err(|why| why.unwrap_or_else(lost)),
        }
    }
}

/// Lets the peer go on with the session over the connection that it made.
async fn accept(manager: &Manager, link: &Link, caller: Box<Caller>) -> Option<Resumed> {
    let peer_received = caller.theirs.resume.unwrap_or(0);
    // Nothing reads any more, so that this is the last word on what has arrived.
    let Some(received) = manager.host.received(link.peer(), link.nonce()) else {
        caller.refuse(&manager.options, Refusal::UnknownSession).await;
        link.close(Ended::Here("this process has forgotten the session".into()));
        return None;
    };
    match caller.accept(&manager.options, received, None, Vec::new()).await {
        Ok(socket) => Some(Resumed { socket, peer_received }),
        Err(e) => {
            tracing::debug!(peer = %link.peer(), error = %e, "a session was not resumed");
            None
        }
    }
}

/// Dials again until `deadline`; ends early when the peer refuses, or is not there to refuse. `None`: too late.
async fn redial(
    manager: &Manager,
    link: &Link,
    route: &[String],
    deadline: Instant,
) -> Result<Resumed, Option<Ended>> {
    let mut pause = FIRST_PAUSE;
    let mut refused = 0;
    loop {
        let forgotten = || Some(Ended::Here("this process has forgotten the session".into()));
        let received = manager.host.received(link.peer(), link.nonce()).ok_or_else(forgotten)?;
        let ask = Ask { to: link.peer(), nonce: link.nonce(), lane: Lane::Control, resume: Some(received) };
        let attempt = async {
            let socket = connect::first(route).await?;
            Ok(handshake::dial(&socket, &manager.options, &manager.addresses, ask, Vec::new())
                .await
                .map(|Accepted { received, .. }| Resumed { socket, peer_received: received }))
        };
        match timeout_at(deadline, attempt).await {
            Err(_late) => return Err(None),
            Ok(Ok(Ok(resumed))) => return Ok(resumed),
            Ok(Ok(Err(e))) if !e.retryable() => return Err(Some(Ended::Handshake(e))),
            // Somebody else has the port of a process that is gone.
            Ok(Ok(Err(e @ HandshakeError::Process { .. }))) => return Err(Some(Ended::Handshake(e))),
            Ok(Ok(Err(_broken))) => refused = 0,
            Ok(Err(connect::Failed { refused: true, why })) => {
                refused += 1;
                if refused == REFUSALS {
                    return Err(Some(Ended::Refused(why)));
                }
            }
            Ok(Err(_unreachable)) => refused = 0,
        }
        if timeout_at(deadline, sleep(pause)).await.is_err() {
            return Err(None);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// While the peer is to dial again: finds out early when it no longer listens, and so is gone. `None`: too late.
async fn knock(link: &Link, deadline: Instant) -> Option<Ended> {
    let route: Vec<String> =
        link.peer_hello().addresses.iter().filter(|a| a.starts_with("tcp:")).cloned().collect();
    let mut pause = FIRST_PAUSE;
    let mut refused = 0;
    loop {
        if !route.is_empty() {
            match timeout_at(deadline, connect::first(&route)).await {
                Ok(Err(connect::Failed { refused: true, why })) => {
                    refused += 1;
                    if refused == REFUSALS {
                        return Some(Ended::Refused(why));
                    }
                }
                _ => refused = 0,
            }
        }
        if timeout_at(deadline, sleep(pause)).await.is_err() {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// How long after its sockets a process may end, on a busy machine.
const EXIT: Duration = Duration::from_millis(500);

/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// Bytes that one read may bring.
const READ: usize = 64 << 10;

/// Reads before others have a turn.
const TURN: u32 = 8;

/// With less room than this a new buffer is taken.
const SPARE: usize = 8 << 10;

/// Between two attempts to resume.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Between two attempts to resume, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Refused so many times in a row (within 70 ms), a peer is gone: a network may refuse for a moment.
const REFUSALS: u32 = 4;
