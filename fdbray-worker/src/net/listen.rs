//! Listening: the sockets of a process, what it tells others to dial, and taking in those who do.

use super::{connect, error::NetError, manager::Manager, options::Options, socket::Socket};
use rustix::net::SocketAddrUnix;
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixListener as StdUnixListener},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

/// The sockets that a process listens on.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    unix: Option<StdUnixListener>,
    tcp: Option<StdTcpListener>,
    /// What others dial, best first.
    pub(crate) addresses: Vec<String>,
}

impl Listeners {
    /// Opens what `options` ask for.
    pub(crate) fn open(options: &Options) -> Result<Self, NetError> {
        let mut listeners = Listeners::default();
        if !options.tcp_only {
            let name = unix_name(options);
            let opened = listen_unix(&name)
                .map_err(|source| NetError::Listen { address: format!("unix:@{name}"), source })?;
            listeners.unix = Some(opened);
            listeners.addresses.push(format!("unix:@{name}"));
        }
        if let Some(address) = &options.listen {
            let (opened, at) = listen_tcp(address, options.secret.is_some())?;
            listeners.tcp = Some(opened);
            let advertised = advertised(at, address, options.advertise.as_deref())?;
            listeners.addresses.push(format!("tcp:{advertised}"));
        }
        Ok(listeners)
    }

    /// Takes in whoever dials, until the tasks are aborted. Must be called inside the I/O runtime.
    pub(crate) fn serve(self, manager: &Arc<Manager>) -> io::Result<Vec<tokio::task::AbortHandle>> {
        let mut tasks = Vec::new();
        if let Some(listener) = self.unix {
            let listener = UnixListener::from_std(listener)?;
            let accept = async move || Ok((listener.accept().await?.0.into_std()?.into(), true));
            tasks.push(tokio::spawn(take_in(manager.clone(), accept)).abort_handle());
        }
        if let Some(listener) = self.tcp {
            let listener = TcpListener::from_std(listener)?;
            let accept = async move || Ok((listener.accept().await?.0.into_std()?.into(), false));
            tasks.push(tokio::spawn(take_in(manager.clone(), accept)).abort_handle());
        }
        Ok(tasks)
    }
}

/// Gives each connection a task for its handshake; when too many are at it, the next ones wait in the kernel.
async fn take_in(manager: Arc<Manager>, accept: impl AsyncFn() -> io::Result<(OwnedFd, bool)>) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    loop {
        // The semaphore is never closed.
        let Ok(stranger) = strangers.clone().acquire_owned().await else { return };
        match accept().await.and_then(|(fd, unix)| Socket::new(fd, unix)) {
            Ok(socket) => {
                let manager = manager.clone();
                tokio::spawn(async move {
                    manager.take_in(socket).await;
                    drop(stranger);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be taken in");
                // Most often there are no file descriptors left: others have to go first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The name of a process's Unix socket. It is abstract: it leaves nothing in the file system.
fn unix_name(options: &Options) -> String {
    let cluster = xxhash_rust::xxh3::xxh3_64(options.cluster.as_bytes());
    format!("fdbray-{cluster:016x}-{}", options.process)
}

fn listen_unix(name: &str) -> io::Result<StdUnixListener> {
    let socket = connect::unix_socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn listen_tcp(address: &str, secured: bool) -> Result<(StdTcpListener, SocketAddr), NetError> {
    let wrong = |source| NetError::Address { address: address.to_owned(), source };
    let at: Vec<SocketAddr> = address.to_socket_addrs().map_err(wrong)?.collect();
    if !secured && at.iter().any(|a| !a.ip().is_loopback()) {
        return Err(NetError::NeedsSecret { address: address.to_owned() });
    }
    let taken = |source| NetError::Listen { address: address.to_owned(), source };
    let listener = StdTcpListener::bind(&at[..]).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    let at = listener.local_addr().map_err(taken)?;
    Ok((listener, at))
}

/// What others dial to reach the socket that is bound to `at`.
fn advertised(at: SocketAddr, listen: &str, advertise: Option<&str>) -> Result<String, NetError> {
    if let Some(advertise) = advertise {
        let wrong = || NetError::Advertise { address: advertise.to_owned() };
        if advertise.is_empty() || advertise.contains(char::is_whitespace) {
            return Err(wrong());
        }
        if let Ok(ip) = advertise.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, at.port()).to_string());
        }
        return match advertise.rsplit_once(':') {
            None => Ok(format!("{advertise}:{}", at.port())),
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0) => {
                Ok(advertise.to_owned())
            }
            Some(_) => Err(wrong()),
        };
    }
    if !at.ip().is_unspecified() {
        return Ok(at.to_string());
    }
    let ip = outward_ip(at).map_err(|source| NetError::Listen {
        address: format!(
            "{listen} (which of this machine's addresses others reach is unknown: use --advertise)"
        ),
        source,
    })?;
    tracing::info!(%ip, "listening on every address; peers are told this one (--advertise sets another)");
    Ok(SocketAddr::new(ip, at.port()).to_string())
}

/// The address that this machine would reach others from. Connecting a datagram socket sends nothing.
fn outward_ip(at: SocketAddr) -> io::Result<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): only the route to them is looked up.
    let (from, to) = if at.is_ipv4() { ("0.0.0.0:0", "192.0.2.1:9") } else { ("[::]:0", "[2001:db8::1]:9") };
    let socket = UdpSocket::bind(from)?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// Connections on which nobody has proven who they are, per socket.
pub(super) const MAX_STRANGERS: usize = if cfg!(test) { 8 } else { 128 };

/// Connections that the kernel keeps until they are taken in.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised_can_be_dialled() {
        let at: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let of = |advertise| advertised(at, "127.0.0.1:4000", advertise);
        assert_eq!(of(None).unwrap(), "127.0.0.1:4000");
        assert_eq!(of(Some("host.example")).unwrap(), "host.example:4000");
        assert_eq!(of(Some("host.example:9")).unwrap(), "host.example:9");
        assert_eq!(of(Some("::1")).unwrap(), "[::1]:4000");
        for wrong in ["", ":9", "host:", "host:x", "host:0", "a b"] {
            assert!(matches!(of(Some(wrong)), Err(NetError::Advertise { .. })), "{wrong}");
        }
    }
}
