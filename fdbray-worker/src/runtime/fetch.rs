//! Brings a large value here: from the disk where this process keeps it there, else read in place where a process of this
//! host has it, else pulled from all that have it.
//!
//! A process of this host that is just pulling it is waited for, so that it comes to a host once, however many tasks of
//! however many processes want it. Pulling waits for no other process of the host, so that none waits in a circle.

use super::{
    Process,
    outside::Outside,
    shared::{SharedMemory, Viewed},
};
use crate::{
    core::{Fetch, Got, message::Places},
    error::Error,
    id::{ObjectId, ProcessId},
    net::{FetchError, Link},
    payload::Payload,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Brings a value here, or tells the core why not.
pub(super) async fn fetch_value(process: &Arc<Process>, Fetch { id, places, len }: Fetch) {
    let mut pauses = PAUSES.iter();
    let shared = process.shared();
    // Until the core has it: whoever asks meanwhile is told that it comes.
    let mut _pulling = None;
    let got = loop {
        if places.all().any(|place| place == process.me())
            && let Some(value) = process.object_here(id, places.attempt).await
        {
            break Got::Value { value, copied: false };
        }
        let elsewhere = places.all().any(|place| place != process.me());
        let Some(outside) = process.outside().filter(|_| elsewhere) else { break Got::Nothing };
        if let Some(value) = in_place(process, outside, &places, id, len).await {
            break Got::Value { value, copied: false };
        }
        _pulling = Some(shared.pulling(id, places.attempt));
        let why = match pull(process, outside, &places, id, len).await {
            Ok(value) => break Got::Value { value, copied: true },
            Err(why) => why,
        };
        _pulling = None;
        tracing::debug!("a value was not fetched: {why}");
        if let FetchError::Full { .. } = why {
            break Got::NoRoom(Error::StoreFull { message: why.to_string() });
        }
        let gone = places.all().all(|place| outside.links.is_departed(place));
        let Some(pause) = pauses.next().filter(|_| may_pass(&why) && !gone) else { break Got::Nothing };
        if let FetchError::PeerLost { peer, .. } = why {
            process.with_core(true, |core, fx| core.reach(peer, fx));
        }
        sleep(*pause).await;
    };
    process.with_core(true, |core, fx| core.fetched(id, places.attempt, got, fx));
}

/// Reads it where a process of this host has it.
async fn in_place(
    process: &Arc<Process>,
    outside: &Outside,
    places: &Places,
    id: ObjectId,
    len: u64,
) -> Option<Payload> {
    for place in places.all().filter(|place| *place != process.me()) {
        let link = match outside.links.get(place) {
            Some(link) => Some(link),
            // Whoever keeps it is dialled where that is needed; one that may have a copy is, where that may save much.
            None if place == places.holder || len < MUCH => None,
            None if beside(outside, process.me(), place) => reach(process, outside, place).await,
            None => None,
        };
        if let Some(link) = link.filter(|link| link.same_host())
            && let Some(value) = view(process.shared(), &link, (id, places.attempt), len).await
        {
            return Some(value);
        }
    }
    None
}

/// Views it in the memory of a peer, once it is there.
async fn view(
    shared: &Arc<SharedMemory>,
    link: &Arc<Link>,
    of: (ObjectId, u32),
    len: u64,
) -> Option<Payload> {
    let mut pause = FIRST_LOOK;
    loop {
        match shared.view(link, of, len).await {
            Viewed::Here(value) => return Some(value),
            Viewed::Coming => {}
            Viewed::No => return None,
        }
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_LOOK);
    }
}

/// Whether a member is, in all probability, on this host.
fn beside(outside: &Outside, me: ProcessId, other: ProcessId) -> bool {
    match (outside.member(me), outside.member(other)) {
        (Some(me), Some(other)) => me.host.boot_id == other.host.boot_id && !other.addresses.is_empty(),
        _ => false,
    }
}

/// A session with a process that there may be none with yet. It is given a moment.
async fn reach(process: &Arc<Process>, outside: &Outside, peer: ProcessId) -> Option<Arc<Link>> {
    process.with_core(true, |core, fx| core.reach(peer, fx));
    let until = Instant::now() + MOMENT;
    while Instant::now() < until && !outside.links.is_departed(peer) {
        if let Some(link) = outside.links.get(peer) {
            return Some(link);
        }
        sleep(FIRST_LOOK).await;
    }
    None
}

async fn pull(
    process: &Arc<Process>,
    outside: &Outside,
    places: &Places,
    id: ObjectId,
    len: u64,
) -> Result<Payload, FetchError> {
    let others = places.all().filter(|place| *place != process.me());
    let from: Vec<ProcessId> = others.take(if len < MUCH { 1 } else { MOST_SOURCES }).collect();
    for peer in from.iter().skip(1).filter(|peer| outside.links.get(**peer).is_none()) {
        // It helps as soon as there is a session.
        process.with_core(true, |core, fx| core.reach(*peer, fx));
    }
    let shared = process.shared().clone();
    let value = outside.net.fetch(from, id, places.attempt, len, |len| shared.room(len)).await?;
    Ok(if id.is_durable() { Payload::Described(value.contiguous()) } else { value })
}

/// Whether another try can end differently: over a new session, or with a value that has just been stored.
fn may_pass(why: &FetchError) -> bool {
    matches!(why, FetchError::Gone { .. } | FetchError::PeerLost { .. })
}

/// Before a value is asked for again where it was not to be had. Short: its owner may know of another place, or have it
/// computed again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(320)];

/// Bytes for which it is worth while to ask others than the one who keeps them.
const MUCH: u64 = 1 << 20;

/// Sources of one transfer.
const MOST_SOURCES: usize = 4;

/// Before it is looked again whether a value has come to another process of this host, at first and at most.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(20);

/// For a session with a process of this host.
const MOMENT: Duration = Duration::from_millis(200);
