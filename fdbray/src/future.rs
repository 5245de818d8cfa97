//! The value that a call will have.

use crate::{
    Error, Result,
    encoding::{adopt, collect, decode},
};
use fdbray_worker::{
    exec::Source, handle::Handle, id::ObjectId, payload::Payload, registry::Function, runtime::durable,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned, ser};
use std::{
    any::type_name,
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

/// The value that a call will have, or that [`put`](crate::put) keeps.
///
/// Await it (under any async runtime), await it by reference to keep it, block on it with [`wait`](Self::wait), or pass
/// it to other calls, before its value exists. It can be cloned, stored in structs and passed or returned inside them;
/// there it travels as a handle, while a parameter of type `T` receives the value of a `RemoteFuture<T>`.
///
/// Dropping the last handle lets its owner free the value. It does not cancel the call: see [`cancel`](Self::cancel)
/// and [`abort_on_drop`](Self::abort_on_drop).
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// # async fn f() -> fdbray::Result<()> {
/// let x = add::remote(1, 2);
/// let y = add::remote(&x, 3); // takes the value that `x` will have
/// assert_eq!((&x).await?, 3); // by reference: `x` can be awaited again
/// assert_eq!(y.await?, 6);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Awaiting gives the [`Error`] that ended the call. It ends always: with a value, an error, or cancelled.
///
/// # Serialization
/// Only fdbray's own encoding keeps the object alive on its way, so any other serializer is refused with an error.
pub struct RemoteFuture<T> {
    handle: Handle,
    /// The function that was called, when it was called here; for messages.
    function: Option<&'static Function>,
    of: PhantomData<fn() -> T>,
}

impl<T> RemoteFuture<T> {
    pub(crate) fn new(handle: Handle, function: Option<&'static Function>) -> Self {
        RemoteFuture { handle, function, of: PhantomData }
    }

    /// The object's id, the same in every process. It displays, and parses from that. For a durable call with a key it
    /// is certain once [`submitted`](Self::submitted) has returned.
    pub fn id(&self) -> ObjectId {
        if self.handle.id().is_durable() { durable::real_id(self.handle.id()) } else { self.handle.id() }
    }

    /// Waits until the cluster has a [durable](crate::Call::durable) call: from then on it survives this process.
    ///
    /// # Errors
    /// [`Error::Control`] when the call was refused, when the control plane has not answered for 30 s, or when this future
    /// is not a durable one.
    pub async fn submitted(&self) -> Result<()> {
        durable::submitted(&self.handle).await
    }

    /// Ends the retention of a durable future: its value is removed once nothing in the cluster needs it any more.
    ///
    /// # Errors
    /// As [`submitted`](Self::submitted).
    pub async fn release(&self) -> Result<()> {
        durable::release(&self.handle).await
    }

    /// The durable future with this id (as text) or key, from any process of the cluster.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # async fn f() -> fdbray::Result<()> {
    /// let total = RemoteFuture::<u64>::attach("invoice-2026-11").await?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Control`] when there is none, when its value is not a `T`, or when the control plane has not answered for
    /// 30 s.
    pub async fn attach(id_or_key: impl AsRef<str>) -> Result<Self> {
        let handle = durable::attach(id_or_key.as_ref(), type_name::<T>()).await?;
        Ok(RemoteFuture::new(handle, None))
    }

    /// Whether the call has ended, in whatever way.
    pub fn is_settled(&self) -> bool {
        self.handle.is_settled()
    }

    /// Cancels the call: it ends with [`Error::Cancelled`] for everyone who awaits it, unless it has ended already.
    ///
    /// A call that has not started never will. An async function is dropped where it awaits; a sync one runs to its
    /// end, unseen.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// The same future, whose call is cancelled when it is dropped.
    #[must_use = "dropping it cancels the call"]
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop(self)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The value does not decode, because of `why`.
    pub(crate) fn undecodable(&self, why: String) -> Error {
        let what = match self.function {
            Some(function) => format!("the result of `{}`", (function.name)()),
            None => format!("the value of future {}", self.id()),
        };
        Error::decode(what, why)
    }
}

impl<T: DeserializeOwned> RemoteFuture<T> {
    /// Blocks this thread until the call has ended. Inside a sync remote function the worker runs other tasks meanwhile.
    ///
    /// In async code await the future instead, since this would block the async runtime's thread.
    ///
    /// # Errors
    /// The error that ended the call.
    pub fn wait(&self) -> Result<T> {
        self.decode(&self.handle.wait()?)
    }

    /// Blocks this thread until the call has ended, for at most `limit`; `None` when it has not by then. It goes on, and
    /// can be waited for again.
    ///
    /// Inside a sync remote function the worker runs other tasks meanwhile, and this returns when the task has its slot
    /// again. In async code use a timeout of the async runtime on `&future`, such as `tokio::time::timeout`.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # use std::time::Duration;
    /// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
    /// # fn f() -> fdbray::Result<()> {
    /// let sum = add::remote(1, 2);
    /// let value = loop {
    ///     match sum.wait_timeout(Duration::from_secs(1))? {
    ///         Some(value) => break value,
    ///         None => println!("still adding"),
    ///     }
    /// };
    /// # assert_eq!(value, 3); Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The error that ended the call.
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<T>> {
        self.handle.wait_timeout(limit)?.map(|payload| self.decode(&payload)).transpose()
    }

    pub(crate) fn poll_ref(&self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let payload = ready!(self.handle.poll(cx))?;
        Poll::Ready(self.decode(&payload))
    }

    fn decode(&self, payload: &Payload) -> Result<T> {
        decode(payload, || Source::Object(self.handle.clone())).map_err(|why| self.undecodable(why))
    }
}

impl<T> Clone for RemoteFuture<T> {
    fn clone(&self) -> Self {
        RemoteFuture::new(self.handle.clone(), self.function)
    }
}

impl<T> fmt::Debug for RemoteFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_settled() { "settled" } else { "pending" };
        match self.function {
            Some(function) => write!(f, "RemoteFuture({} of {}, {state})", self.id(), (function.name)()),
            None => write!(f, "RemoteFuture({}, {state})", self.id()),
        }
    }
}

