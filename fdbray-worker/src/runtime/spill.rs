//! Making room in the full arena, and bringing back what had to leave it.
//!
//! When a value finds no room, first the copies of others' values go, of which the owners are told. Then values that this process keeps and nobody uses
//! are written to disk, the least recently used first ([`Core::set_aside`](crate::core::Core::set_aside)), by the thread that
//! needs the room: so those who make values are as fast as the disk, and no faster. A value on disk comes back when it is
//! wanted: on a thread of the blocking pool, a few at a time, in the same way making room for itself; where there is none
//! even so it is read into this process's own memory. Damaged ones are lost, as if the process that kept them were gone.

use super::{Process, shared::SharedMemory};
use crate::{
    core::{Found, SetAside},
    error::{Error, Result},
    id::ObjectId,
    net::{Room, Soon},
    objects::{BlockMut, Bound, Full, SpillError, Spilled},
    payload::Payload,
};
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// What was done to make room.
enum Made {
    /// Something is free that was not.
    Some,
    /// Nothing: all values are in use, or there are none.
    Nothing,
    /// Nothing could be written.
    Failed(SpillError),
}

impl SharedMemory {
    /// Attempts something that needs room until there is some.
    ///
    /// # Errors
    /// [`Error::StoreFull`], after `patience` in which none could be made and none came.
    pub(super) fn with_room<T>(&self, mut attempt: impl FnMut() -> Result<T, Full>) -> Result<T> {
        let mut left = self.patience;
        // What one makes room for others may take, but not without end.
        for _ in 0..ATTEMPTS {
            let full = match attempt() {
                Ok(done) => return Ok(done),
                Err(full) => full,
            };
            if !full.may_pass() {
                return Err(self.full(&full, None));
            }
            let process = self.process.get().and_then(Weak::upgrade);
            let made = process.map_or(Made::Nothing, |process| process.make_room(full.wanted));
            let why = match made {
                Made::Some => continue,
                Made::Nothing => None,
                Made::Failed(why) => Some(why),
            };
            if left.is_zero() {
                return Err(self.full(&full, why));
            }
            let began = Instant::now();
            self.arena.block_for_room(full.since, left.min(LOOK_AGAIN));
            left = left.saturating_sub(began.elapsed());
        }
        attempt().map_err(|full| self.full(&full, None))
    }

    /// Memory for a value that comes from another process. Room is made as [`SharedMemory::keep`] has it, and waited for
    /// without a thread; where the process can have no shared memory at all it is not shared.
    ///
    /// # Errors
    /// Says what is full, with the accounting.
    pub async fn room(self: Arc<Self>, len: usize) -> Result<Room, String> {
        let until = tokio::time::Instant::now() + self.patience;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let full = match self.arena.allocate(len) {
                Ok(block) => return Ok(Room::Shared(block)),
                Err(full) => full,
            };
            if let Bound::System(why) = &full.bound {
                self.lacks_memory(why);
                return own(len).ok_or_else(|| self.why_full(&full, None));
            }
            if !full.may_pass() || attempts.next().is_none() {
                return Err(self.why_full(&full, None));
            }
            let why = match self.clone().make_room_apart(full.wanted).await {
                Made::Some => continue,
                Made::Nothing => None,
                Made::Failed(why) => Some(why),
            };
            let now = tokio::time::Instant::now();
            if now >= until {
                return Err(self.why_full(&full, why));
            }
            let again = until.min(now + LOOK_AGAIN);
            // Whether there is room now or not is seen then.
            let _ = tokio::time::timeout_at(again, self.arena.wait_for_room(full.since)).await;
        }
    }

    /// Makes room on a thread of the blocking pool: it writes to a disk.
    async fn make_room_apart(self: Arc<Self>, wanted: u64) -> Made {
        let Some(process) = self.process.get().and_then(Weak::upgrade) else { return Made::Nothing };
        // A few at once, with those that read.
        let _turn = self.restores.acquire().await;
        let made = tokio::task::spawn_blocking(move || process.make_room(wanted));
        made.await.unwrap_or(Made::Nothing)
    }

    fn full(&self, full: &Full, not_spilled: Option<SpillError>) -> Error {
        Error::StoreFull { message: self.why_full(full, not_spilled) }
    }

    fn why_full(&self, full: &Full, not_spilled: Option<SpillError>) -> String {
        let Full { wanted, bound, .. } = full;
        let why = match not_spilled {
            Some(why) => format!(". {why}"),
            None => String::new(),
        };
        format!("{wanted} bytes are wanted, and {bound}{why} ({})", self.stats())
    }
}

