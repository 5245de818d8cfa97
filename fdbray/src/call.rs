//! A remote function together with options for its calls.

use crate::{IntoArg, RemoteFuture, encoding::Described};
use fdbray_worker::{
    core::Gate,
    exec::Argument,
    handle::Handle,
    options::{Durable, Options},
    registry::Function,
    runtime::{self, durable::DurableCall},
    template::Template,
};
use std::{
    any::type_name,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

/// A remote function together with options for its calls: `add::options()` is a `Call<fn(i64, i64) -> i64>`.
///
/// What is set here takes the place of what the attribute says. It can be named, stored, cloned and called any number of
/// times.
///
/// ```no_run
/// # use fdbray::{Call, prelude::*};
/// # use std::time::Duration;
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// let patient: Call<fn(i64, i64) -> i64> = add::options().cpus(0.5).retries(10).deadline(Duration::from_secs(60));
/// let (x, y) = (patient.remote(1, 2), patient.remote(3, 4));
/// ```
#[must_use = "options do nothing until `.remote(..)` is called"]
pub struct Call<S> {
    function: &'static Function,
    /// `None` where all is as the attribute says.
    options: Option<Box<Options>>,
    /// Shared with clones.
    gate: Option<Gate>,
    /// Resolved from `options` by the first call.
    template: OnceLock<Template>,
    signature: PhantomData<fn() -> S>,
}

impl<S> Call<S> {
    pub(crate) fn new(function: &'static Function) -> Self {
        Call { function, options: None, gate: None, template: OnceLock::new(), signature: PhantomData }
    }

    /// CPUs that one attempt holds; fractions allowed, 0 for work that only waits. Default 1.
    pub fn cpus(self, n: impl Into<f64>) -> Self {
        let n = n.into();
        self.set(|options| options.cpus = Some(n))
    }

    /// GPUs that one attempt holds; fractions allowed. Default 0.
    pub fn gpus(self, n: impl Into<f64>) -> Self {
        let n = n.into();
        self.set(|options| options.gpus = Some(n))
    }

    /// Bytes of memory that one attempt holds. Default 0.
    pub fn memory(self, bytes: u64) -> Self {
        self.set(|options| options.memory = Some(bytes))
    }

    /// An amount of a named resource that one attempt holds. Those that the attribute names hold unless one is set here.
    pub fn resource(self, name: impl Into<String>, n: impl Into<f64>) -> Self {
        let (name, n) = (name.into(), n.into());
        self.set(|options| {
            options.resources.retain(|(other, _)| *other != name);
            options.resources.push((name, n));
        })
    }

    /// Attempts after the first when a worker dies; with 0 the call never starts twice. Default 3.
    pub fn retries(self, n: u32) -> Self {
        self.set(|options| options.retries = Some(n))
    }

    /// Attempts after one that returned an error or panicked, with back-off. Default 0.
    pub fn retry_errors(self, n: u32) -> Self {
        self.set(|options| options.retry_errors = Some(n))
    }

    /// How long a call may take from its submission; then it ends with
    /// [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded).
    pub fn deadline(self, limit: Duration) -> Self {
        self.set(|options| options.deadline = Some(limit))
    }

    /// Whether what the function prints and logs is shown in the driver's terminal. Default true.
    pub fn logs(self, on: bool) -> Self {
        self.set(|options| options.logs = Some(on))
    }

    /// The cluster owns the future, rather than this process: once [submitted](RemoteFuture::submitted) the work is done
    /// and the value kept whatever becomes of the processes. It costs a few transactions of the control plane.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// #[remote]
    /// fn render(frame: u32) -> String {
    ///     format!("frame {frame}")
    /// }
    ///
    /// # async fn f() -> fdbray::Result<()> {
    /// let job = render::options().durable().remote(7);
    /// job.submitted().await?;
    /// println!("{} will be done", job.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn durable(self) -> Self {
        self.with_durable(|_| {})
    }

    /// The same, under a key: where that has a future already, of the same function and arguments, this is that one, so
    /// that submitting twice does the work once. With another function or other arguments the future fails with
    /// [`Error::Control`](crate::Error::Control).
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # #[remote]
    /// # fn bill(customer: u32) -> u64 { 0 }
    /// # async fn f() -> fdbray::Result<()> {
    /// let total = bill::options().durable_as("invoice-2026-11").remote(7).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn durable_as(self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.with_durable(|durable| durable.key = Some(key))
    }

    /// Among durable calls that wait for a worker the one with the higher number runs first. Default 0. Makes the call
    /// [durable](Self::durable).
    pub fn priority(self, n: i32) -> Self {
        self.with_durable(|durable| durable.priority = n)
    }

    /// The whole value is kept in the control plane, up to 64 MiB, rather than by the worker that computed it; so it
    /// survives that. Values of up to 64 KiB always are. Makes the call [durable](Self::durable).
    pub fn durable_value(self) -> Self {
        self.with_durable(|durable| durable.value = true)
    }

    /// How long the value is kept after the end of a durable call, unless it is [released](RemoteFuture::release)
    /// before. Default seven days; `Duration::ZERO` for ever. Makes the call [durable](Self::durable).
    pub fn retention(self, limit: Duration) -> Self {
        self.with_durable(|durable| durable.retention = Some(limit))
    }

    fn with_durable(self, set: impl FnOnce(&mut Durable)) -> Self {
        let said = self.template().options().durable.clone();
        self.set(|options| {
            let mut durable = options.durable.take().or(said).unwrap_or_default();
            set(&mut durable);
            options.durable = Some(durable);
        })
    }

    /// While it lives, arguments are encoded as these calls want them.
    fn encoding(&self) -> Described {
        Described::set(self.template().is_durable())
    }

    /// At most so many calls made through this `Call` and its clones are under way at once, but at least one. The others
    /// wait in this process until one of those has ended, in the order in which their arguments came. Default: as many
    /// as the cluster has room for.
    ///
    /// For what bears only so much, wherever it runs: a database, an API with a quota, the memory that results take. A
    /// call that is under way must not wait for one that is not. Without effect on durable calls.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # #[remote] fn fetch(url: String) -> usize { url.len() }
    /// # async fn f(urls: Vec<String>) -> fdbray::Result<()> {
    /// let lengths = fetch::options().concurrency(8).map(urls); // all at once, returns at once; 8 run at a time
    /// for length in fdbray::settle(lengths).await {
    ///     println!("{}", length?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn concurrency(mut self, n: usize) -> Self {
        self.gate = Some(Gate::new(n));
        self.template = OnceLock::new();
        self
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(self.options.get_or_insert_default());
        self.template = OnceLock::new();
        self
    }

    fn template(&self) -> &Template {
        if self.options.is_none() && self.gate.is_none() {
            return Template::plain(self.function);
        }
        self.template.get_or_init(|| {
            let options = self.options.as_deref().cloned().unwrap_or_default();
            Template::new(self.function, options, self.gate)
        })
    }
}

