//! One connected socket, Unix or TCP: non-blocking writes from any thread, awaited reads, file descriptors.
#![allow(unsafe_code)]

use bytes::{Buf, BufMut, Bytes};
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, Shutdown,
    },
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};
use tokio::io::{Interest, unix::AsyncFd};

/// The most file descriptors that are handed over at once.
pub const MAX_FDS: usize = 16;

/// A connected stream socket, registered with the runtime that it was made in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: AsyncFd<OwnedFd>,
    unix: bool,
}

/// What is sent leaves at once, and a peer that cannot be reached any more is noticed, whether something is being sent to
/// it or only awaited from it. A peer that is merely stopped answers to both: its kernel does.
fn tune(tcp: &OwnedFd) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_nodelay(tcp, true)?;
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(UNREACHABLE.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_tcp_keepidle(tcp, PROBE)?;
    sockopt::set_tcp_keepintvl(tcp, PROBE)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    Ok(())
}

/// A connection whose other end's kernel was not heard of for so long is broken. Longer than it takes to declare a stopped
/// process dead, whose full buffers count as well.
const UNREACHABLE: Duration = Duration::from_secs(10);

/// How often an idle connection is tried.
const PROBE: Duration = Duration::from_secs(2);

impl Socket {
    /// Takes a non-blocking socket. Must be called inside the runtime that is to drive it.
    pub(crate) fn new(fd: OwnedFd, unix: bool) -> io::Result<Self> {
        if !unix {
            tune(&fd)?;
        }
        // For reading alone: with an interest in writing, every read of the peer would wake this side too.
        // SAFETY: `fd` owns its descriptor, and nothing replaces or closes it while the `AsyncFd` owns it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Socket { fd, unix })
    }

    /// Whether it is a Unix socket: both ends are on one host.
    pub(crate) fn is_unix(&self) -> bool {
        self.unix
    }