impl<T: DeserializeOwned> Future for RemoteFuture<T> {
    type Output = Result<T>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.poll_ref(cx)
    }
}

impl<'a, T: DeserializeOwned> IntoFuture for &'a RemoteFuture<T> {
    type Output = Result<T>;
    type IntoFuture = Awaiting<'a, T>;
    fn into_future(self) -> Awaiting<'a, T> {
        Awaiting(self)
    }
}

/// Awaits a [`RemoteFuture`] by reference.
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Awaiting<'a, T>(&'a RemoteFuture<T>);

impl<T: DeserializeOwned> Future for Awaiting<'_, T> {
    type Output = Result<T>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.0.poll_ref(cx)
    }
}

/// A [`RemoteFuture`] whose call is cancelled when this is dropped. Made by [`RemoteFuture::abort_on_drop`].
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct AbortOnDrop<T>(RemoteFuture<T>);

impl<T> Deref for AbortOnDrop<T> {
    type Target = RemoteFuture<T>;
    fn deref(&self) -> &RemoteFuture<T> {
        &self.0
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl<T: DeserializeOwned> Future for AbortOnDrop<T> {
    type Output = Result<T>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.0.poll_ref(cx)
    }
}

impl<T> Serialize for RemoteFuture<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let refused = if serializer.is_human_readable() {
            Err(
                "a RemoteFuture can only be serialized inside an argument, a result or a put of fdbray; to keep a durable \
                 one elsewhere, store its id",
            )
        } else {
            collect(&self.handle)
        };
        refused.map_err(ser::Error::custom)?;
        self.handle.id().serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RemoteFuture<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom("a RemoteFuture can only be deserialized by fdbray");
        if deserializer.is_human_readable() {
            return Err(refused());
        }
        let handle = adopt(ObjectId::deserialize(deserializer)?).ok_or_else(refused)?;
        Ok(RemoteFuture::new(handle, None))
    }
}

/// A `RemoteFuture<T>` or a reference to one: what [`wait`](crate::wait), [`settle`](crate::settle) and
/// [`as_completed`](crate::as_completed) take.
pub trait Awaitable: sealed::Sealed + Unpin {
    /// The future's `T`.
    type Value;
    #[doc(hidden)]
    fn future(&self) -> &RemoteFuture<Self::Value>;
}

impl<T> Awaitable for RemoteFuture<T> {
    type Value = T;
    fn future(&self) -> &RemoteFuture<T> {
        self
    }
}

impl<T> Awaitable for &RemoteFuture<T> {
    type Value = T;
    fn future(&self) -> &RemoteFuture<T> {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for super::RemoteFuture<T> {}
    impl<T> Sealed for &super::RemoteFuture<T> {}
}
