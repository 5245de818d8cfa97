//! Takes what a worker process prints: fds 1 and 2 lead into pipes that one thread reads.
#![allow(unsafe_code)]

use super::{Functions, LONGEST, LogLine, Stream, layer::TaskLayer, lines::Lines, queue::Queue, recent};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{Mode, OFlags, open},
    io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio, ioctl_fionread, read, retry_on_intr, write},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
    stdio::{dup2_stderr, dup2_stdout, stderr, stdout},
};
use std::{
    fmt,
    io::{self, Write},
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The most that waits for the sink.
const WAITING: usize = 4 << 20;
/// What user code can print before it waits for the reader.
const PIPE: usize = 256 << 10;
/// How long text stays in the pipe before it is read. With fds that the parent gave, it reads there what a process
/// said right before it died; and more is read at once.
const LINGER: Duration = Duration::from_millis(3);
/// A line that is not ended goes out after this.
const IDLE: Duration = Duration::from_millis(100);
/// How long the streams' locks are waited for.
const FLUSH: Duration = Duration::from_millis(200);

/// How to capture.
#[derive(Clone, Copy, Debug, Default)]
pub struct CaptureOptions {
    /// Fds 1 and 2 are pipes that the parent made for this process to read ([`Born::captured`]), so that what it says
    /// last is not lost.
    ///
    /// [`Born::captured`]: crate::runtime::children::Born::captured
    pub given: bool,
    /// Print everything where it would have gone, too: for a worker that runs in a terminal of its own. Has no meaning
    /// with `given`.
    pub tee: bool,
}

/// Captures the output of this process until it is stopped or dropped.
pub struct Capture {
    queue: Arc<Queue<LogLine>>,
    originals: Option<[OwnedFd; 2]>,
    wake: OwnedFd,
    reader_done: mpsc::Receiver<()>,
    sink_done: mpsc::Receiver<()>,
}

impl Capture {
    /// Gives every line to `sink`, on a thread that may block. `current` says what runs right now; it is called on the
    /// thread that reads the pipes and must neither print nor wait for anything that prints.
    ///
    /// # Errors
    /// When the operating system gives no descriptors or threads; nothing is captured then.
    pub fn start(
        options: CaptureOptions,
        sink: impl Fn(LogLine) + Send + 'static,
        current: impl Fn() -> Functions + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(WAITING));
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let (originals, [out, err]) = match options.given {
            true => (None, [drained(reopen(1)?), drained(reopen(2)?)]),
            false => redirect().map(|(originals, outs)| (Some(originals), outs))?,
        };
        let (ends, [reader_done, sink_done]) = ends();
        // From here on it undoes what was done, if something fails.
        let capture = Capture { queue, originals, wake, reader_done, sink_done };
        buffer_lines_of_c();
        let tee = |which: usize| {
            let original = capture.originals.as_ref().filter(|_| options.tee).map(|fds| &fds[which]);
            original.map(OwnedFd::try_clone).transpose()
        };
        let [reader_ends, sink_ends] = ends;
        let reader = Reader {
            sources: [Source::new(out, Stream::Stdout, tee(0)?), Source::new(err, Stream::Stderr, tee(1)?)],
            wake: capture.wake.try_clone()?,
            queue: capture.queue.clone(),
            current,
            functions: Functions::NONE,
            quiet: false,
            drained: recent::now(),
        };
        let (lines, tee) = (capture.queue.clone(), tee(1)?);
        thread::Builder::new().name("fdbray-logs".into()).spawn(move || {
            deliver(&lines, tee, sink);
            drop(sink_ends);
        })?;
        thread::Builder::new().name("fdbray-capture".into()).stack_size(256 << 10).spawn(move || {
            reader.run();
            drop(reader_ends);
        })?;
        Ok(capture)
    }

    /// Takes `tracing` events for the same sink.
    pub fn layer(&self) -> TaskLayer {
        TaskLayer::new(self.queue.clone())
    }

    /// Takes `tracing` events for the same sink, if the program has not set a subscriber of its own; says whether it
    /// does. `FDBRAY_LOG` says which: levels by target, `info` by default.
    pub fn install_layer(&self) -> bool {
        self.layer().install()
    }

    /// Gives the sink what was printed so far, for at most `patience`, and lets fds 1 and 2 lead where they did before.
    pub fn stop(mut self, patience: Duration) {
        self.end(patience);
    }

    fn end(&mut self, patience: Duration) {
        let until = Instant::now() + patience.min(Duration::from_secs(3600));
        let left = || until.saturating_duration_since(Instant::now());
        flush(left().min(FLUSH));
        if let Some([out, err]) = self.originals.take() {
            // They were fds 1 and 2 before, so they can be again; if not, the pipes stay, and prints fail with EPIPE.
            let _ = dup2_stdout(out);
            let _ = dup2_stderr(err);
        }
        let _ = write(&self.wake, &1_u64.to_ne_bytes());
        let _ = self.reader_done.recv_timeout(left());
        self.queue.close();
        let _ = self.sink_done.recv_timeout(left());
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.originals.is_some() {
            self.end(Duration::from_secs(1));
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

/// The thread that reads the pipes. It prints nothing and waits for nobody, else user code that prints could wait for
/// itself; only with a tee it waits for the terminal, as user code would without us.
struct Reader<F> {
    sources: [Source; 2],
    wake: OwnedFd,
    queue: Arc<Queue<LogLine>>,
    current: F,
    /// What may have printed what was read last.
    functions: Functions,
    /// Whether that is nobody's business.
    quiet: bool,
    /// When nothing was in the pipes, on the clock of [`recent`].
    drained: u64,
}

struct Source {
    pipe: Option<OwnedFd>,
    stream: Stream,
    tee: Option<OwnedFd>,
    lines: Lines,
}

impl<F: Fn() -> Functions> Reader<F> {
    fn run(mut self) {
        let mut idle_since = Instant::now();
        loop {
            let wait = self.sources.iter().any(|s| s.lines.is_open());
            let wait = wait.then(|| IDLE.saturating_sub(idle_since.elapsed()));
            let Some(stop) = self.poll(wait) else { return };
            if stop {
                return self.finish();
            }
            if self.sources.iter().any(|s| s.readable() > 0) {
                if !self.sources.iter().any(|s| s.readable() > PIPE / 4) {
                    thread::sleep(LINGER);
                }
                self.read();
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= IDLE {
                self.flush();
            }
        }
    }

    /// Whether it is time to stop; `None` when nothing is left to read from.
    fn poll(&mut self, wait: Option<Duration>) -> Option<bool> {
        let timeout = wait.map(|w| Timespec { tv_sec: 0, tv_nsec: i64::from(w.subsec_nanos()) + 1 });
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        fds.extend(
            self.sources.iter().filter_map(|s| s.pipe.as_ref()).map(|p| PollFd::new(p, PollFlags::IN)),
        );
        if fds.len() == 1 && wait.is_none() {
            return None;
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // The kernel has no memory for it now.
            Err(_) => thread::sleep(IDLE),
        }
        let stop = !fds[0].revents().is_empty();
        // Without a writer a pipe is ready for ever.
        let ended: Vec<bool> = fds[1..].iter().map(|p| p.revents() == PollFlags::HUP).collect();
        for (source, _) in self.sources.iter_mut().filter(|s| s.pipe.is_some()).zip(ended).filter(|(_, e)| *e)
        {
            source.pipe = None;
        }
        Some(stop)
    }

    fn read(&mut self) {
        let start = recent::now();
        // Should it panic, that costs names. Without this thread, every print of user code would fail.
        self.functions = catch_unwind(AssertUnwindSafe(&self.current)).unwrap_or(Functions::NONE);
        let ran = recent::since(self.drained);
        self.quiet = ran.is_none();
        self.functions.merge(ran.unwrap_or_default());
        let mut buffer = [0; 16 << 10];
        for source in &mut self.sources {
            // So much at most, so that one who prints without end does not starve the other.
            for _ in 0..PIPE / buffer.len() {
                let Some(pipe) = &source.pipe else { break };
                let Ok(n @ 1..) = retry_on_intr(|| read(pipe, &mut buffer)) else { break };
                source.tee(&buffer[..n]);
                let (stream, functions) = (source.stream, (!self.quiet).then_some(&self.functions));
                source.lines.push(&buffer[..n], |text| push(&self.queue, stream, functions, text));
            }
        }
        if self.sources.iter().all(|s| s.readable() == 0) {
            self.drained = start;
        }
    }

    /// Gives out lines that were begun and not ended.
    fn flush(&mut self) {
        for source in &mut self.sources {
            let (stream, functions) = (source.stream, (!self.quiet).then_some(&self.functions));
            source.lines.flush(|text| push(&self.queue, stream, functions, text));
        }
    }

    /// What is in the pipes now; not what programs that user code started will still print.
    fn finish(&mut self) {
        self.read();
        self.flush();
    }
}

impl Source {
    fn new(pipe: OwnedFd, stream: Stream, tee: Option<OwnedFd>) -> Self {
        Source { pipe: Some(pipe), stream, tee, lines: Lines::default() }
    }

    fn readable(&self) -> usize {
        self.pipe.as_ref().map_or(0, |p| ioctl_fionread(p).unwrap_or(0) as usize)
    }

    fn tee(&mut self, bytes: &[u8]) {
        if self.tee.as_ref().is_some_and(|fd| super::printer::write_all(fd, bytes).is_err()) {
            self.tee = None;
        }
    }
}

/// `functions` is `None` for what is not to be shown.
fn push(queue: &Queue<LogLine>, stream: Stream, functions: Option<&Functions>, text: String) {
    if let Some(functions) = functions {
        let bytes = text.len() + 128;
        queue.push(LogLine { stream, functions: functions.clone(), text }, bytes);
    }
}

fn deliver(queue: &Queue<LogLine>, mut tee: Option<OwnedFd>, sink: impl Fn(LogLine)) {
    let sink = |line| {
        // A panic in it must not end the lines after this one.
        let _ = catch_unwind(AssertUnwindSafe(|| sink(line)));
    };
    while let Some((lines, dropped)) = queue.take() {
        for line in lines {
            if line.stream == Stream::Event
                && tee.as_ref().is_some_and(|fd| {
                    super::printer::write_all(fd, format!("{}\n", line.text).as_bytes()).is_err()
                })
            {
                tee = None;
            }
            sink(line);
        }
        if dropped > 0 {
            let text = format!("… {dropped} lines dropped");
            sink(LogLine { stream: Stream::Stderr, functions: Functions::NONE, text });
        }
    }
}

/// Two ends of threads: each is seen when what stands for it is dropped.
fn ends() -> ([mpsc::Sender<()>; 2], [mpsc::Receiver<()>; 2]) {
    let ((a, a_seen), (b, b_seen)) = (mpsc::channel(), mpsc::channel());
    ([a, b], [a_seen, b_seen])
}

/// Where fds 1 and 2 led, and the pipes that they lead into from here on.
fn redirect() -> io::Result<([OwnedFd; 2], [OwnedFd; 2])> {
    // A daemon may have closed them.
    let keep = |fd| {
        fcntl_dupfd_cloexec(fd, 3)
            .or_else(|_| open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))
    };
    let _ = io::stdout().flush();
    let originals = [keep(stdout())?, keep(stderr())?];
    let (out, into_out) = pipe()?;
    let (err, into_err) = pipe()?;
    dup2_stdout(into_out)?;
    if let Err(error) = dup2_stderr(into_err) {
        let _ = dup2_stdout(&originals[0]);
        return Err(error.into());
    }
    Ok((originals, [out, err]))
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (from, into) = pipe_with(PipeFlags::CLOEXEC)?;
    // Only our end: programs that user code starts inherit the other, and expect it to block.
    ioctl_fionbio(&from, true)?;
    // Above the user's limit it keeps the smaller size that it has.
    let _ = fcntl_setpipe_size(&into, PIPE);
    Ok((from, into))
}

/// The reading end of the pipe that fd 1 or 2 writes to.
fn reopen(fd: u8) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = open(format!("/proc/self/fd/{fd}"), flags, Mode::empty())?;
    let _ = fcntl_setpipe_size(&from, PIPE);
    Ok(from)
}

/// A pipe without what is in it: printed before this process could run anything, so that it is of no task; the header of
/// a test harness, say.
fn drained(pipe: OwnedFd) -> OwnedFd {
    let mut buffer = [0; 16 << 10];
    while matches!(retry_on_intr(|| read(&pipe, &mut buffer)), Ok(1..)) {}
    pipe
}

// SAFETY: C has one `stdout`, a pointer to a stream, which every program on Linux links.
unsafe extern "C" {
    #[link_name = "stdout"]
    static c_stdout: *mut libc::FILE;
}

/// C's stdout keeps whole blocks back when it is not a terminal; nobody would see them before the process ends.
fn buffer_lines_of_c() {
    // SAFETY: `stdout` is an open stream; both C libraries of Linux lock the stream in `setvbuf`, which with a null buffer
    // only changes the mode.
    unsafe { libc::setvbuf(c_stdout, std::ptr::null_mut(), libc::_IOLBF, LONGEST) };
}

/// What C and Rust hold back. On another thread, since user code may hold the streams' locks for ever.
fn flush(patience: Duration) {
    let (ends, done) = mpsc::channel::<()>();
    let flush = move || {
        // SAFETY: `stdout` is an open stream of the C library, which locks it; allowed at any time on any thread.
        unsafe { libc::fflush(c_stdout) };
        let _ = io::stdout().flush();
        drop(ends);
    };
    if thread::Builder::new().name("fdbray-flush".into()).stack_size(64 << 10).spawn(flush).is_ok() {
        let _ = done.recv_timeout(patience);
    }
}
