//! Starting and ending the runtime: what the command line and the environment say, as a driver or as a worker.

use super::{
    PROCESS, Process,
    children::{self, Born},
    durable::Durables,
    follow::{Stop, begin_anew, follow, judges},
    local::{LOCAL, Local},
    logs::{Capture, CaptureOptions, LogLine},
    marks::Marks,
    outside::{Links, Outside, kind_of, printer},
    process::Parts,
    serve::Served,
    shared::SharedMemory,
    signals::{Interrupt, Signals},
};
use crate::{
    config::{ClusterUrl, Config},
    control::{
        members::{Capacity, Host, Member, MemberError, Membership, Role},
        store::Store,
    },
    core::{Core, Settings, shape::Resources},
    error::{Error, Result},
    exec::{self, Pool},
    id::ProcessId,
    net,
    registry::Registry,
};
use std::{
    future::Future,
    process::ExitCode,
    sync::{Arc, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};

/// How long the last lines of output may take.
const LAST_LINES: Duration = Duration::from_millis(500);
/// How long giving back durable work that did not end may take.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// What the process turned out to be.
#[derive(Debug)]
pub enum Entered {
    /// A driver: run the program, then drop or stop this.
    Driver(Driver),
    /// It was a worker, has served and is done: leave with this code.
    Worker(ExitCode),
}

/// The runtime of a driver, which ends with it.
#[derive(Debug)]
pub struct Driver(());

impl Driver {
    /// Ends the runtime: pending futures of this process end with [`Error::Shutdown`], a private cluster's workers leave.
    pub fn stop(self) {}
}

impl Drop for Driver {
    fn drop(&mut self) {
        stop();
    }
}

/// Joins a cluster as the command line, the environment and `cluster` say, in this order; with none of them, starts a
/// private cluster. In a worker this serves until the worker is told to stop.
///
/// # Errors
/// What is wrong with the arguments, the variables, the cluster or the linked functions.
pub fn enter(cluster: Option<&str>) -> Result<Entered> {
    let mut config = Config::from_env().map_err(Error::control)?;
    if let (None, Some(url)) = (&config.cluster, cluster) {
        config.cluster = Some(url.parse::<ClusterUrl>().map_err(Error::control)?);
    }
    enter_with(config)
}

/// The same with settings of the program's own. The command line of a worker goes before them.
///
/// # Errors
/// As [`enter`].
pub fn enter_with(mut config: Config) -> Result<Entered> {
    let born =
        children::born().map_err(|e| Error::control(format!("this worker cannot follow its driver: {e}")))?;
    if let Some(born) = born {
        config.cluster = Some(born.cluster.parse::<ClusterUrl>().map_err(Error::control)?);
        return work(config, Some(born)).map(Entered::Worker);
    }
    let args = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    let invocation = config.with_args(args).map_err(Error::control)?;
    match invocation.role {
        Role::Worker => work(invocation.config, None).map(Entered::Worker),
        Role::Driver => drive(invocation.config).map(Entered::Driver),
    }
}

/// Whether this process was started as a worker: with `--worker`, or by a private cluster.
pub(super) fn is_worker() -> bool {
    children::is_child() || std::env::args_os().skip(1).any(|argument| argument == "--worker")
}

/// Ends the runtime of a driver.
pub(super) fn stop() {
    if let Some(process) = super::process() {
        process.with_core(true, |core, fx| core.end(fx));
        let local = LOCAL.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(local) = local {
            local.stop();
        } else if let Some(outside) = process.outside() {
            let leaving = process.clone();
            // Nobody is worse off when the cluster learns of it a few seconds later.
            let leave = async move { leaving.leave().await };
            wait_on(&outside.io, leave, Duration::from_secs(2));
        }
        if let Some(printer) = printer_if_used() {
            printer.stop(LAST_LINES);
        }
    }
}

fn printer_if_used() -> Option<&'static super::logs::Printer> {
    printer()
}

fn drive(mut config: Config) -> Result<Driver> {
    if PROCESS.get().is_some() {
        return Err(Error::control("the fdbray runtime of this process was started before"));
    }
    if config.in_process {
        exec::install_panic_hook();
        Starting::new(config, Some(Role::Worker))?.process()?;
        return Ok(Driver(()));
    }
    let started = Arc::new(OnceLock::new());
    let registry = Registry::collect()?;
    drop(registry);
    if config.cluster.is_none() {
        let local = Local::start(&config, started.clone())?;
        config.cluster = Some(local.url.clone());
        *LOCAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(local);
    }
    let joined = Starting::new(config, None).and_then(|s| s.join(Role::Driver, false, None));
    match joined {
        Ok(process) => {
            // Set once: a second start was refused above.
            let _ = started.set(process.clone());
            let local = LOCAL.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = local.as_ref().and_then(Local::hopeless) {
                process.with_core(true, |core, fx| core.hopeless(&why, fx));
            }
            Ok(Driver(()))
        }
        Err(e) => {
            drop(LOCAL.lock().unwrap_or_else(PoisonError::into_inner).take());
            Err(e)
        }
    }
}

