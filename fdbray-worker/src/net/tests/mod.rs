//! The network between two processes, over real sockets, with both of them in this one.

mod bulk;
mod garbage;
mod handshake;
mod host;
mod proxy;
mod sessions;

use super::{Net, NetError, Options};
use crate::id::ProcessId;
use host::{Event, TestHost};
use std::{sync::Arc, time::Duration};

/// A process: its network on an I/O thread of its own.
struct Node {
    id: ProcessId,
    net: Net,
    host: Arc<TestHost>,
    // Dropped last: ends the thread.
    _io: tokio::sync::oneshot::Sender<()>,
}

impl Node {
    fn start(options: Options) -> Self {
        Self::try_start(options).unwrap()
    }

    fn try_start(options: Options) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let io = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || runtime.block_on(stopped));
        let id = options.process;
        let host = TestHost::new();
        let net = Net::start(options, host.clone(), io)?;
        Ok(Node { id, net, host, _io: stop })
    }

    fn dial(&self, other: &Node) {
        self.net.dial(other.id, other.net.addresses());
    }

    /// Dials and waits until both know.
    fn connect(&self, other: &Node) {
        self.dial(other);
        assert!(matches!(self.host.next(), Event::Connected { fresh: true, .. }));
        assert!(matches!(other.host.next(), Event::Connected { fresh: true, .. }));
    }

    fn link(&self, other: &Node) -> Arc<super::Link> {
        self.net.link(other.id).unwrap()
    }
}

/// Options of a new process in a cluster that only this test has.
fn options(cluster: &str) -> Options {
    Options::new(format!("{cluster}-{}", std::process::id()), ProcessId::random())
}

/// The same, on TCP.
fn tcp(cluster: &str) -> Options {
    Options { tcp_only: true, listen: Some("127.0.0.1:0".into()), ..options(cluster) }
}

/// The same, where nobody can dial.
fn hidden(cluster: &str) -> Options {
    Options { tcp_only: true, ..options(cluster) }
}

/// Blocks on a future, on any runtime or none.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Not an expectation but an end to tests that hang.
const PATIENCE: Duration = Duration::from_secs(60);
