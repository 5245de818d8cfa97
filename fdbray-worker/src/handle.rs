//! A future without its type: what `RemoteFuture` wraps.

use crate::{
    cell::{Cell, Outcome, WaitSet},
    error::{Error, Result},
    exec::Source,
    id::ObjectId,
    payload::Payload,
    runtime,
};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A counted handle of a future. Dropping the last one in all processes lets its owner free the value.
pub struct Handle(Arc<Cell>);

impl Handle {
    /// A handle of `cell`, counted.
    pub(crate) fn new(cell: Arc<Cell>) -> Self {
        cell.add_handle();
        Handle(cell)
    }

    /// A handle of `cell` that is counted already.
    pub(crate) fn counted(cell: Arc<Cell>) -> Self {
        Handle(cell)
    }

    /// A handle of a future that this process read in encoded bytes that came from `source`.
    pub fn adopt(id: ObjectId, source: &Source) -> Self {
        runtime::adopt(id, source)
    }

    /// A future that has failed already and that nobody owns.
    pub fn failed(error: Error) -> Self {
        runtime::failed(error)
    }

    /// The object.
    pub fn id(&self) -> ObjectId {
        self.0.id()
    }

    /// The value's bytes, once they are in this process.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Payload>> {
        match self.0.poll_local(cx) {
            Poll::Ready(Outcome::Value(payload)) => Poll::Ready(Ok(payload)),
            Poll::Ready(Outcome::Failed(error)) => Poll::Ready(Err(Error::from(error))),
            Poll::Ready(Outcome::Stored { .. }) | Poll::Pending => {
                runtime::ask(&self.0);
                Poll::Pending
            }
        }
    }

    /// Blocks this thread until the value's bytes are in this process. A task that calls this gives its slot back.
    pub fn wait(&self) -> Result<Payload> {
        runtime::wait(&self.0)
    }

    /// The same for at most `limit`; `None` when it has not come by then.
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<Payload>> {
        runtime::wait_timeout(&self.0, limit)
    }

    pub(crate) fn cell(&self) -> &Arc<Cell> {
        &self.0
    }

    /// Whether the future has ended, in any way.
    pub fn is_settled(&self) -> bool {
        self.0.is_settled()
    }

    /// Cancels the work, if it has not ended.
    pub fn cancel(&self) {
        runtime::cancel(&self.0);
    }

    /// Tells `set` when the future ends, by `token`.
    pub fn watch(&self, set: &Arc<WaitSet>, token: u64) {
        self.0.watch(set, token);
        runtime::ask_end(&self.0);
    }

    /// Takes back [`Handle::watch`].
    pub fn unwatch(&self, set: &Arc<WaitSet>) {
        self.0.unwatch(set);
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Handle::new(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.drop_handle() {
            runtime::release(&self.0);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