fn work(config: Config, born: Option<Born>) -> Result<ExitCode> {
    exec::install_panic_hook();
    let (stop, stopped) = mpsc::channel();
    let (child, declared) = (born.is_some(), stop.clone());
    let interrupt = if child { Interrupt::Ignored } else { Interrupt::Drains };
    let _signals = Signals::watch(interrupt, move || {
        // The worker may be leaving already.
        let _ = stop.send(Stop::Drain);
    })
    .map_err(|e| Error::control(format!("signals cannot be watched: {e}")))?;
    let capture = if config.log_to_driver { capture(born.as_ref()) } else { None };
    let grace = config.grace_period;
    let process = Starting::new(config, Some(Role::Worker))?.join(Role::Worker, child, Some(declared))?;
    // It ends without a message only if the signal thread is gone, and then nobody could ask it to stop.
    let why = stopped.recv().unwrap_or(Stop::Drain);
    if why == Stop::Drain {
        drain(&process, grace);
    }
    // The last lines and the last answers go out before the links end.
    if let Some(capture) = capture {
        capture.stop(LAST_LINES);
    }
    if why == Stop::Declared {
        begin_anew(child);
    }
    if let Some(outside) = process.outside() {
        let net = outside.net.clone();
        wait_on(&outside.io, async move { net.stop("it leaves the cluster").await }, Duration::from_secs(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets what runs end, for at most `grace`.
fn drain(process: &Arc<Process>, grace: Duration) {
    let until = Instant::now() + grace;
    // While it is a member: others take over what members leave.
    if let Some((outside, durables)) = process.outside().and_then(|o| Some((o, o.durables()?.clone()))) {
        wait_on(&outside.io, durables.drain(until), grace + GIVE_BACK);
    }
    if let Some(outside) = process.outside() {
        let leaving = process.clone();
        // Owners that have not heard of it are told by their leases.
        wait_on(&outside.io, async move { leaving.leave().await }, grace);
    }
    process.with_core(true, |core, fx| core.drain(fx));
    while Instant::now() < until && !process.with_core(false, |core, _| core.is_drained()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Has what this worker prints brought to the driver whose tasks it runs.
fn capture(born: Option<&Born>) -> Option<Capture> {
    let options = CaptureOptions { given: born.is_some_and(|b| b.captured), tee: born.is_none() };
    let started = Capture::start(options, send_line, exec::functions_now);
    match started {
        Ok(capture) => {
            capture.install_layer();
            Some(capture)
        }
        Err(e) => {
            eprintln!("fdbray: what this worker prints is not shown elsewhere: {e}");
            None
        }
    }
}

fn send_line(line: LogLine) {
    let Some(process) = super::process() else { return };
    let Some(root) = exec::last_root() else { return };
    let functions = line.functions.to_string();
    process.with_core(false, |core, fx| core.log(root, kind_of(line.stream), &functions, &line.text, fx));
}

/// A process that is being started.
struct Starting {
    config: Config,
    process: Arc<Process>,
    io: tokio::runtime::Handle,
}

impl Starting {
    /// Its core and its threads; `executes` when it runs tasks.
    fn new(config: Config, executes: Option<Role>) -> Result<Self> {
        let registry = Registry::collect()?;
        let io = io_thread()?;
        let capacity = executes.map(|_| resources(config.capacity()));
        let cpus =
            capacity.as_ref().map_or(1, |c| usize::try_from(c.cpus.div_ceil(10_000)).unwrap_or(1).max(1));
        let executor = match executes {
            Some(_) => executor(cpus)?,
            None => io.clone(),
        };
        let marks = executes.and_then(|_| Marks::create().ok());
        let me = ProcessId::random();
        let mut core = Core::new(Settings {
            me,
            seed: ProcessId::random().get(),
            capacity,
            max_pending_bytes: config.pending_budget(),
            inline: usize::try_from(config.inline_bytes).unwrap_or(usize::MAX),
            unschedulable_after: nanos(config.unschedulable_after),
            idle_lease: nanos(config.idle_lease),
            locality: config.locality_bytes,
        });
        core.name_functions(registry.names());
        core.tell_roles(registry.roles());
        core.tell_lasting(registry.lasting());
        let pool = Pool::new(cpus, config.max_parked);
        let inline = usize::try_from(config.inline_bytes).unwrap_or(usize::MAX);
        let (shared, shows_output) = (SharedMemory::new(&config), config.log_to_driver);
        let parts = Parts { core, registry, pool, executor, marks, shared, inline, shows_output };
        let process = Arc::new(Process::new(parts));
        process.shared().belongs_to(&process);
        Ok(Starting { config, process, io })
    }

    /// Makes it the runtime of this process, whose calls it serves from now on.
    fn process(&self) -> Result<Arc<Process>> {
        PROCESS
            .set(self.process.clone())
            .map_err(|_| Error::control("the fdbray runtime of this process was started before"))?;
        self.io.spawn(self.process.clone().tick());
        Ok(self.process.clone())
    }

    /// Joins the cluster that the settings name.
    fn join(self, role: Role, child: bool, stop: Option<mpsc::Sender<Stop>>) -> Result<Arc<Process>> {
        let url = self.config.cluster.clone().ok_or_else(|| Error::control("there is no cluster to join"))?;
        let (process, io) = (self.process.clone(), self.io.clone());
        let links = Arc::new(Links::new(process.shared().clone()));
        let build = net::build_id()
            .map_err(|e| Error::control(format!("this program cannot read its own file: {e}")))?;
        let served: Arc<dyn net::Host> = Arc::new(Served::new(&process, links.clone(), build));
        let registry = process.registry();
        let mut options = net::Options::new(url.cluster.clone(), process.me());
        options.role = if role == Role::Worker { net::Role::Worker } else { net::Role::Driver };
        options.build = build;
        options.fingerprint = registry.fingerprint();
        options.listing = registry.listing();
        options.allow_mixed_binaries = self.config.allow_mixed_binaries;
        options.secret = self.config.secret.as_ref().map(|s| net::Secret::new(s.expose().to_owned()));
        options.listen = self.config.listen.clone();
        options.advertise = self.config.advertise.clone();
        options.resume = self.config.session_resume;
        let net = net::Net::start(options, served, io.clone()).map_err(Error::control)?;
        let addresses = net.addresses().to_vec();
        process.set_outside(Outside::new(net, io.clone(), links.clone()));
        let known = links.clone();
        io.spawn(process.shared().clone().tell_unpinned(move |peer| known.get(peer)));
        let store = Store::open(&url).map_err(Error::control)?;
        let (joined_store, cluster) = (store.clone(), url.cluster.clone());
        let member = Member {
            id: process.me(),
            role,
            addresses,
            capacity: if role == Role::Worker { self.config.capacity() } else { Capacity::default() },
            labels: self.config.labels.clone(),
            build_id: build,
            fingerprint: registry.fingerprint(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: Host::current().map_err(|e| Error::control(format!("/proc cannot be read: {e}")))?,
        };
        // Tasks may come as soon as others know this process, and make calls of their own.
        self.process()?;
        let peers = links.clone();
        let joining = async move {
            Membership::join(joined_store, &url.cluster, member, move || peers.peers(), judges(child)).await
        };
        let joined = wait_on(&io, joining, Duration::from_secs(15))
            .ok_or_else(|| Error::control("the control plane did not answer within 15 s"))
            .and_then(|joined| joined.map_err(|error| not_joined(error, role, child)));
        let (members, events) = joined.inspect_err(|_| process.with_core(true, |core, fx| core.end(fx)))?;
        if let Some(outside) = process.outside() {
            let durables = Durables::new(&process, store, &cluster, io.clone());
            outside.joined(members, durables.clone());
            if role == Role::Worker {
                durables.serve(self.config.capacity(), process.registry());
            }
        }
        io.spawn(follow(process.clone(), links, events, stop));
        Ok(process)
    }
}

/// A worker that was declared dead before it knew that it had registered registers again as a new process.
fn not_joined(error: MemberError, role: Role, child: bool) -> Error {
    match &error {
        MemberError::Tombstoned { .. } if role == Role::Worker => {
            tracing::error!("{error}; this worker starts again");
            begin_anew(child)
        }
        _ => Error::control(error),
    }
}

/// The thread on which all I/O happens.
fn io_thread() -> Result<tokio::runtime::Handle> {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::Builder::new().name("fdbray-io".to_owned()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                // The receiver waits for this.
                let _ = send.send(Ok(runtime.handle().clone()));
                runtime.block_on(std::future::pending::<()>());
            }
            Err(e) => {
                let _ = send.send(Err(e));
            }
        }
    });
    let failed = |e: &dyn std::fmt::Display| Error::control(format!("the I/O thread cannot be started: {e}"));
    thread.map_err(|e| failed(&e))?;
    receive.recv().map_err(|e| failed(&e))?.map_err(|e| failed(&e))
}

/// Where async functions run. It lives as long as the process.
fn executor(cpus: usize) -> Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cpus)
        .thread_name("fdbray-async")
        .enable_all()
        .build()
        .map_err(|e| Error::control(format!("the threads for async functions cannot be started: {e}")))?;
    let handle = runtime.handle().clone();
    std::mem::forget(runtime);
    Ok(handle)
}

/// Waits on this thread for something that happens on the I/O thread.
fn wait_on<T: Send + 'static>(
    io: &tokio::runtime::Handle,
    future: impl Future<Output = T> + Send + 'static,
    limit: Duration,
) -> Option<T> {
    let (send, receive) = mpsc::channel();
    io.spawn(async move {
        // Whoever waited may have given up.
        let _ = send.send(future.await);
    });
    receive.recv_timeout(limit).ok()
}

pub(super) fn resources(capacity: Capacity) -> Resources {
    let Capacity { cpus, gpus, memory, mut named } = capacity;
    named.sort();
    Resources { cpus, gpus, memory, named }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}