impl<S> Clone for Call<S> {
    fn clone(&self) -> Self {
        Call {
            function: self.function,
            options: self.options.clone(),
            gate: self.gate,
            template: self.template.clone(),
            signature: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Call<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = (self.function.name)();
        let mut said = f.debug_struct("Call");
        said.field("function", &name).field("options", self.template().options());
        if let Some(gate) = self.gate {
            said.field("concurrency", &gate.limit());
        }
        said.finish()
    }
}

/// Calls with some number of arguments: `arity!(1 a: A X, 2 b: B Y)` for two.
macro_rules! arity {
    ($($number:literal $name:ident: $T:ident $X:ident),*) => {
        #[allow(clippy::too_many_arguments)]
        impl<$($T: ?Sized,)* R> Call<fn($($T),*) -> R> {
            /// Submits one call and returns its future; never blocks.
            ///
            /// Each argument is a value, a future of one, or a reference to either: see [`IntoArg`]. When this process
            /// holds too many pending calls already, the future has ended with
            /// [`Error::Overloaded`](crate::Error::Overloaded); [`submit`](Self::submit) waits instead.
            pub fn remote(&self, $($name: impl IntoArg<$T>),*) -> RemoteFuture<R> {
                let _encoding = self.encoding();
                let arguments: [Argument; _] = [$($name.into_arg().at($number, self.function)),*];
                self.future(self.make::<R, _>(arguments))
            }

            /// Waits until this process has room for one more pending call, then submits it.
            ///
            /// ```no_run
            /// # use fdbray::prelude::*;
            /// # #[remote] fn square(x: u64) -> u64 { x * x }
            /// # async fn f() -> fdbray::Result<()> {
            /// let square = square::options();
            /// for n in 0..1_000_000_000 {
            ///     let future = square.submit(n).await; // at the pace of the workers, in bounded memory
            /// }
            /// # Ok(()) }
            /// ```
            pub fn submit(&self, $($name: impl IntoArg<$T>),*) -> Submit<R> {
                let _encoding = self.encoding();
                let arguments: [Argument; _] = [$($name.into_arg().at($number, self.function)),*];
                match self.template().is_durable() {
                    // What the cluster owns needs no room here.
                    true => Submit::made(self.function, self.make::<R, _>(arguments)),
                    false => Submit::new(self.function, self.template().clone(), arguments),
                }
            }
        }
    };
}

/// `map` over tuples of arguments.
macro_rules! map {
    ($($number:literal $name:ident: $T:ident $X:ident),*) => {
        impl<$($T: ?Sized,)* R> Call<fn($($T),*) -> R> {
            /// Submits one call per tuple of arguments as one batch.
            #[allow(clippy::type_complexity)]
            pub fn map<$($X: IntoArg<$T>),*>(
                &self,
                calls: impl IntoIterator<Item = ($($X,)*)>,
            ) -> Vec<RemoteFuture<R>> {
                self.futures(calls.into_iter().map(|($($name,)*)| {
                    [$($name.into_arg().at($number, self.function)),*]
                }))
            }
        }
    };
}

impl<A: ?Sized, R> Call<fn(A) -> R> {
    /// Submits one call per item as one batch.
    pub fn map<X: IntoArg<A>>(&self, calls: impl IntoIterator<Item = X>) -> Vec<RemoteFuture<R>> {
        self.futures(calls.into_iter().map(|a| [a.into_arg().at(1, self.function)]))
    }
}

arity!();
arity!(1 a: A X1);
/// Both macros for two arguments and more, up to all that are given.
macro_rules! arities {
    ([$($done:tt)*]) => {};
    ([$($done:tt)*] $number:literal $name:ident: $T:ident $X:ident $(, $($rest:tt)*)?) => {
        arity!($($done)* $number $name: $T $X);
        map!($($done)* $number $name: $T $X);
        arities!([$($done)* $number $name: $T $X,] $($($rest)*)?);
    };
}
arities!([1 a: A X1,] 2 b: B X2, 3 c: C X3, 4 d: D X4, 5 e: E X5, 6 f: F X6, 7 g: G X7, 8 h: H X8,
    9 i: I X9, 10 j: J X10, 11 k: K X11, 12 l: L X12);

impl<S> Call<S> {
    fn future<R>(&self, handle: Handle) -> RemoteFuture<R> {
        RemoteFuture::new(handle, Some(self.function))
    }

