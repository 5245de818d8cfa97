//! Distributed futures for Rust.
//!
//! Start at [`remote`], which makes a function callable in other processes, and [`main`], which makes a program the
//! driver of a cluster and its workers alike:
//!
//! ```no_run
//! use fdbray::prelude::*;
//!
//! #[remote]
//! fn add(x: i64, y: i64) -> i64 {
//!     x + y
//! }
//!
//! #[fdbray::main]
//! async fn main() -> fdbray::Result<()> {
//!     let x = add::remote(1, 2); // a future, at once
//!     let y = add::remote(&x, 3); // passed on before its value exists
//!     println!("{}", y.await?);
//!     Ok(())
//! }
//! ```
//!
//! Run as it is, the program starts a private cluster on this machine, whose workers are processes of the same binary.
//! `app --worker --cluster URL` makes it a worker of a shared cluster, and `FDBRAY_CLUSTER=URL app` its driver.
//!
//! | to | use |
//! |---|---|
//! | call | [`RemoteFuture`], `f::remote(..)`, `f::map(..)`, `f::options()`, which is a [`Call`] |
//! | keep state where the work is | [`actor`](macro@actor), [`ActorHandle`] |
//! | wait | `.await`, [`RemoteFuture::wait`], [`wait()`], [`settle`], [`as_completed`] |
//! | share large values | [`put`], [`Blob`], [`Slab`], [`buffer`], [`RemoteFuture::view`] |
//! | have work survive every process | [`Call::durable`], [`RemoteFuture::submitted`], [`RemoteFuture::attach`] |
//! | look at the cluster | [`cluster`] |
//! | handle failures | [`Error`], [`ApplicationError`] |
//! | know where code runs | [`task::current`] |
//! | test | [`test`] |
//! | set things, write `main` by hand | [`Config`] |
//! | leave early | [`shutdown`] |

// So that the attributes' expansions, which name `::fdbray`, work in this crate too.
extern crate self as fdbray;

#[doc(hidden)]
pub mod __private;
mod actor;
mod arg;
#[cfg(feature = "arrow")]
mod batch;
mod blob;
mod buffer;
mod call;
pub mod cluster;
mod encoding;
mod future;
mod lend;
mod object;
mod place;
mod returns;
mod slab;
mod start;
pub mod task;
mod testing;
mod view;
mod wait;

pub use actor::{ActorHandle, Checkpoint};
pub use arg::{Arg, IntoArg};
#[cfg(feature = "arrow")]
pub use batch::Batch;
pub use blob::Blob;
pub use buffer::{BufferMut, buffer};
pub use call::{Call, Submit};
pub use encoding::RemoteValue;
pub use fdbray_worker::{
    config::{ClusterUrl, ConfigError, UrlError},
    error::{ApplicationError, Error, Result},
    id::{ObjectId, ProcessId},
    objects::Stats as StoreStats,
    runtime::Driver,
};
pub use future::{AbortOnDrop, Awaitable, Awaiting, RemoteFuture};
pub use lend::Lends;
pub use object::{put, store_stats};
pub use slab::{CastError, Slab};
pub use view::{InPlace, View};
pub use wait::{AsCompleted, Settle, Wait, as_completed, settle, wait};

/// The settings of a process, and the way in for a `main` that is written by hand.
///
/// [`main`](macro@main) is short for this, where the settings come from the command line and the environment:
///
/// ```no_run
/// use fdbray::{Config, prelude::*};
///
/// #[remote]
/// fn add(x: i64, y: i64) -> i64 {
///     x + y
/// }
///
/// fn main() -> fdbray::Result<()> {
///     // First of all: in a worker `run` serves and exits, and what stands before it runs there too.
///     Config::from_env()?.workers(2).cpus(1.0).run(async || {
///         println!("{}", add::remote(1, 2).await?);
///         Ok(())
///     })?
/// }
/// ```
///
/// [`Config::start`] is for a program with an async runtime of its own, or with none:
///
/// ```no_run
/// # use fdbray::{Config, prelude::*};
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// fn main() -> fdbray::Result<()> {
///     let _driver = Config::new().cluster("lmdb:///var/lib/app?cluster=demo".parse()?).start()?;
///     println!("{}", add::remote(1, 2).wait()?);
///     Ok(())
/// }
/// ```
pub use fdbray_worker::config::Config;

