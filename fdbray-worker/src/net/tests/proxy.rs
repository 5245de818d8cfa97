//! A TCP proxy on loopback that a test cuts connections with.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    open: Mutex<Vec<TcpStream>>,
    /// How many connections are to be closed as soon as they are made.
    hang_up: AtomicUsize,
    made: AtomicUsize,
    /// How many connections are to have a byte damaged among many.
    damage: AtomicUsize,
}

impl Shared {
    fn damages_one(&self) -> bool {
        let less = |n: usize| n.checked_sub(1);
        self.damage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl Proxy {
    /// Passes connections on to `target`, an address of a `Net`.
    pub(super) fn to(target: &str) -> Self {
        Self::at("127.0.0.1:0", target)
    }

    pub(super) fn at(address: &str, target: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (state, target) = (shared.clone(), target.strip_prefix("tcp:").unwrap().to_owned());
        thread::spawn(move || {
            for from in listener.incoming() {
                let Ok(from) = from else { return };
                if state.hang_up.load(Ordering::SeqCst) == usize::MAX {
                    return;
                }
                state.made.fetch_add(1, Ordering::SeqCst);
                let less = |n: usize| n.checked_sub(1);
                if state.hang_up.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                    continue;
                }
                let Ok(to) = TcpStream::connect(&target) else { continue };
                state.open.lock().unwrap().extend([from.try_clone().unwrap(), to.try_clone().unwrap()]);
                for (mut a, mut b) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                    let (state, mut sound) = (state.clone(), true);
                    thread::spawn(move || {
                        let mut buf = vec![0; 16 << 10];
                        while let Ok(n @ 1..) = a.read(&mut buf) {
                            if sound && n == buf.len() && state.damages_one() {
                                (buf[n / 2], sound) = (!buf[n / 2], false);
                            }
                            if b.write_all(&buf[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = (a.shutdown(Shutdown::Both), b.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        Proxy { address, shared }
    }

    /// What to dial.
    pub(super) fn addresses(&self) -> [String; 1] {
        [format!("tcp:{}", self.address)]
    }

    /// Breaks all connections.
    pub(super) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes so many of the next connections at once.
    pub(super) fn hang_up(&self, connections: usize) {
        self.shared.hang_up.store(connections, Ordering::SeqCst);
    }

    /// Damages a byte of so many of the connections over which much is sent.
    pub(super) fn damage(&self, connections: usize) {
        self.shared.damage.store(connections, Ordering::SeqCst);
    }

    /// How many connections there have been.
    pub(super) fn made(&self) -> usize {
        self.shared.made.load(Ordering::SeqCst)
    }

    /// Listens no more; connections are refused when this returns.
    pub(super) fn close(self) -> SocketAddr {
        self.hang_up(usize::MAX);
        // The listener goes when it has seen one more connection.
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
        self.cut();
        self.address
    }
}
