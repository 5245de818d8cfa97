//! Addresses: where a process can be dialled, and dialling it.

use super::socket::Socket;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use std::{io, os::fd::OwnedFd, time::Duration};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// Nobody could be connected to.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Whether every address was refused: nobody listens there, and the machines are alive.
    pub(crate) refused: bool,
    /// What the system said, by address.
    pub(crate) why: String,
}

/// A connection to the first of `addresses` that accepts one.
pub(crate) async fn first(addresses: &[String]) -> Result<Socket, Failed> {
    let mut failed = Failed { refused: !addresses.is_empty(), why: String::new() };
    for address in addresses {
        match one(address).await {
            Ok(socket) => return Ok(socket),
            Err(e) => failed.add(address, &e),
        }
    }
    if addresses.is_empty() {
        failed.why = "it has no address that this process could dial".into();
    }
    Err(failed)
}

impl Failed {
    fn add(&mut self, address: &str, e: &io::Error) {
        self.refused &= e.kind() == io::ErrorKind::ConnectionRefused;
        let and = if self.why.is_empty() { "" } else { ", " };
        self.why = format!("{}{and}{address}: {e}", self.why);
    }
}

/// A connection to `address`: `unix:@NAME` or `tcp:HOST:PORT`.
pub(crate) async fn one(address: &str) -> io::Result<Socket> {
    let connecting = async {
        if let Some(name) = address.strip_prefix("unix:@") {
            Socket::new(connect_unix(name).await?, true)
        } else if let Some(at) = address.strip_prefix("tcp:") {
            let stream = TcpStream::connect(at).await?.into_std()?;
            if stream.local_addr()? == stream.peer_addr()? {
                // Dialling a free port of one's own range can connect a socket to itself.
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Socket::new(stream.into(), false)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "no address that this version knows"))
        }
    };
    timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect_unix(name: &str) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let socket = unix_socket()?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            // The listener has as many waiting as it allows; a Unix socket does not wait for that by itself.
            Err(Errno::AGAIN) => sleep(Duration::from_millis(2)).await,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A new non-blocking Unix stream socket.
pub(crate) fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// How long one connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
