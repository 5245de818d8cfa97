//! Claims work for an executor: at once when there is some and room for it, without polling when there is none.

use crate::control::durable::{Claimed, Durable, DurableError, FutureId, ShapeId, Wants};
use crate::control::members::Capacity;
use crate::id::ProcessId;
use futures_util::future::{pending, select_all};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a worker looks for work although no watch has fired.
const LOOK: Duration = Duration::from_secs(30);
/// Between two tries when the store does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// What runs claimed futures. Its methods are called from a task of the service and must not block.
pub trait Executor: Send + Sync + 'static {
    /// What there is room for now, of these shapes.
    fn room(&self, shapes: &[(ShapeId, Capacity)]) -> Room;
    /// Takes over claimed futures. Those without an attempt have to be started, or given back.
    fn run(&self, claimed: Vec<Claimed>);
    /// A claimed future was cancelled or is past its deadline: nobody wants its outcome.
    fn revoked(&self, id: FutureId);
}

/// Room for work.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// How many of each shape, best first. Shapes that fit but have no room now are there with zero.
    pub shapes: Vec<(ShapeId, usize)>,
    /// How many in all.
    pub most: usize,
    /// How many of them would run at once, and are started with the claim.
    pub start: usize,
    /// The functions there are.
    pub kinds: Arc<BTreeSet<u64>>,
}

/// Claims until this process is no member any more.
pub(super) async fn run(durable: Durable, me: ProcessId, executor: Arc<dyn Executor>, room: Arc<Notify>) {
    let mut rounds = 0;
    let random = RandomState::new();
    loop {
        rounds += 1;
        match round(&durable, me, &*executor, &room, random.hash_one((me, rounds))).await {
            Ok(()) => {}
            Err(error) if error.retryable() => sleep(PAUSE).await,
            Err(error) => {
                tracing::warn!(%error, "no more durable futures are claimed");
                return;
            }
        }
    }
}

/// Claims all there is room for, then waits for more of one or the other.
async fn round(
    durable: &Durable,
    me: ProcessId,
    executor: &dyn Executor,
    room_changed: &Notify,
    nonce: u64,
) -> Result<(), DurableError> {
    let changed = room_changed.notified();
    let (shapes, new_shapes) = durable.shapes().await?;
    let until = Instant::now() + LOOK;
    let mut signals = Vec::new();
    for number in 0.. {
        let room = executor.room(&shapes);
        if room.most == 0 {
            break;
        }
        let wants = Wants {
            shapes: room.shapes.iter().copied().filter(|(_, times)| *times > 0).collect(),
            most: room.most,
            start: room.start,
            kinds: room.kinds,
            nonce: nonce.wrapping_add(number),
            again: false,
        };
        let claimed = claim(durable, me, wants).await?;
        if !claimed.is_empty() {
            executor.run(claimed);
            continue;
        }
        if !signals.is_empty() || room.shapes.is_empty() {
            break;
        }
        // Nothing, so it is worth a watch; and what came before the watch is looked for once more.
        for (shape, _) in room.shapes {
            signals.push(durable.watch_shape(shape).await?);
        }
    }
    let signal = async { if signals.is_empty() { pending().await } else { select_all(signals).await.0 } };
    // Whichever: everything is looked at again.
    tokio::select! {
        _ = signal => {}
        _ = new_shapes => {}
        () = changed => {}
        () = sleep_until(until) => {}
    }
    Ok(())
}

/// Claims; and when the store did not say whether it did, asks until it does.
async fn claim(durable: &Durable, me: ProcessId, mut wants: Wants) -> Result<Vec<Claimed>, DurableError> {
    loop {
        match durable.claim(me, wants.clone()).await {
            Err(error) if error.retryable() => {
                tracing::debug!(%error, "a claim is tried again");
                wants.again = true;
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}
