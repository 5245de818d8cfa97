//! One bulk connection: reads chunks into their transfers and requests into the serving list, writes both kinds.

use super::{
    open, open_if_wanted,
    pace::Pace,
    pull::Bulk,
    serve::{Packer, Serving},
    wire::{self, CHUNK_HEAD, Chunk, HEAD, Head, Kind, Request},
};
use crate::{
    net::{Soon, link::Link, manager::Manager, socket::Socket},
    payload::Payload,
};
use bytes::Bytes;
use lz4_flex::block::decompress_into;
use std::{collections::VecDeque, io, os::fd::OwnedFd, sync::Arc, time::Instant};
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

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
    let (mut queue, mut packer) = (VecDeque::new(), Packer::default());
    let mut pace = Pace::new(socket.is_unix());
    loop {
        link.bulk().take_outbox(&mut queue);
        if queue.is_empty() {
            serving.next_chunk(&pace, &mut packer, &mut queue);
        }
        if queue.is_empty() {
            pace.idle();
            link.bulk().work.notified().await;
            continue;
        }
        let mut left = bytes_in(&queue);
        let mut send = || {
            let all = socket.try_send(&mut queue)?;
            let now = if all { 0 } else { bytes_in(&queue) };
            pace.took(left - now);
            left = now;
            if !all {
                pace.full(Instant::now());
            }
            Ok(all)
        };
        // Mostly there is room. Whether there is says what the network takes.
        if !send()? {
            socket.send_with(send).await?;
        }
    }
}

fn bytes_in(queue: &VecDeque<Bytes>) -> u64 {
    queue.iter().map(|bytes| bytes.len() as u64).sum()
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
        if head.kind == Kind::Chunk {
            read_exact(&socket, &mut scratch, CHUNK_HEAD).await?;
            let chunk = Chunk::decode(&scratch, head.len - CHUNK_HEAD).map_err(invalid)?;
            receive(bulk, &socket, &mut scratch, &head, chunk).await?;
            continue;
        }
        read_exact(&socket, &mut scratch, head.len).await?;
        match head.kind {
            Kind::Chunk => {}
            Kind::Gone => bulk.gone(head.request, wire::decode_gone(&scratch).map_err(invalid)?),
            Kind::Cancel => serving.cancel(head.request),
            Kind::Request => {
                let wanted = Request::decode(&scratch).map_err(invalid)?;
                match manager.host.object(wanted.id, wanted.attempt) {
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

/// Receives the bytes of a chunk where they belong. One that is damaged ends the connection: nothing that follows can be
/// trusted, and what is missing is asked for again over the next.
async fn receive(
    bulk: &Bulk,
    socket: &Socket,
    scratch: &mut Vec<u8>,
    head: &Head,
    chunk: Chunk,
) -> io::Result<()> {
    let (request, len) = (head.request, head.len - CHUNK_HEAD);
    if !bulk.expects(request, &chunk).map_err(invalid)? {
        return discard(socket, scratch, len).await;
    }
    let mut fits = true;
    if chunk.packed {
        scratch.reserve(len);
        read_exact(socket, scratch, len).await?;
        // The place is as large as the chunk said, and no more is written than that.
        let unpack = |place: &mut [u8]| decompress_into(scratch, place).is_ok_and(|len| len == place.len());
        fits = bulk.place(request, 0..chunk.raw, unpack).unwrap_or(true);
    } else {
        let mut at = 0;
        while at < len {
            let received = socket
                .recv_with(|arrived| bulk.place(request, at..len, |place| arrived.take(place)).transpose());
            match received.await? {
                Some(count) => at += count,
                // It was given up meanwhile.
                None => return discard(socket, scratch, len - at).await,
            }
        }
    }
    let is_it = |place: &mut [u8]| xxh3_64(place) == chunk.sum;
    match bulk.place(request, 0..chunk.raw, is_it).map(|is_it| is_it && fits) {
        Some(true) => bulk.arrived(request, chunk.raw),
        Some(false) => {
            bulk.damaged(request);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the bytes of an object came damaged"));
        }
        None => {}
    }
    Ok(())
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
            serving.begin(request, &value, wanted)?;
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