/// Memory of this process alone.
fn own(len: usize) -> Option<Room> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    bytes.resize(len, 0);
    Some(Room::Own(bytes))
}

impl Process {
    /// Gives up about `wanted` bytes of the arena, on this thread; a little more for those that are small, since others of
    /// their kind come after them.
    fn make_room(self: &Arc<Self>, wanted: u64) -> Made {
        let wanted = wanted.max((self.shared().stats().limit / 64).min(AHEAD));
        let copies = self.shared().arena.stats().used;
        self.with_core(false, |core, fx| core.drop_copies(fx));
        let mut made = copies.saturating_sub(self.shared().arena.stats().used);
        let mut looks = self.with_core(false, |core, _| core.kept_in_memory());
        while made < wanted && looks > 0 {
            let mut park = |value| Spilled::park(value, &self.shared().arena);
            match self.with_core(false, |core, fx| core.set_aside(&mut park, fx)) {
                SetAside::One(id, spilled) => match self.write(id, &spilled) {
                    Ok(()) => {
                        made += spilled.len();
                        looks -= 1;
                    }
                    Err(error) if made == 0 => return Made::Failed(error),
                    Err(_) => break,
                },
                SetAside::Clean(parked) => {
                    made += parked.len();
                    looks -= 1;
                }
                SetAside::InUse(0) => break,
                SetAside::InUse(count) => looks = looks.saturating_sub(count),
            }
        }
        if made == 0 { Made::Nothing } else { Made::Some }
    }

    /// Writes what was set aside, or puts it back.
    fn write(self: &Arc<Self>, id: ObjectId, spilled: &Arc<Spilled>) -> Result<(), SpillError> {
        let mut written = spilled.write(&self.shared().disk);
        if let Err(SpillError::Limit { .. } | SpillError::Full { .. }) = written {
            // What is in memory too need not be on the disk.
            let given_up = self.with_core(false, |core, _| core.drop_written());
            if !given_up.is_empty() {
                drop(given_up);
                self.shared().disk.has_room_again();
                written = spilled.write(&self.shared().disk);
            }
        }
        if written.is_err()
            && let Some(value) = spilled.in_memory()
        {
            self.with_core(true, |core, fx| core.came_back(id, spilled, value, fx));
        }
        written
    }

    /// An object that this process has, as `attempt` gave it (0: as any did), to serve it or to use it.
    pub fn object(self: &Arc<Self>, id: ObjectId, attempt: u32) -> Soon<Payload> {
        let found = self.with_core(false, |core, _| core.object(id, attempt));
        match found {
            None => Soon::Now(None),
            Some(Found::Here(value)) => Soon::Now(Some(value)),
            Some(Found::Away(spilled)) => {
                if let Some(value) = spilled.in_memory() {
                    self.came_back(id, &spilled, &value);
                    return Soon::Now(Some(value));
                }
                let (sender, receiver) = oneshot::channel();
                let process = self.clone();
                self.executor().spawn(async move {
                    // Who asked may have gone.
                    let _ = sender.send(process.bring_back(id, attempt, spilled).await);
                });
                Soon::Later(receiver)
            }
        }
    }

