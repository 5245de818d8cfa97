//! The raw limits that the figures stand beside: what two processes can do over one Unix socket without fdbray.
//!
//! Each limit is measured between this process and a copy of it that does nothing else (see [`serve`]), over an
//! abstract Unix socket, right before the figure that it belongs to. They are written as well as the figures they
//! are compared with: one lock and one buffer per batch, no allocation and no system call per frame.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};
use std::{
    env, io,
    io::{BufRead, BufReader, Read},
    os::{linux::net::SocketAddrExt, unix::net as unix},
    process::{self, Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    runtime::{Builder, Runtime},
    sync::Notify,
};

/// The variable that makes a copy of this program a server for one limit.
pub const SERVE: &str = "FDBRAY_BENCH_LIMIT";

/// What the echo sends for a call of `(i64, i64) -> i64`: the fields and the size of fdbray's own message, 35 bytes or
/// so with its length.
#[derive(Serialize, Deserialize)]
struct Call<'a> {
    kind: u8,
    task: (u32, u32),
    object: u64,
    attempt: u32,
    function: u32,
    driver: Option<u64>,
    #[serde(borrow)]
    arguments: &'a [u8],
    futures: u8,
}

/// What comes back for it, likewise.
#[derive(Serialize, Deserialize)]
struct Reply<'a> {
    kind: u8,
    task: (u32, u32),
    ran: u64,
    #[serde(borrow)]
    value: &'a [u8],
    futures: u8,
}

/// Calls that may be under way at once; the same as for the figure `tasks_async`.
pub const WINDOW: u64 = 100_000;
/// What one system call of the echo reads or writes.
#[derive(Clone, Copy, PartialEq)]
pub enum Batch {
    /// Whatever there is, up to 256 KiB: as many frames as pile up while the other side works.
    Free,
    /// About 128 frames of a call, which is what a worker hands to a thread of its pool at once.
    Of128,
}

impl Batch {
    fn bytes(self) -> usize {
        match self {
            Batch::Free => 256 << 10,
            Batch::Of128 => 128 * 35,
        }
    }
}

const PING_BYTES: usize = 32;
/// Two integers of four bytes each.
const ARGUMENTS: [u8; 8] = [0xe8, 0x8f, 0xa7, 1, 0x80, 0xad, 0xe2, 4];
/// An id of a process: a random number, ten bytes long on the wire.
const DRIVER: u64 = 0xf2b9_31d4_8856_a07c;

/// Median microseconds of a ping-pong of 32 bytes between two tokio runtimes of one thread each.
pub fn ping_pong(rounds: usize) -> io::Result<f64> {
    let server = Server::start("ping")?;
    let mut took = server.runtime.block_on(async {
        let mut socket = server.connect()?;
        let mut took = Vec::with_capacity(rounds);
        let mut frame = [7; PING_BYTES];
        for round in 0..rounds + rounds / 10 {
            let started = Instant::now();
            socket.write_all(&frame).await?;
            socket.read_exact(&mut frame).await?;
            if round >= rounds / 10 {
                took.push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
        io::Result::Ok(took)
    })?;
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

/// Frames per second that come back when a caller's thread appends frames to one buffer, an I/O thread takes the whole
/// buffer each time it can write, and the other process answers each frame, batch by batch.
pub fn echo(frames: u64, batch: Batch) -> io::Result<f64> {
    let server = Server::start(if batch == Batch::Free { "echo" } else { "echo128" })?;
    let shared = Arc::new(Shared::default());
    let io = {
        let shared = shared.clone();
        let socket = server.connect_std()?;
        thread::spawn(move || {
            let ended = runtime()?.block_on(async {
                let (mut read, mut write) = UnixStream::from_std(socket)?.into_split();
                tokio::select! {
                    sent = send(&shared, &mut write, batch) => sent,
                    received = receive(&shared, &mut read, frames, batch) => received,
                }
            });
            // Where it failed, nobody is to wait for the rest.
            shared.arrived(u64::MAX / 2);
            ended
        })
    };
    let started = Instant::now();
    for task in 0..frames {
        if task.saturating_sub(shared.done.load(Ordering::Acquire)) >= WINDOW {
            shared.wait_until(task - WINDOW / 2);
        }
        let mut buffer = shared.buffer();
        let idle = buffer.is_empty();
        let call = Call {
            kind: 1,
            task: (1, task as u32),
            object: task,
            attempt: 1,
            function: 7,
            driver: Some(DRIVER),
            arguments: &ARGUMENTS,
            futures: 0,
        };
        append(&mut buffer, &call)?;
        drop(buffer);
        if idle {
            shared.to_send.notify_one();
        }
    }
    shared.wait_until(frames);
    let took = started.elapsed();
    io.join().map_err(|_| io::Error::other("the echo's I/O thread panicked"))??;
    Ok(frames as f64 / took.as_secs_f64())
}

/// Serves one limit and ends the process, if it was started for that.
pub fn serve() {
    let Some(what) = env::var_os(SERVE) else { return };
    // Ends with the process that started it, however that ends.
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(0)
    });
    let what = what.to_string_lossy();
    let served =
        what.split_once(':').ok_or_else(|| io::Error::other("no such limit")).and_then(|(kind, name)| {
            let listener = unix::UnixListener::bind_addr(&unix::SocketAddr::from_abstract_name(name)?)?;
            listener.set_nonblocking(true)?;
            runtime()?.block_on(async {
                let listener = UnixListener::from_std(listener)?;
                println!("ready");
                let (socket, _) = listener.accept().await?;
                match kind {
                    "ping" => serve_ping(socket).await,
                    "echo" => serve_echo(socket, Batch::Free).await,
                    _ => serve_echo(socket, Batch::Of128).await,
                }
            })
        });
    if let Err(e) = served {
        eprintln!("the server for the limit {what}: {e}");
        process::exit(1);
    }
    process::exit(0)
}

async fn serve_ping(mut socket: UnixStream) -> io::Result<()> {
    let mut frame = [0; PING_BYTES];
    while socket.read_exact(&mut frame).await.is_ok() {
        socket.write_all(&frame).await?;
    }
    Ok(())
}

async fn serve_echo(mut socket: UnixStream, batch: Batch) -> io::Result<()> {
    let (mut calls, mut replies) = (Frames::default(), Vec::with_capacity(batch.bytes()));
    while calls.fill(&mut socket, batch).await? {
        let taken = calls.each(|call: Call<'_>| {
            let value = &call.arguments[..call.arguments.len() / 2];
            append(&mut replies, &Reply { kind: call.kind, task: call.task, ran: 300, value, futures: 0 })
        })?;
        calls.forget(taken);
        socket.write_all(&replies).await?;
        replies.clear();
    }
    Ok(())
}

