//! One bulk connection: reads chunks into their transfers and requests into the serving list, writes both kinds.

use super::{
    open, open_if_wanted,
    serve::Serving,
    wire::{self, HEAD, Head, Kind, Request},
};
use crate::{
    net::{Soon, link::Link, manager::Manager, socket::Socket},
    payload::Payload,
};
use std::{collections::VecDeque, io, os::fd::OwnedFd, sync::Arc};
use tokio::task::JoinSet;

/// Carries the transfers of `link` over a connection until it ends, the session ends or a newer one takes its place.
pub(super) async fn run(manager: Arc<Manager>, link: Arc<Link>, fd: OwnedFd, unix: bool) {
    let asked = {
        let bulk = link.bulk();
        // The older connection reads no more when this is had, so that what it brought is known.
        let _carrying = bulk.carrying.lock().await;
        match Socket::new(fd, unix) {
            Ok(socket) => carry(&manager, &link, Arc::new(socket)).await,
            Err(e) => tracing::error!(error = %e, "a bulk connection could not be used"),
        }
        bulk.detached()
    };
    if asked {
        open(&manager, &link, false);
    }
    open_if_wanted(&manager, &link);
}

async fn carry(manager: &Arc<Manager>, link: &Arc<Link>, socket: Arc<Socket>) {
    let bulk = link.bulk();
    let replaced = bulk.replaced.notified();
    tokio::pin!(replaced);
    replaced.as_mut().enable();
    if bulk.is_replaced() {
        return;
    }
    bulk.attached();
    let serving = Arc::new(Serving::default());
    // Two tasks, so that neither direction can starve the other.
    let mut tasks = JoinSet::new();
    tasks.spawn(read(manager.clone(), link.clone(), socket.clone(), serving.clone()));
    tasks.spawn(write(link.clone(), socket.clone(), serving));
    tokio::select! {
        Some(ended) = tasks.join_next() => match ended {
            Ok(Err(e)) => tracing::debug!(peer = %link.peer(), error = %e, "a bulk connection ended"),
            Ok(Ok(())) => {}
            Err(e) => tracing::error!(peer = %link.peer(), error = %e, "a bulk connection failed"),
        },
        () = link.finished() => {}
        () = replaced => {}
    }
    tasks.shutdown().await;
    socket.shutdown();
}

async fn write(link: Arc<Link>, socket: Arc<Socket>, serving: Arc<Serving>) -> io::Result<()> {
    let mut queue = VecDeque::new();
    loop {
        link.bulk().take_outbox(&mut queue);
        if queue.is_empty() {
            serving.next_chunk(&mut queue);
        }
        if queue.is_empty() {
            link.bulk().work.notified().await;
        } else {
            socket.send_with(|| socket.try_send(&mut queue)).await?;
        }
    }
}

async fn read(
    manager: Arc<Manager>,
    link: Arc<Link>,
    socket: Arc<Socket>,
    serving: Arc<Serving>,
) -> io::Result<()> {
    let bulk = link.bulk();
    let mut scratch = Vec::with_capacity(SCRATCH);
    loop {
        read_exact(&socket, &mut scratch, HEAD).await?;
        let head = Head::decode(&scratch).map_err(invalid)?;
        if !matches!(head.kind, Kind::Chunk { .. }) {
            read_exact(&socket, &mut scratch, head.len).await?;
        }
        match head.kind {
            Kind::Chunk { flat } => match bulk.fill(head.request, head.len, flat).map_err(invalid)? {
                Some(mut filling) => fill(&socket, &mut filling.buf, head.len).await?,
                None => discard(&socket, &mut scratch, head.len).await?,
            },
            Kind::Gone => bulk.gone(head.request, wire::decode_gone(&scratch).map_err(invalid)?),
            Kind::Cancel => serving.cancel(head.request),
            Kind::Request => {
                let wanted = Request::decode(&scratch).map_err(invalid)?;
                match manager.host.object(wanted.id) {
                    Soon::Now(value) => {
                        answer(&link, &serving, head.request, &wanted, value).map_err(invalid)?
                    }
                    Soon::Later(value) => {
                        let (link, serving) = (link.clone(), serving.clone());
                        tokio::spawn(async move {
                            let value = value.await.ok().flatten();
                            if answer(&link, &serving, head.request, &wanted, value).is_err() {
                                tracing::error!(peer = %link.peer(), "it asks for too much at once on its bulk lane");
                            }
                        });
                    }
                }
            }
        }
    }
}

/// Begins to send what the peer asked for, or says that it is not there.
fn answer(
    link: &Link,
    serving: &Serving,
    request: u64,
    wanted: &Request,
    value: Option<Payload>,
) -> Result<(), wire::Malformed> {
    match value {
        None => link.bulk().send(wire::gone(request, None)),
        Some(value) if value.len() as u64 != wanted.len => {
            link.bulk().send(wire::gone(request, Some(value.len() as u64)));
        }
        Some(value) => {
            serving.begin(request, &value, wanted.offset as usize)?;
            link.bulk().work.notify_one();
        }
    }
    Ok(())
}

async fn read_exact(socket: &Socket, buf: &mut Vec<u8>, len: usize) -> io::Result<()> {
    buf.clear();
    fill(socket, buf, len).await
}

/// Receives `len` more bytes. There is room for them: `buf` has been given it.
async fn fill(socket: &Socket, buf: &mut Vec<u8>, mut len: usize) -> io::Result<()> {
    while len > 0 {
        match socket.recv(buf, len).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => len -= count,
        }
    }
    Ok(())
}

/// Receives `len` bytes of a transfer that was given up.
async fn discard(socket: &Socket, scratch: &mut Vec<u8>, mut len: usize) -> io::Result<()> {
    while len > 0 {
        let part = len.min(SCRATCH);
        read_exact(socket, scratch, part).await?;
        len -= part;
    }
    Ok(())
}

fn invalid(e: wire::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

/// Room for small messages, and for what is thrown away.
const SCRATCH: usize = 64 << 10;
