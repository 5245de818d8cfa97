//! Two processes of a host, both in this one: one reads what lies in the memory of the other.

use super::*;
use crate::{
    net::{Ended, Host, Link, Net, Options as NetOptions, Soon},
    objects::Options as Limits,
};
use bytes::Bytes;
use pins::MOST;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{sleep, timeout},
};

/// Large enough to be read in place.
const LEN: usize = 100_000;

/// A process.
struct Side {
    id: ProcessId,
    net: OnceLock<Net>,
    shared: Arc<SharedMemory>,
    /// It does not answer questions, but keeps them waiting.
    deaf: AtomicBool,
    unanswered: Mutex<Vec<oneshot::Sender<Option<Bytes>>>>,
    /// Values that come from a disk when the other end says so.
    coming: Mutex<FxHashMap<ObjectId, oneshot::Receiver<Option<Payload>>>>,
    /// Of sessions.
    ends: AtomicU64,
}

impl Side {
    fn start(cluster: &str) -> Arc<Self> {
        let id = ProcessId::random();
        let arena = Arena::new(Limits { limit: 16 << 20, reserve: 0, low_water: 0, background: false });
        let side = Arc::new(Side {
            id,
            net: OnceLock::new(),
            shared: SharedMemory::on(arena, &Config::new()),
            deaf: AtomicBool::new(false),
            unanswered: Mutex::default(),
            coming: Mutex::default(),
            ends: AtomicU64::new(0),
        });
        let options = NetOptions::new(format!("{cluster}-{}", std::process::id()), id);
        let net = Net::start(options, side.clone(), Handle::current()).unwrap();
        let links = net.clone();
        tokio::spawn(side.shared.clone().tell_unpinned(move |peer| links.link(peer)));
        assert!(side.net.set(net).is_ok());
        side
    }

    fn net(&self) -> &Net {
        self.net.get().unwrap()
    }

    async fn meet(&self, other: &Side) -> Arc<Link> {
        self.net().dial(other.id, other.net().addresses());
        until(|| self.net().link(other.id).is_some() && other.net().link(self.id).is_some()).await;
        self.net().link(other.id).unwrap()
    }

    /// Ends their session.
    async fn part(&self, other: &Side) {
        let before = [self, other].map(|side| side.ends.load(Ordering::SeqCst));
        self.net().close(other.id, "enough");
        until(|| [self, other].map(|side| side.ends.load(Ordering::SeqCst)) == before.map(|n| n + 1)).await;
    }

    async fn view(&self, link: &Arc<Link>, seq: u64) -> Option<Payload> {
        let of = (ObjectId { owner: link.peer(), seq }, 1);
        match self.shared.view(link, of, LEN as u64).await {
            Viewed::Here(value) => Some(value),
            Viewed::Coming | Viewed::No => None,
        }
    }

    fn unpinned(&self) -> usize {
        lock(&self.shared.unpinned).len()
    }
}

impl Host for Side {
    fn connected(&self, _: &Arc<Link>, _: bool, _: u64) {
        self.shared.session_began();
    }

    fn received(&self, _: ProcessId, _: u64) -> Option<u64> {
        None
    }

    fn frames(&self, _: &Arc<Link>, _: Bytes) -> Result<(), String> {
        Ok(())
    }

    fn outgoing(&self, _: &Arc<Link>, _: &mut VecDeque<Bytes>) {}

    fn disconnected(&self, _: &Arc<Link>) {}

    fn ended(&self, _: ProcessId, _: u64, _: &Ended) {
        self.ends.fetch_add(1, Ordering::SeqCst);
    }

    fn object(&self, _: ObjectId, _: u32) -> Soon<Payload> {
        Soon::Now(None)
    }

    fn asked(&self, link: &Arc<Link>, question: Bytes) -> Soon<Bytes> {
        if self.deaf.load(Ordering::SeqCst) {
            let (sender, receiver) = oneshot::channel();
            lock(&self.unanswered).push(sender);
            return Soon::Later(receiver);
        }
        self.shared.asked(link, &question, |id, _| match lock(&self.coming).remove(&id) {
            Some(value) => Soon::Later(value),
            None => Soon::Now(self.shared.keep(value()).ok()),
        })
    }