/// What the caller's thread and the I/O thread share.
#[derive(Default)]
struct Shared {
    /// Frames that wait to be written. Held for a few instructions per frame, and once per batch by the writer.
    buffer: Mutex<Vec<u8>>,
    to_send: Notify,
    done: AtomicU64,
    /// What the caller waits for, if it waits.
    wanted: Mutex<Option<u64>>,
    reached: Condvar,
    waits: AtomicBool,
}

impl Shared {
    fn buffer(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.buffer.lock().expect("nothing panics under this lock")
    }

    fn wait_until(&self, done: u64) {
        let mut wanted = self.wanted.lock().expect("nothing panics under this lock");
        *wanted = Some(done);
        self.waits.store(true, Ordering::SeqCst);
        while self.done.load(Ordering::SeqCst) < done {
            wanted = self.reached.wait(wanted).expect("nothing panics under this lock");
        }
        *wanted = None;
        self.waits.store(false, Ordering::SeqCst);
    }

    fn arrived(&self, frames: u64) {
        let done = self.done.fetch_add(frames, Ordering::SeqCst) + frames;
        if self.waits.load(Ordering::SeqCst) {
            let wanted = self.wanted.lock().expect("nothing panics under this lock");
            if wanted.is_some_and(|wanted| done >= wanted) {
                self.reached.notify_one();
            }
        }
    }
}

async fn send(
    shared: &Shared,
    socket: &mut tokio::net::unix::OwnedWriteHalf,
    batch: Batch,
) -> io::Result<()> {
    let mut taken = Vec::new();
    loop {
        std::mem::swap(&mut taken, &mut *shared.buffer());
        if taken.is_empty() {
            shared.to_send.notified().await;
        } else {
            for part in taken.chunks(batch.bytes()) {
                socket.write_all(part).await?;
            }
            taken.clear();
        }
    }
}

async fn receive(
    shared: &Shared,
    socket: &mut tokio::net::unix::OwnedReadHalf,
    frames: u64,
    batch: Batch,
) -> io::Result<()> {
    let (mut replies, mut next) = (Frames::default(), 0);
    while next < frames {
        if !replies.fill(socket, batch).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = next;
        let taken = replies.each(|reply: Reply<'_>| {
            if (reply.task.1, reply.value) != (next as u32, &ARGUMENTS[..ARGUMENTS.len() / 2]) {
                return Err(io::Error::other(format!("reply {} where {next} was due", reply.task.1)));
            }
            next += 1;
            Ok(())
        })?;
        replies.forget(taken);
        shared.arrived(next - before);
    }
    Ok(())
}

/// Bytes as they come from the socket, taken out in whole frames: a length of four bytes, then postcard.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    async fn fill(&mut self, socket: &mut (impl AsyncReadExt + Unpin), batch: Batch) -> io::Result<bool> {
        self.0.reserve(batch.bytes());
        Ok(socket.take(batch.bytes() as u64).read_buf(&mut self.0).await? > 0)
    }

    /// Gives each whole frame to `each`, decoded in place.
    fn each<'a, M: Deserialize<'a>>(
        &'a self,
        mut each: impl FnMut(M) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut rest = &self.0[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let Some((frame, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                break;
            };
            each(postcard::from_bytes(frame).map_err(io::Error::other)?)?;
            rest = after;
        }
        Ok(self.0.len() - rest.len())
    }

    fn forget(&mut self, bytes: usize) {
        self.0.drain(..bytes);
    }
}

/// Appends `message` as a frame.
fn append(buffer: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    postcard::serialize_with_flavor(message, Sink(buffer)).map_err(io::Error::other)?;
    let length = (buffer.len() - start - 4) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Lets postcard append to a buffer in place.
struct Sink<'a>(&'a mut Vec<u8>);

impl Flavor for Sink<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The other process.
struct Server {
    name: String,
    runtime: Runtime,
    child: Child,
}

impl Server {
    fn start(kind: &str) -> io::Result<Self> {
        let name = format!("fdbray-bench-{}-{kind}", process::id());
        let mut child = Command::new(env::current_exe()?)
            .env(SERVE, format!("{kind}:{name}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().map(|out| BufReader::new(out).lines().next());
        let server = Server { name, runtime: runtime()?, child };
        match said {
            Some(Some(Ok(line))) if line == "ready" => Ok(server),
            _ => Err(io::Error::other(format!("the server for the limit `{kind}` did not start"))),
        }
    }

    fn connect_std(&self) -> io::Result<unix::UnixStream> {
        let socket = unix::UnixStream::connect_addr(&unix::SocketAddr::from_abstract_name(&self.name)?)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::from_std(self.connect_std()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().build()
}
