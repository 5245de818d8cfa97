//! Values that are kept as objects.

use crate::{
    Error, RemoteFuture, Result, StoreStats,
    encoding::{RemoteValue, encode},
};
use fdbray_worker::runtime;

/// The accounting of this process's shared memory, where its large values lie: those that it has computed or `put`, and
/// those it has fetched from other hosts; and of the disk that takes what does not fit. All zero before the runtime was started.
///
/// ```
/// let stats = fdbray::store_stats();
/// println!("{} objects hold {} bytes of at most {}", stats.blocks, stats.live, stats.limit);
/// println!("{} are on disk, with {} bytes", stats.spilled_objects, stats.spilled);
/// ```
pub fn store_stats() -> StoreStats {
    runtime::store_stats()
}

/// Keeps `value` as an object of this process, to be passed to many calls while it is encoded and sent once.
///
/// When there is no room in memory, values that nobody uses are written to disk first, on this thread; if that cannot be, this
/// waits for room for a while (`FDBRAY_STORE_WAIT`). On a runtime with several threads the others go on meanwhile.
///
/// # Errors
/// [`Error::Encode`] when the value cannot be encoded, [`Error::StoreFull`] when there is no room for it,
/// [`Error::Shutdown`] when the runtime has ended.
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # #[remote] fn lookup(table: Vec<u32>, i: usize) -> u32 { table[i] }
/// # async fn f() -> fdbray::Result<()> {
/// let table: Vec<u32> = (0..1_000_000).collect();
/// let table = fdbray::put(&table)?;
/// let found = lookup::map((0..100).map(|i| (&table, i)));
/// # Ok(()) }
/// ```
pub fn put<T: RemoteValue>(value: &T) -> Result<RemoteFuture<T>> {
    let encoded = encode(value).map_err(|why| Error::encode("the value given to `fdbray::put`", why))?;
    Ok(RemoteFuture::new(runtime::put(encoded)?, None))
}