    fn hand_over(&self, _: ProcessId) -> Vec<OwnedFd> {
        self.shared.descriptor().into_iter().collect()
    }
}

fn value() -> Payload {
    Payload::Shared(vec![7; LEN].into())
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let all = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("it never comes to be so");
}

/// Not an expectation but an end to tests that hang.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_was_not_heard_in_one_session_is_said_in_the_next() {
    let (reader, writer) = (Side::start("unheard"), Side::start("unheard"));
    let link = reader.meet(&writer).await;
    let [first, second] = [reader.view(&link, 1).await, reader.view(&link, 2).await].map(Option::unwrap);
    assert!(first.head() == value().head() && writer.shared.pins.len() == 2);
    // The one is said in a session that ends before it is heard, the other when there is none.
    writer.deaf.store(true, Ordering::SeqCst);
    drop(first);
    until(|| lock(&writer.unanswered).len() == 1).await;
    reader.part(&writer).await;
    drop(second);
    writer.deaf.store(false, Ordering::SeqCst);
    assert_eq!(writer.shared.pins.len(), 2, "no broken session ends a pin");
    reader.meet(&writer).await;
    until(|| writer.shared.pins.len() == 0 && reader.unpinned() == 0).await;
    assert_eq!(writer.shared.stats().blocks, 0);
}

#[tokio::test]
async fn what_comes_late_for_a_reader_that_lost_interest_is_not_held() {
    let (reader, writer) = (Side::start("late"), Side::start("late"));
    let link = reader.meet(&writer).await;
    let (brings, coming) = oneshot::channel();
    lock(&writer.coming).insert(ObjectId { owner: writer.id, seq: 1 }, coming);
    tokio::select! {
        _ = reader.view(&link, 1) => panic!("it is not there yet"),
        () = until(|| writer.shared.pins.len() == 1) => {}
    }
    until(|| writer.shared.pins.len() == 0).await;
    brings.send(Some(writer.shared.keep(value()).unwrap())).unwrap();
    until(|| writer.shared.stats().blocks == 0).await;
    assert_eq!(writer.shared.pins.len(), 0);
}

#[tokio::test]
async fn of_a_process_that_is_gone_nothing_stays() {
    let (reader, writer) = (Side::start("gone"), Side::start("gone"));
    let link = reader.meet(&writer).await;
    let [before, after] = [reader.view(&link, 1).await, reader.view(&link, 2).await].map(Option::unwrap);
    writer.deaf.store(true, Ordering::SeqCst);
    drop(before);
    until(|| lock(&writer.unanswered).len() == 1).await;
    reader.part(&writer).await;
    reader.shared.departed(writer.id);
    // Who looked for its memory at that moment does not bring it back.
    assert!(reader.view(&link, 3).await.is_none() && lock(&reader.shared.peers).is_empty());
    assert!(after.head() == value().head(), "what is viewed stays");
    drop(after);
    until(|| reader.unpinned() == 0).await;
}

#[test]
fn a_pin_has_a_number_of_its_own_and_their_number_a_bound() {
    let (pins, [one, other]) = (Pins::default(), [1, 2].map(|n| ProcessId::new(n).unwrap()));
    pins.hold(one, 1, Payload::copy_from(b"first")).unwrap();
    let again = pins.hold(one, 1, Payload::copy_from(b"second")).unwrap_err();
    assert_eq!(again.head(), b"second");
    for pin in 2..=MOST as u64 {
        pins.hold(one, pin, Payload::copy_from(b"")).unwrap();
    }
    let beyond = MOST as u64 + 1;
    assert!(pins.hold(one, beyond, Payload::copy_from(b"")).is_err());
    pins.hold(other, 1, Payload::copy_from(b"")).unwrap();
    pins.release(one, &[7, 8, 8]);
    pins.hold(one, beyond, Payload::copy_from(b"")).unwrap();
    assert_eq!(pins.len(), MOST);
}