/// Makes a function callable in other processes.
///
/// The function stays as it is, `add(1, 2)`. Beside it the attribute puts a type of the same name, with
///
/// - `add::remote(1, 2)`: submits one call and returns its [`RemoteFuture`];
/// - `add::map(..)`: one call per item (or per tuple of arguments), submitted as one batch
///   (`add::options().concurrency(8).map(..)`: eight at a time);
/// - `add::options()`: a [`Call`], for calls with other options than the function's own.
///
/// ```no_run
/// use fdbray::prelude::*;
/// use serde::{Deserialize, Serialize};
/// # use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// struct Summary {
///     words: usize,
/// }
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Empty;
/// # impl std::fmt::Display for Empty {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("empty") }
/// # }
/// # impl std::error::Error for Empty {}
///
/// /// A function that returns `Result<T, E>` gives a `RemoteFuture<T>`.
/// #[remote(cpus = 2, retries = 5)]
/// async fn parse(text: &str) -> Result<Summary, Empty> {
///     if text.is_empty() { Err(Empty) } else { Ok(Summary { words: text.split_whitespace().count() }) }
/// }
///
/// # async fn f() -> fdbray::Result<()> {
/// match parse::options().retries(0).deadline(Duration::from_secs(5)).remote("some text").await {
///     Ok(summary) => println!("{} words", summary.words),
///     Err(Error::Application(e)) if e.is::<Empty>() => println!("nothing in it"),
///     Err(e) => return Err(e),
/// }
/// # Ok(()) }
/// ```
///
/// # Functions
/// Sync functions run on a pool of threads, `async` ones on tokio. Parameters and results are types that are
/// `Serialize + DeserializeOwned`; a whole parameter may be borrowed (`&T`, `&str`, `&[T]`), where `&str`, `&[u8]` and the
/// `&[T]` of a [`Slab`] are read in place; a parameter that is a `RemoteFuture<T>` receives the future itself. See [`IntoArg`] for what callers may pass. The error of a `Result` is
/// a `std::error::Error` (or a `String`, an `anyhow::Error`); it downcasts at the caller when it is serializable.
/// Generic functions, methods, `&mut` parameters, `impl Trait` and `unsafe` are refused.
///
/// In documentation link the function as `` [`add()`] ``, since `add` alone is also the type.
///
/// # Options
/// | option | means | default |
/// |---|---|---|
/// | `cpus = 0.5` | CPUs that one attempt holds | 1 |
/// | `gpus = 1` | GPUs that one attempt holds | 0 |
/// | `memory = "2GiB"` or bytes | memory that one attempt holds | 0 |
/// | `resources(tpu = 1)` | named resources that one attempt holds | none |
/// | `retries = 5` | attempts after the first when a worker dies | 3 |
/// | `retry_errors = 2` | attempts after one that returned an error or panicked | 0 |
/// | `logs = false` | whether what it prints and logs is shown in the driver's terminal | `true` |
/// | `name = "add-v2"` | its stable name between processes | its path |
/// | `stub = add_remote` | the name of the type, where a module or type has the function's | the function's |
///
/// # Libraries
/// A library may have remote functions. They are linked in only when the binary names the library: write
/// `use my_library as _;` where nothing else does.
pub use fdbray_macros::remote;