    fn make<R, const N: usize>(&self, arguments: [Argument; N]) -> Handle {
        if self.template().is_durable() {
            runtime::durable::submit(self.durable_call::<R>(), arguments)
        } else {
            runtime::submit(self.template(), arguments)
        }
    }

    fn durable_call<R>(&self) -> DurableCall<'_> {
        DurableCall { template: self.template(), returns: type_name::<R>() }
    }

    fn futures<R, const N: usize>(&self, calls: impl Iterator<Item = [Argument; N]>) -> Vec<RemoteFuture<R>> {
        let handles = if self.template().is_durable() {
            let _encoding = self.encoding();
            runtime::durable::submit_all(self.durable_call::<R>(), calls)
        } else {
            runtime::submit_all(self.template(), calls)
        };
        handles.into_iter().map(|handle| self.future(handle)).collect()
    }
}

/// Waits for room, then submits. Made by `submit` of [`Call`].
#[must_use = "nothing is submitted until it is awaited"]
pub struct Submit<R> {
    function: &'static Function,
    handle: Pin<Box<dyn Future<Output = Handle> + Send>>,
    of: PhantomData<fn() -> R>,
}

impl<R> Submit<R> {
    fn made(function: &'static Function, handle: Handle) -> Self {
        Submit { function, handle: Box::pin(std::future::ready(handle)), of: PhantomData }
    }

    fn new<const N: usize>(
        function: &'static Function,
        template: Template,
        arguments: [Argument; N],
    ) -> Self {
        let handle = Box::pin(async move { runtime::submit_when_room(&template, arguments).await });
        Submit { function, handle, of: PhantomData }
    }
}

impl<R> Future for Submit<R> {
    type Output = RemoteFuture<R>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RemoteFuture<R>> {
        self.handle.as_mut().poll(cx).map(|handle| RemoteFuture::new(handle, Some(self.function)))
    }
}

impl<R> fmt::Debug for Submit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submit({})", (self.function.name)())
    }
}