    /// Takes it from its runtime, for another one.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd.into_inner()
    }

    /// Sends from the front of `queue` what the kernel takes now; `false` when something is left over.
    pub(crate) fn try_send(&self, queue: &mut VecDeque<Bytes>) -> io::Result<bool> {
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(queue.iter()) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let mut none = SendAncillaryBuffer::default();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(self.fd.get_ref(), &slices[..count], &mut none, flags) {
                Ok(sent) => advance(queue, sent),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    /// Runs `send`, which returns whether it sent all, until it did, between waits for room in the socket.
    pub(crate) async fn send_with(&self, mut send: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        // A descriptor of its own for as long as this lasts, since one is registered once.
        let second = self.fd.get_ref().try_clone()?;
        // SAFETY: as in `new`.
        let second = unsafe { AsyncFd::register_with_interest(second, Interest::WRITABLE) }?;
        loop {
            let mut room = second.writable().await?;
            match room.try_io(|_| if send()? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }) {
                Ok(sent) => return sent,
                Err(_would_block) => {}
            }
        }
    }

    /// Receives at most `limit` bytes and at most the room that `buf` has spare; 0 is the end of the stream.
    pub(crate) async fn recv(&self, buf: &mut impl BufMut, limit: usize) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut wanted = 0;
            let received = ready.try_io(|fd| {
                let spare = buf.chunk_mut();
                wanted = spare.len().min(limit);
                // SAFETY: the bytes are only written to, by the kernel.
                let spare = unsafe { &mut spare.as_uninit_slice_mut()[..wanted] };
                let (_, count) = rustix::net::recv(fd.get_ref(), spare, RecvFlags::empty())?;
                // SAFETY: the kernel has written the first `count` of these bytes.
                unsafe { buf.advance_mut(count) };
                Ok(count)
            });
            match received {
                Ok(Ok(count)) => {
                    if 0 < count && count < wanted {
                        // The socket is drained (epoll(7), edge-triggered): saves the call that would say so.
                        ready.clear_ready();
                    }
                    return Ok(count);
                }
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Err(e),
                Err(_would_block) => {}
            }
        }
    }

    /// Receives what has arrived, as `receive` does, which is only called when something may have: it says where the bytes
    /// are to go, at that moment.
    pub(crate) async fn recv_with<T>(
        &self,
        mut receive: impl FnMut(&Arrived<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let mut ready = self.fd.readable().await?;
            let arrived = Arrived { fd: self.fd.get_ref().as_fd(), drained: Cell::new(false) };
            let received = ready.try_io(|_| receive(&arrived));
            match received {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(received) => {
                    if arrived.drained.get() {
                        ready.clear_ready();
                    }
                    return received;
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Receives exactly `len` more bytes, growing `buf` as they arrive, and the descriptors that come with them.
    pub(crate) async fn recv_exact(
        &self,
        buf: &mut Vec<u8>,
        len: usize,
        fds: &mut Vec<OwnedFd>,
    ) -> io::Result<()> {
        let end = buf.len() + len;
        while buf.len() < end {
            let had = buf.len();
            let mut ready = self.fd.readable().await?;
            let received = ready.try_io(|fd| {
                buf.resize(had + (end - had).min(GROWTH), 0);
                let count = self.recv_fds(fd.as_fd(), &mut buf[had..], fds);
                buf.truncate(had + *count.as_ref().unwrap_or(&0));
                count
            });
            match received {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Err(e)) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn recv_fds(&self, fd: BorrowedFd<'_>, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        if !self.unix {
            return Ok(rustix::net::recv(fd, into, RecvFlags::empty())?.1);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(into)];
        let message = rustix::net::recvmsg(fd, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(handed) = message {
                fds.extend(handed);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many file descriptors"));
        }
        Ok(message.bytes)
    }

    /// Sends all of `bytes`, with `fds` attached to the first of them (on a Unix socket; TCP carries none).
    pub(crate) async fn send_all(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let fds = if self.unix { &fds[..fds.len().min(MAX_FDS)] } else { &[] };
        let mut sent = 0;
        self.send_with(|| {
            while sent < bytes.len() {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if sent == 0 && !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                    return Err(io::Error::other("no room for the file descriptors"));
                }
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                match rustix::net::sendmsg(
                    self.fd.get_ref(),
                    &[IoSlice::new(&bytes[sent..])],
                    &mut control,
                    flags,
                ) {
                    Ok(count) => sent += count,
                    Err(Errno::AGAIN) => return Ok(false),
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(true)
        })
        .await
    }

    /// The user of the process at the other end of a Unix socket.
    pub(crate) fn peer_uid(&self) -> io::Result<u32> {
        Ok(self.peer_credentials()?.uid)
    }

    /// A descriptor of the process at the other end of a Unix socket, which tells when that has exited. `None` when it is in
    /// a pid namespace that this process does not see, or has exited already.
    pub(crate) fn peer_process(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.peer_credentials().ok()?.pid)?;
        // If another process has the number by now, the one that was meant has exited, and this only says so late.
        pidfd_open(pid, PidfdFlags::empty()).ok()
    }

    /// Not by rustix, whose process ids cannot be 0, as that of a process in another pid namespace is.
    fn peer_credentials(&self) -> io::Result<libc::ucred> {
        let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        let fd = self.fd.get_ref().as_raw_fd();
        let to = (&raw mut found).cast();
        // SAFETY: the descriptor is open, and the kernel writes at most `len` bytes of plain numbers.
        match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut len) } {
            0 => Ok(found),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Ends the sending direction: the peer reads to the end of what was sent.
    pub(crate) fn shutdown_write(&self) {
        // An error means that the connection is gone already.
        let _ = rustix::net::shutdown(self.fd.get_ref(), Shutdown::Write);
    }

    /// Ends both directions; what has arrived can still be read.
    pub(crate) fn shutdown(&self) {
        // An error means that the connection is gone already.
        let _ = rustix::net::shutdown(self.fd.get_ref(), Shutdown::Both);
    }
}

/// What has arrived in a socket.
pub(crate) struct Arrived<'a> {
    fd: BorrowedFd<'a>,
    drained: Cell<bool>,
}

impl Arrived<'_> {
    /// Moves bytes to `place`; how many, at least one.
    pub(crate) fn take(&self, place: &mut [u8]) -> io::Result<usize> {
        let wanted = place.len();
        match rustix::net::recv(self.fd, place, RecvFlags::empty())?.1 {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                // See `Socket::recv`.
                self.drained.set(count < wanted);
                Ok(count)
            }
        }
    }
}

/// Takes `sent` bytes off the front of `queue`.
fn advance(queue: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(front) = queue.front_mut() {
        if sent < front.len() {
            front.advance(sent);
            return;
        }
        sent -= front.len();
        queue.pop_front();
    }
}

/// Pieces handed to the kernel in one call.
const SLICES: usize = 64;

/// By how much a buffer grows ahead of the bytes that fill it.
const GROWTH: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_bytes_leave_the_queue_from_the_front() {
        let mut queue: VecDeque<Bytes> = ["abc", "", "de", "f"].map(Bytes::from).into();
        advance(&mut queue, 4);
        assert_eq!(queue, ["e", "f"].map(Bytes::from));
        advance(&mut queue, 2);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn file_descriptors_travel_with_the_bytes() {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        for s in [&a, &b] {
            s.set_nonblocking(true).unwrap();
        }
        let (a, b) = (Socket::new(a.into(), true).unwrap(), Socket::new(b.into(), true).unwrap());
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        a.send_all(b"hello", &[file.as_fd()]).await.unwrap();
        let (mut buf, mut fds) = (Vec::new(), Vec::new());
        b.recv_exact(&mut buf, 5, &mut fds).await.unwrap();
        assert_eq!((&buf[..], fds.len()), (&b"hello"[..], 1));
        assert_eq!(b.peer_uid().unwrap(), rustix::process::geteuid().as_raw());
    }
}