    /// The same, waiting for it.
    pub async fn object_here(self: &Arc<Self>, id: ObjectId, attempt: u32) -> Option<Payload> {
        match self.object(id, attempt) {
            Soon::Now(value) => value,
            Soon::Later(value) => value.await.ok().flatten(),
        }
    }

    /// Reads a value from the disk.
    async fn bring_back(
        self: &Arc<Self>,
        id: ObjectId,
        attempt: u32,
        spilled: Arc<Spilled>,
    ) -> Option<Payload> {
        // A few at once: what is brought back needs memory, and a disk is not faster for more.
        let _turn = self.shared().restores.acquire().await.ok()?;
        // Somebody else may have asked for it before.
        if let Some(Found::Here(value)) = self.with_core(false, |core, _| core.object(id, attempt)) {
            return Some(value);
        }
        let process = self.clone();
        let read = tokio::task::spawn_blocking(move || process.read_back(id, &spilled));
        read.await.ok().flatten()
    }

    fn read_back(self: &Arc<Self>, id: ObjectId, spilled: &Arc<Spilled>) -> Option<Payload> {
        match spilled.read(|len| self.room_to_read(len)) {
            Ok(value) => {
                self.came_back(id, spilled, &value);
                Some(value)
            }
            Err(damaged) => {
                tracing::error!("object {id} is lost to this process: {damaged}");
                self.with_core(false, |core, fx| core.is_damaged(id, spilled, fx));
                None
            }
        }
    }

    /// A value that was read is kept in the arena again; elsewhere it is for who asked alone.
    fn came_back(self: &Arc<Self>, id: ObjectId, spilled: &Arc<Spilled>, value: &Payload) {
        if self.shared().has(value) {
            self.with_core(true, |core, fx| core.came_back(id, spilled, value.clone(), fx));
        }
    }

    /// Room in the arena for a value on disk. None if there is none in a while: what has the room may be waiting for this
    /// very value.
    fn room_to_read(self: &Arc<Self>, len: usize) -> Option<BlockMut> {
        let arena = &self.shared().arena;
        let mut left = WAITS;
        loop {
            let full = match arena.allocate(len) {
                Ok(block) => return Some(block),
                Err(full) => full,
            };
            if !full.may_pass() {
                return None;
            }
            if matches!(self.make_room(len as u64), Made::Some) {
                continue;
            }
            left = left.checked_sub(1)?;
            arena.block_for_room(full.since, WAIT);
        }
    }
}

/// How often, and for how long, a value on disk waits for room in the arena.
const WAITS: u32 = 4;
const WAIT: Duration = Duration::from_millis(50);

/// Room may come otherwise than by a block that is freed: the machine may have memory again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What small values make room for at once.
const AHEAD: u64 = 1 << 20;

/// How often a value tries to find room after some was made: others may take it.
const ATTEMPTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        objects::{Arena, Available, Machine, Options, Owner},
    };

    /// One that has nothing left.
    struct Exhausted;

    impl Machine for Exhausted {
        fn available(&self) -> Available {
            Available { bytes: 0, of: Owner::Machine }
        }
    }

    #[test]
    fn a_machine_without_memory_is_named_with_what_to_do_and_what_there_is() {
        let options = Options { limit: 1 << 30, reserve: 1 << 20, low_water: 0, background: false };
        let config = Config::new().store_wait(Duration::from_millis(10));
        let shared = SharedMemory::on(Arena::on(options, Exhausted), &config);
        let refused = [
            shared.keep(Payload::Shared(vec![1; 100_000].into())).map(drop),
            shared.allocate(100_000).map(drop),
        ];
        for refused in refused {
            let Err(Error::StoreFull { message }) = refused else { panic!("{refused:?}") };
            for said in [
                "100000 bytes are wanted",
                "the machine has 0 bytes",
                "more memory",
                "0 objects hold 0 bytes",
            ] {
                assert!(message.contains(said), "{message}");
            }
        }
        assert_eq!(shared.stats().blocks, 0);
    }
}
