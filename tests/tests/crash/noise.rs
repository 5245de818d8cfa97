//! Peers that talk nonsense, announce what never comes, or say nothing, to a worker that serves others meanwhile.

use crate::PROGRAM;
use fdbray_tests::crash::Cluster;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    time::Duration,
};

/// What begins every connection: the magic, and version 1.
const PREAMBLE: &[u8] = b"fdbray\r\n\x01\0\0\0";

/// A connection to a worker.
trait Wire: Read + Write {
    fn bound(&self);
}

impl Wire for TcpStream {
    fn bound(&self) {
        self.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        self.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    }
}

impl Wire for UnixStream {
    fn bound(&self) {
        self.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        self.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    }
}

/// What a worker is told, and who hangs up is the worker.
fn nonsense() -> Vec<Vec<u8>> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let next = |_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        };
        (0..len).map(next).collect()
    };
    let after = |bytes: &[u8]| [PREAMBLE, bytes].concat();
    vec![
        noise(64 << 10),
        b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n".to_vec(),
        after(&[0xff; 4]),
        after(&[0, 0, 0, 0x80]),
        after(&[0; 4]),
        after(&[&[64, 0, 0, 0][..], &noise(64)].concat()),
        after(&noise(1 << 20)),
        b"fdbray\r\n\xff\xff\xff\xff".to_vec(),
    ]
}

/// Tells it everything, and waits for it to hang up each time.
fn talk<W: Wire>(connect: impl Fn() -> W) {
    for words in nonsense() {
        let mut wire = connect();
        wire.bound();
        // It may hang up in the middle.
        let _ = wire.write_all(&words);
        let mut rest = Vec::new();
        let ended = wire.read_to_end(&mut rest);
        let ended = ended.map(|_| ()).or_else(|e| match e.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(e),
        });
        ended.unwrap_or_else(|e| panic!("a worker hangs up on {:?}..: {e}", &words[..12]));
    }
}

/// The name of the Unix socket that a process listens on.
fn unix_socket_of(pid: u32) -> String {
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?.display().to_string();
        Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    let inodes: Vec<String> =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().filter_map(inode).collect();
    let all = fs::read_to_string("/proc/net/unix").unwrap();
    // Number, count, protocol, flags, type, state, inode, path.
    let ours = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| {
        words.len() == 8 && words[7].starts_with('@') && inodes.iter().any(|inode| inode == words[6])
    });
    ours.expect("the worker listens on a Unix socket")[7][1..].to_owned()
}

#[test]
fn a_worker_goes_on_serving_while_others_talk_nonsense_or_nothing_to_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cluster = Cluster::new(PROGRAM);
    let worker = cluster.worker(&["--cpus", "2", "--listen", &port.to_string()]);
    let mut driver = cluster.driver(&["steady", "12"]);
    driver.says(30, "steady");
    let unix = SocketAddr::from_abstract_name(unix_socket_of(worker.pid())).unwrap();
    let over_tcp = || TcpStream::connect(port).unwrap();
    let over_unix = || UnixStream::connect_addr(&unix).unwrap();
    // Those that say nothing, or stop in the middle, until the end of the test.
    let mut silent: Vec<Box<dyn Wire>> = Vec::new();
    for n in 0..50 {
        let half = &PREAMBLE[..n % (PREAMBLE.len() + 1)];
        let (mut tcp, mut unix) = (over_tcp(), over_unix());
        tcp.write_all(half).unwrap();
        unix.write_all(half).unwrap();
        silent.push(Box::new(tcp));
        silent.push(Box::new(unix));
    }
    for _ in 0..3 {
        talk(over_tcp);
        talk(over_unix);
    }
    // The silent ones are sent away, after a while.
    for wire in &mut silent {
        wire.bound();
        let mut rest = Vec::new();
        let ended = wire.read_to_end(&mut rest);
        assert!(ended.is_ok(), "a worker hangs up on who says nothing: {ended:?}");
    }
    driver.says(60, "made");
    driver.succeeds(10);
    let resident = fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let peak = resident.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 512 << 10, "nobody's announcements were believed: {kib} KiB at the peak");
}