/// Makes a type an actor: a value that lives in a worker and is called from wherever a handle of it is.
///
/// It goes on an impl block. The type stays what it is, and is tested without a cluster. Beside the block the attribute
/// puts
///
/// - `Counter::remote(..)`: creates an actor with `Counter::new` and returns its handle at once. Each public function that
///   returns `Self` or `Result<Self, E>` is a constructor: `Counter::remote_open(..)` calls `Counter::open`;
/// - `CounterHandle`: with a method for each public one with `&self` or `&mut self`, which gives a [`RemoteFuture`], and
///   those of [`ActorHandle`]. It can be cloned, stored, and passed to tasks and other actors inside any value;
/// - `Counter::options()`: `CounterOptions`, for creating actors with other options than the constructor's own.
///
/// All other functions stay local: private ones, those that take `self` by value, and those that return something else.
///
/// ```no_run
/// use fdbray::prelude::*;
///
/// struct Counter {
///     n: i64,
/// }
///
/// #[actor]
/// impl Counter {
///     pub fn new(n: i64) -> Self {
///         Counter { n }
///     }
///
///     pub fn add(&mut self, k: i64) -> i64 {
///         self.n += k;
///         self.n
///     }
///
///     pub fn get(&self) -> i64 {
///         self.n
///     }
///
///     #[actor(retries = 2)]
///     pub async fn save(&mut self, path: &str) -> std::io::Result<()> {
///         std::fs::write(path, self.n.to_string())
///     }
/// }
///
/// # #[remote] fn draw() -> i64 { 3 }
/// # async fn f() -> fdbray::Result<()> {
/// let counter = Counter::remote(0); // a handle, at once
/// let sum = counter.add(draw::remote()); // a future; arguments are as of `#[remote]`
/// counter.add(5);
/// assert_eq!(counter.get().await?, 8); // after both, in the order made
/// assert_eq!(sum.await?, 3);
///
/// let other = Counter::options().cpus(1).max_restarts(3).remote(0);
/// other.save("/tmp/other").await?;
/// other.stop().await?;
/// # Ok(()) }
/// ```
///
/// # Order
/// The calls of one caller (a task, another actor's method, or the main program) run in the order made, also where an
/// argument is a future that is not ready: the calls behind it wait. One whose argument has failed ends with that error,
/// and the next one runs. Calls of several callers run in the order in which they arrive.
///
/// # What runs beside what
/// A method that takes `&mut self` runs alone, across its awaits too. Those that take `&self` run beside each other, up to
/// 256 calls of each or as many as `concurrency` says. Who came first runs first, whichever it is, so that neither kind keeps
/// the other waiting for ever. Sync methods run on a pool of threads, `async` ones on tokio.
///
/// The type has to be `Send`, and `Sync` only if it has `&self` methods. A method must not wait for a call of its own actor
/// where either takes `&mut self`: that call could not begin before this one has ended. A `&mut self` method that awaits one
/// gets [`Error::Control`] instead; cycles by way of other actors or tasks are not found.
///
/// # Life
/// An actor ends when no handle of it is left in any process, in no value and no other actor; calls that were made by then
/// still run. [`stop`](ActorHandle::stop) ends it after the calls made so far, [`kill`](ActorHandle::kill) at once. At its end
/// the state is dropped. Later calls end with [`Error::ActorEnded`]. It does not outlive the process that created it, unless the
/// [cluster](#actors-of-the-cluster) owns it.
///
/// It holds what its options say as long as it lives; its methods hold nothing of their own. By default that is no CPU, so
/// that thousands share a worker.
///
/// # Names
/// `options().name("total")` gives an actor a name in the cluster, which it has until it ends, or the process that created it
/// does. [`CounterHandle::named("total")`](ActorHandle::named) finds it from any process; such a handle counts like any other.
/// One actor has a name at a time, whoever asks: the creation of a second one fails with [`Error::NameTaken`], and
/// `get_or_create` gives the one that is there, or makes it:
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # struct Counter(i64);
/// # #[actor]
/// # impl Counter {
/// #     pub fn new(start: i64) -> Self { Counter(start) }
/// #     pub fn add(&mut self, k: i64) -> i64 { self.0 += k; self.0 }
/// # }
/// # async fn f() -> fdbray::Result<()> {
/// let total = Counter::options().name("total").detached().max_restarts(100).get_or_create(0).await?;
/// total.add(5).await?;
/// for actor in fdbray::cluster::actors().await? {
///     println!("{} is a {}", actor.name, actor.type_name);
/// }
/// # Ok(()) }
/// ```
///
/// A name that belongs to an actor of another type is [`Error::OtherActor`].
///
/// # Actors of the cluster
/// `options().detached()` makes one that the cluster owns: it lives until it is stopped or killed, whoever has handles of it, and
/// outlives the process that created it. When its worker dies, another one makes it again, as often as `max_restarts`
/// allows; when that leaves in order it moves, which does not count. Creating one costs transactions of the control plane, calling it
/// does not. [`stop`](ActorHandle::stop) is answered by its worker, a moment before the control plane has noted its end: should that
/// worker die in that moment, the actor is made again if it may be. Its handles may go into durable calls, and the arguments of its constructor are kept in the control plane, as those of
/// durable calls are.
///
/// # Failure
/// - A constructor that returns an error or panics: every call, and [`ready`](ActorHandle::ready), ends with that.
/// - A method that returns an error: its call has it, the actor goes on. So it does when one with `&self` panics.
/// - One with `&mut self` that panics may leave anything behind: the actor has ended, or with `max_restarts` is made again.
/// - Its worker dies: the same. Calls that may have started (of a worker that ends without a word, all that were sent to it) end
///   with [`Error::WorkerDied`], unless their method has `retries`; the others run in the actor that is made again, in order. That comes from the same constructor with the same
///   arguments, without what has happened since; unless it has checkpoints.
///
/// # Checkpoints
/// A type that implements [`Checkpoint`] can be made again as it was. On its impl block,
///
/// | | a checkpoint is taken | answers |
/// |---|---|---|
/// | `#[actor(checkpoint)]` | when calls have changed the state | wait for it |
/// | `#[actor(checkpoint = 100)]` | when 100 calls have, or none waits any more | wait for it |
/// | `#[actor(checkpoint = "on_demand")]` | by [`handle.checkpoint()`](ActorHandle::checkpoint) | do not wait |
///
/// The process that created the actor keeps the last one: the actor ends with that process anyway. That of a `detached` one is kept
/// in the control plane. Give it a `max_restarts`.
///
/// Where answers wait, what a call does to the state is done **exactly once**, whatever dies meanwhile but who keeps its checkpoints: no call
/// is answered before a checkpoint that has its effect is kept, together with what it was answered; a call that was not answered
/// is sent again by its caller, whatever `retries` says, to the actor that is made again, and is answered without running if
/// it has run. Effects on anything else (files, other actors, what is printed) may happen twice. One checkpoint is on its way at a
/// time, and all calls that have ended by the time of the next share that: many callers cost few checkpoints.
///
/// - Calls with `&self` leave nothing behind, and are simply made again. What they read of changes that are not kept yet waits,
///   too.
/// - When a method with `&mut self` panics, its call has that error and no effect. What was not kept before is run again.
/// - When `save` gives an error or panics, or the state is too large, the calls that it should have covered end with
///   [`Error::Checkpoint`] and have had no effect: the actor is made again from the last checkpoint, which spends one of
///   `max_restarts`. When `restore` does, it has ended.
/// - The answers of `&mut self` methods cannot hold futures or handles of actors; those of `&self` ones can. State and the
///   answers that callers may not have yet come to at most 12 MiB.
/// - [`stop`](ActorHandle::stop) waits until all is kept, so that everything is answered. An `async` method with `&mut self`
///   begins once what came before it is saved: it may wait for what follows from an earlier answer. A sync one must not.
///
/// # Options
/// | on a constructor | means | default |
/// |---|---|---|
/// | `cpus = 0.5` | CPUs that the actor holds | 0 |
/// | `gpus`, `memory`, `resources(..)` | as of [`remote`](macro@remote), held by the actor | none |
/// | `max_restarts = 3` | how often it is made again after it was lost | 0 |
/// | `retries = 5` | attempts of the constructor after the first when its worker dies | 3 |
/// | `retry_errors = 2` | those after one that returned an error or panicked | 0 |
///
/// | on a method | means | default |
/// |---|---|---|
/// | `concurrency = 8` | calls of it that run at once, of a `&self` method | 256 |
/// | `retries = 2` | attempts after the first when the worker dies: it may run twice | 0 |
/// | `retry_errors = 2` | attempts after one that returned an error or panicked | 0 |
///
/// | on both | means | default |
/// |---|---|---|
/// | `name = "counter.add-v2"` | its stable name between processes | the type's path and its name |
/// | `logs = false` | whether what it prints and logs is shown in the driver's terminal | `true` |
///
/// On the block: `#[actor(pub(crate))]` is the visibility of handle and options, by default that of the widest constructor;
/// and `checkpoint`, as above: `#[actor(pub(crate), checkpoint)]`.
///
/// Signatures are as of [`remote`](macro@remote): borrowed parameters, results and errors are the same, and generics,
/// `impl Trait` and borrowed results are refused; so are generic types and blocks of a trait.
pub use fdbray_macros::actor;

