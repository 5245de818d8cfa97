//! Where calls run: beside a value, or in a member of the cluster.

use crate::{Call, ProcessId, RemoteFuture};
use fdbray_worker::options::{At, Place};

impl<S> Call<S> {
    /// Runs rather in the process that has the value of `future`, so that the value need not travel: left to that process
    /// for two of the cluster's seconds, then run by whoever has room. A future that has not ended when the call can run
    /// says nothing.
    ///
    /// For durable calls so far; others end with [`Error::Control`](crate::Error::Control). The last one of `near`,
    /// `with`, `prefer` and `on` holds.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # #[remote] fn load(day: u32) -> Vec<u8> { vec![] }
    /// # #[remote] fn index(data: Vec<u8>) -> u64 { 0 }
    /// # async fn f() -> fdbray::Result<()> {
    /// let data = load::options().durable().remote(7);
    /// let size = index::options().durable().near(&data).remote(&data);
    /// # Ok(())
    /// # }
    /// ```
    pub fn near<T>(self, future: &RemoteFuture<T>) -> Self {
        self.placed(At::Value(future.handle().clone()), false)
    }

    /// Runs in the process that has the value of `future`, and nowhere else: waits for that value, fails with it, and
    /// waits again should it be lost and computed again elsewhere. For what that process keeps besides: a cache, a file.
    ///
    /// A value that is wholly in the store is near to everybody once the process that computed it is gone. Otherwise as
    /// [`near`](Self::near).
    pub fn with<T>(self, future: &RemoteFuture<T>) -> Self {
        self.placed(At::Value(future.handle().clone()), true)
    }

    /// Runs rather in this [member](crate::cluster::members) of the cluster: left to it for two of the cluster's seconds,
    /// then run by whoever has room. Otherwise as [`near`](Self::near).
    pub fn prefer(self, member: ProcessId) -> Self {
        self.placed(At::Process(member), false)
    }

    /// Runs in this [member](crate::cluster::members) of the cluster and nowhere else; when that is gone, or executes
    /// nothing, the call ends with [`Error::Unschedulable`](crate::Error::Unschedulable), since no process comes back
    /// under its id. One that lacks what the call needs is waited for, and [listed](crate::cluster::unschedulable).
    /// Otherwise as [`near`](Self::near).
    ///
    /// For one of several workers, give them a resource: `--resource scratch=100` and `.resource("scratch", 1)`.
    ///
    /// ```no_run
    /// # use fdbray::{cluster, prelude::*};
    /// # #[remote] fn compact() -> u64 { 0 }
    /// # async fn f() -> fdbray::Result<()> {
    /// for member in cluster::members()?.values().filter(|m| m.labels.iter().any(|(name, _)| name == "disk")) {
    ///     compact::options().durable().on(member.id).remote();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn on(self, member: ProcessId) -> Self {
        self.placed(At::Process(member), true)
    }

    fn placed(self, at: At, hard: bool) -> Self {
        self.set(|options| options.place = Some(Place { at, hard }))
    }
}
