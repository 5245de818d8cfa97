//! Starting and stopping the network of a process, and its handle.

use super::{
    Host,
    bulk::{self, Lane, Room},
    error::{Ended, FetchError, NetError},
    link::Link,
    listen::Listeners,
    manager::Manager,
    options::Options,
};
use crate::{
    id::{ObjectId, ProcessId},
    payload::Payload,
};
use std::{future::Future, sync::Arc};
use tokio::{runtime::Handle, task::AbortHandle};

/// The network of a process. Clones are handles to the same one; it goes on until [`Net::stop`], or until the runtime
/// that it was started on ends.
#[derive(Clone)]
pub struct Net {
    manager: Arc<Manager>,
    io: Handle,
    listening: Arc<[AbortHandle]>,
}

impl Net {
    /// Listens as `options` say and serves `host` on the runtime `io`, which must have I/O and time enabled.
    ///
    /// # Errors
    /// An address that may not or cannot be listened on.
    pub fn start(options: Options, host: Arc<dyn Host>, io: Handle) -> Result<Self, NetError> {
        let listeners = Listeners::open(&options)?;
        let lane = Lane::new(io.clone(), options.fetch_budget);
        let manager = Manager::new(options, host, listeners.addresses.clone(), lane);
        let _inside = io.enter();
        let listening = listeners.serve(&manager)?.into();
        Ok(Net { manager, io, listening })
    }

    /// Where this process can be dialled, best first: `unix:@NAME`, `tcp:HOST:PORT`. Empty when nowhere.
    pub fn addresses(&self) -> &[String] {
        &self.manager.addresses
    }

    /// Whether this process is dialling `peer`.
    #[cfg(test)]
    pub(crate) fn is_dialling(&self, peer: ProcessId) -> bool {
        self.manager.is_dialling(peer)
    }

    /// Brings about a session with `peer`: over its Unix socket if that can be reached, else over TCP. A peer without a TCP
    /// address has [`Options::patience`] to make a connection by itself. The host hears of the session by `connected`, or
    /// by `ended`. Does nothing when there is one, or a dial is under way; while the peer's own connection is waited for,
    /// it may be dialled with addresses that were not known before.
    pub fn dial(&self, peer: ProcessId, addresses: &[String]) {
        self.io.spawn(self.manager.clone().dial(peer, addresses.to_vec()));
    }

    /// The session with `peer`.
    pub fn link(&self, peer: ProcessId) -> Option<Arc<Link>> {
        self.manager.link(peer)
    }

    /// Ends the session with `peer`, if there is one; both hosts hear of it by `ended`.
    pub fn close(&self, peer: ProcessId, why: &str) {
        if let Some(link) = self.manager.link(peer) {
            link.close(Ended::Here(why.to_owned()));
        }
    }

    /// Pulls object `id` as `attempt` gave it (0: as any did), which is `len` bytes with its buffers, from all of these peers at once, over the bulk lanes of the
    /// sessions with them. Waits until the budget has room for them, then asks for `room` to put them; dropping the future
    /// gives the transfer up.
    ///
    /// # Errors
    /// See [`FetchError`]; as long as one of the peers delivers there is none. A broken connection is none: what is missing
    /// is asked for again.
    pub fn fetch<R: Future<Output = Result<Room, String>> + Send + 'static>(
        &self,
        from: Vec<ProcessId>,
        id: ObjectId,
        attempt: u32,
        len: u64,
        room: impl FnOnce(usize) -> R + Send + 'static,
    ) -> impl Future<Output = Result<Payload, FetchError>> + Send + 'static {
        bulk::fetch(self.manager.clone(), from, id, attempt, len, room)
    }

    /// Stops listening, lets no session begin and ends all that there are; returns when the host knows of each end.
    pub async fn stop(&self, why: &str) {
        for task in &*self.listening {
            task.abort();
        }
        let links = self.manager.stop();
        for link in &links {
            link.close(Ended::Here(why.to_owned()));
        }
        for link in &links {
            link.finished().await;
        }
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}