/// Makes an `async fn main()` the driver of a cluster, and the same program its workers.
///
/// The body runs in a driver only, on the main thread inside a tokio runtime, and need not be `Send`. It may return
/// whatever a `main` may. A process that was started with `--worker` serves its cluster instead and never enters it.
/// When the body returns, what is still pending is abandoned, futures that nobody holds included: await what has to be
/// done. Async functions are dropped where they wait; a sync one that runs is given a second, then its worker is killed.
/// What the body returned decides the program's exit code.
///
/// The cluster is the one of the command line (`--cluster URL`), else of the variable `FDBRAY_CLUSTER`, else of the
/// attribute; with none of them a private cluster starts with the program and goes with it.
///
/// ```no_run
/// #[fdbray::main(cluster = "lmdb:///var/lib/app?cluster=demo")]
/// async fn main() -> fdbray::Result<()> {
///     Ok(())
/// }
/// ```
pub use fdbray_macros::main;

/// Makes an `async fn` a test that runs in a process of its own, with a private cluster of its own.
///
/// The test binary runs itself again for each such test, with that one test and the variable `FDBRAY_TEST`, in which it
/// never does so again. Failures, panics and output reach the test harness; `#[ignore]`, `#[should_panic]` and tests
/// that return a `Result` work. A test that takes longer than five minutes is killed and fails.
///
/// | option | means | default |
/// |---|---|---|
/// | `workers = 2` | worker processes | 1 |
/// | `cpus = 4` | CPUs of each | as many as the machine has |
///
/// ```
/// # use fdbray::prelude::*;
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// #[fdbray::test(workers = 2)]
/// async fn adds() -> fdbray::Result<()> {
///     assert_eq!(add::remote(1, 2).await?, 3);
///     Ok(())
/// }
/// ```
pub use fdbray_macros::test;

/// Leaves the cluster in order: pending futures of this process end with [`Error::Shutdown`], and so does every call
/// after this. A driver's private cluster goes with it. Returning from [`main`] does the same.
///
/// # Errors
/// [`Error::Control`] when the cluster could not be told; it then notices by itself.
pub async fn shutdown() -> Result<()> {
    fdbray_worker::runtime::shutdown().await
}

/// What almost every program uses: `use fdbray::prelude::*;`. Deliberately without `Result`, `main`, `put` and `wait`.
pub mod prelude {
    pub use crate::{ActorHandle, Blob, Error, RemoteFuture, Slab, actor, remote};
}
