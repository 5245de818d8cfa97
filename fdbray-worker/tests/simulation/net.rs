//! Connections: made, broken, resumed, refused; and the sessions over them.
//!
//! Frames of one connection arrive in order, each after its own delay; a frame of a connection that is broken never
//! arrives. A side learns of everything later than it happens, and the two sides at different times.

use super::{
    events::Event,
    random::Random,
    world::{P, World},
};
use bytes::{Bytes, BytesMut};
use fdbray_worker::core::{
    MILLISECOND, Nanos,
    message::{self, Message},
    session,
};
use std::collections::{BTreeMap, VecDeque};

/// What connects the processes.
#[derive(Default)]
pub struct Net {
    links: BTreeMap<(P, P), Link>,
    numbers: u64,
}

/// What connects two processes.
pub struct Link {
    pub tcp: bool,
    /// The connection that carries frames; zero while there is none.
    pub epoch: u64,
    /// The session that was begun last.
    session: u64,
    dialling: bool,
    /// Who wanted to dial while the other did.
    wanted: Option<(P, P)>,
    /// How many times longer a frame takes than usual, by direction.
    slow: [u64; 2],
    sides: [Side; 2],
}

/// What one of two processes believes.
#[derive(Default, Clone, Copy)]
struct Side {
    session: u64,
    epoch: u64,
    /// Nothing arrives here before this.
    arrival: Nanos,
}

impl Net {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn link(&mut self, a: P, b: P, tcp: u64, random: &mut Random) -> &mut Link {
        self.links.entry((a.min(b), a.max(b))).or_insert_with(|| Link {
            tcp: random.percent(tcp),
            epoch: 0,
            session: 0,
            dialling: false,
            wanted: None,
            slow: [random.pick(&[1, 1, 1, 30]), random.pick(&[1, 1, 1, 30])],
            sides: [Side::default(); 2],
        })
    }

    /// Pairs with a connection that both sides know.
    pub fn standing(&self) -> Vec<(P, P)> {
        let stands = |l: &Link| l.epoch > 0 && l.sides.iter().all(|s| s.epoch == l.epoch);
        self.links.iter().filter(|(_, l)| stands(l)).map(|(pair, _)| *pair).collect()
    }
}

impl World {
    fn link(&mut self, a: P, b: P) -> &mut Link {
        self.net.link(a, b, self.scenario.tcp, &mut self.random)
    }

    fn side(&mut self, of: P, peer: P) -> &mut Side {
        &mut self.link(of, peer).sides[usize::from(of > peer)]
    }

    /// How long a frame takes.
    pub fn delay(&mut self) -> Nanos {
        let (low, high) = self.scenario.delay;
        self.random.scale(low, high)
    }

    /// Whether what connects the two is as between hosts.
    pub fn is_tcp(&mut self, a: P, b: P) -> bool {
        self.net.link(a, b, self.scenario.tcp, &mut self.random).tcp
    }

    /// A core wants a connection.
    pub fn dial(&mut self, from: P, to: P) {
        let link = self.link(from, to);
        if link.dialling {
            link.wanted = Some((from, to));
            return;
        }
        // Who executes listens: there may be an actor in it that others call.
        if !self.all[to].dialable && self.all[to].capacity.is_none() {
            // Its own connection is used, if it makes one within reasonable time.
            let delay = 10_000 * MILLISECOND;
            let why = Some("it cannot be dialled");
            return self.after(delay, Event::Ended { at: from, peer: to, session: Some(0), why });
        }
        self.say(|| format!("p{from} dials p{to}"));
        self.link(from, to).dialling = true;
        let delay = 2 * self.delay();
        self.after(delay, Event::Dialled(from, to));
    }

    pub fn dialled(&mut self, a: P, b: P) {
        let refused = self.now < self.scenario.faults.until && {
            let chance = self.scenario.faults.refused;
            self.random.percent(chance)
        };
        let number = self.net.number();
        let link = self.link(a, b);
        link.dialling = false;
        let wanted = link.wanted.take();
        if !self.all[a].alive {
            return;
        }
        if refused || !self.all[b].alive || self.all[a].shunned || self.all[b].shunned {
            self.say(|| format!("p{a} could not dial p{b}"));
            let why = if self.random.percent(50) { Some("refused") } else { None };
            self.after(0, Event::Ended { at: a, peer: b, session: Some(0), why });
            if let Some((x, y)) = wanted.filter(|(x, _)| *x == b) {
                self.dial(x, y);
            }
            return;
        }
        let link = self.link(a, b);
        (link.session, link.epoch) = (number, number);
        for (to, peer) in [(a, b), (b, a)] {
            let old = self.side(to, peer).session;
            // A runtime that notices ends the old session first; one that does not leaves it to the core.
            if old != 0 && self.random.percent(50) {
                self.after(0, Event::Ended { at: to, peer, session: Some(old), why: None });
            }
            self.come_up(to, peer, number, number, true, 0);
        }
    }

    fn come_up(&mut self, to: P, peer: P, session: u64, epoch: u64, fresh: bool, received: u64) {
        let at = self.now + self.delay();
        let side = self.side(to, peer);
        side.arrival = side.arrival.max(at);
        let at = side.arrival;
        self.schedule(at, Event::Up { to, peer, session, epoch, fresh, received });
    }

    pub fn up(&mut self, to: P, peer: P, session: u64, epoch: u64, fresh: bool, received: u64) {
        let tcp = self.link(to, peer).tcp;
        let side = self.side(to, peer);
        if !fresh && side.session != session {
            return;
        }
        if side.session != 0 && side.session != session {
            self.weather.losses += 1;
            self.weather.parted = true;
        }
        let side = self.side(to, peer);
        (side.session, side.epoch) = (session, epoch);
        let late = self.link(to, peer).epoch != epoch;
        self.say(|| format!("p{to} is connected with p{peer} (fresh: {fresh})"));
        let id = self.all[peer].id;
        self.call(to, |core, fx| core.connected(id, tcp, fresh, received, fx));
        if late {
            // It broke meanwhile.
            self.after(0, Event::Cut { at: to, peer, epoch });
            if fresh && self.all[peer].alive && self.link(to, peer).session != session {
                self.after(0, Event::Ended { at: to, peer, session: Some(session), why: None });
            }
        }
    }

    /// Sends what a core has for a peer.
    pub fn flush(&mut self, from: P, to: P) {
        let epoch = self.side(from, to).epoch;
        if epoch == 0 {
            return;
        }
        let mut out = VecDeque::new();
        let id = self.all[to].id;
        self.all[from].core.outgoing(id, &mut out);
        while let Some(frame) = out.pop_front() {
            let mut frames = BytesMut::from(&frame[..]);
            while self.random.percent(50)
                && let Some(next) = out.pop_front()
            {
                frames.extend_from_slice(&next);
            }
            let at = self.now + self.delay() * self.link(from, to).slow[usize::from(from > to)];
            let side = self.side(to, from);
            side.arrival = side.arrival.max(at);
            let at = side.arrival;
            self.schedule(at, Event::Deliver { from, to, epoch, frames: frames.freeze() });
        }
    }

    pub fn deliver(&mut self, from: P, to: P, epoch: u64, frames: &Bytes) {
        if self.link(from, to).epoch != epoch || self.side(to, from).epoch != epoch {
            return self.say(|| format!("p{to} never gets a frame of p{from}"));
        }
        self.show(from, to, frames);
        let id = self.all[from].id;
        let heard = self.call(to, |core, fx| core.receive(id, frames, fx));
        assert!(heard.is_ok(), "p{to} does not understand p{from}: {heard:?}");
    }

    /// Counts and traces what is said.
    fn show(&mut self, from: P, to: P, frames: &Bytes) {
        let mut at = 0;
        while let Some(header) = session::Header::parse(&frames[at..]) {
            let mut body = &frames[at + session::HEADER..][..header.len];
            self.say(|| format!("p{to} gets frame {} of p{from}", header.seq));
            while let Ok((message, rest)) = message::decode(body) {
                self.count(name_of(&message));
                self.say(|| format!("    {message:?}"));
                body = rest;
            }
            at += session::HEADER + header.len;
        }
    }

    /// The connection between two processes breaks. Over TCP it is mended, or the session ends; else that ends at once.
    pub fn cut(&mut self, a: P, b: P) {
        let parts = self.scenario.faults.parts;
        let parts = self.random.percent(parts);
        let link = self.link(a, b);
        let (tcp, epoch, session) = (link.tcp, link.epoch, link.session);
        link.epoch = 0;
        self.say(|| format!("the connection of p{a} and p{b} breaks (tcp: {tcp}, parts: {parts})"));
        for (at, peer) in [(a, b), (b, a)] {
            let delay = self.delay();
            let end = if tcp {
                Event::Cut { at, peer, epoch }
            } else {
                Event::Ended { at, peer, session: Some(session), why: None }
            };
            self.after(delay, end);
        }
        if tcp && parts {
            self.after(2_000 * MILLISECOND, Event::Part(a, b, session));
        } else if tcp {
            let delay = self.random.scale(100_000, 1_900_000_000);
            self.after(delay, Event::Mend(a, b));
        }
    }

    pub fn mend(&mut self, a: P, b: P) {
        let session = self.link(a, b).session;
        let agreed = self.side(a, b).session == session && self.side(b, a).session == session;
        if !agreed || !self.all[a].alive || !self.all[b].alive || self.link(a, b).epoch != 0 {
            return;
        }
        // A side that learnt nothing of the break learns it now.
        let epoch = self.net.number();
        self.link(a, b).epoch = epoch;
        let (of_a, of_b) = (self.all[a].id, self.all[b].id);
        let by_a = self.all[a].core.received(of_b);
        let by_b = self.all[b].core.received(of_a);
        if let (Some(by_a), Some(by_b)) = (by_a, by_b) {
            self.come_up(a, b, session, epoch, false, by_b);
            self.come_up(b, a, session, epoch, false, by_a);
        }
    }

    pub fn part(&mut self, a: P, b: P, session: u64) {
        for (at, peer) in [(a, b), (b, a)] {
            let delay = self.random.scale(1_000, 1_500_000_000);
            self.after(delay, Event::Ended { at, peer, session: Some(session), why: None });
        }
    }

    pub fn side_cut(&mut self, at: P, peer: P, epoch: u64) {
        let side = self.side(at, peer);
        if side.epoch != epoch {
            return;
        }
        side.epoch = 0;
        let id = self.all[peer].id;
        self.all[at].core.disconnected(id);
    }

    /// One side learns that its session is over: the one named, or whatever there is.
    pub fn side_ended(&mut self, at: P, peer: P, session: Option<u64>, why: Option<&'static str>) {
        let side = self.side(at, peer);
        if session.is_some_and(|s| s != side.session) {
            return;
        }
        let had = std::mem::take(&mut side.session) != 0;
        side.epoch = 0;
        // A process that could not be dialled counts as lost, too.
        if had || session == Some(0) {
            self.weather.losses += 1;
            self.weather.parted |= self.all[peer].alive;
        }
        self.say(|| format!("p{at} loses its session with p{peer} ({why:?})"));
        let (id, marks) = (self.all[peer].id, self.marks(at, peer));
        self.call(at, |core, fx| core.ended_session(id, why, &marks, fx));
    }

    /// Start marks of a dead process, as a peer can read them. Those of a live one prove nothing.
    pub fn marks(&mut self, at: P, of: P) -> impl Fn(u32) -> Option<u32> + use<> {
        let chance = self.scenario.faults.marks;
        let readable = !self.link(at, of).tcp && !self.all[of].alive && self.random.percent(chance);
        let marks = self.all[of].marks.clone();
        move |place| readable.then(|| marks.get(&place).copied().unwrap_or(0))
    }

    /// A core wants its session with a peer ended.
    pub fn close(&mut self, at: P, peer: P) {
        self.link(at, peer).epoch = 0;
        let session = std::mem::take(&mut self.side(at, peer).session);
        self.side(at, peer).epoch = 0;
        let delay = self.delay();
        self.after(delay, Event::Ended { at: peer, peer: at, session: Some(session), why: None });
    }

    /// A process has vanished; everybody connected with it notices some time.
    pub fn notice_end(&mut self, dead: P) {
        for q in 0..self.all.len() {
            if q == dead || !self.all[q].alive {
                continue;
            }
            let tcp = self.link(q, dead).tcp;
            let (epoch, session) = (self.link(q, dead).epoch, self.link(q, dead).session);
            // What was on its way may arrive yet.
            let cut = self.random.range(0, 1_000_000);
            if session != 0 {
                self.after(cut, Event::Cut { at: q, peer: dead, epoch });
                let longest = if tcp { 2_000 } else { 5 };
                let ended = cut + self.random.scale(1_000, longest * MILLISECOND);
                self.after(ended, Event::Ended { at: q, peer: dead, session: None, why: None });
            }
            let left = self.random.scale(1_000_000, 6_000_000_000);
            self.after(left, Event::Left(q, dead, true));
        }
    }

    pub fn left(&mut self, p: P, gone: P, dead: bool) {
        let marks = self.marks(p, gone);
        let id = self.all[gone].id;
        self.say(|| format!("p{p} hears that p{gone} {}", if dead { "is dead" } else { "leaves" }));
        if dead {
            if std::mem::take(&mut self.side(p, gone).session) != 0 {
                self.weather.losses += 1;
            }
            self.side(p, gone).epoch = 0;
        } else if self.side(p, gone).epoch == 0 {
            // Without a connection this ends what there is of a session.
            self.side(p, gone).session = 0;
            self.weather.losses += 1;
            self.weather.parted = true;
        }
        self.call(p, |core, fx| core.member_left(id, dead, &marks, fx));
    }
}

fn name_of(message: &Message<'_>) -> &'static str {
    match message {
        Message::Run(_) => "Run",
        Message::Done { .. } => "Done",
        Message::Stored { .. } => "Stored",
        Message::Failed { .. } => "Failed",
        Message::NotStarted { .. } => "NotStarted",
        Message::Missing { .. } => "Missing",
        Message::Recall { .. } => "Recall",
        Message::Cancel { .. } => "Cancel",
        Message::Adopted { .. } => "Adopted",
        Message::Discarded { .. } => "Discarded",
        Message::LeaseRequest { .. } => "LeaseRequest",
        Message::LeaseWithdraw { .. } => "LeaseWithdraw",
        Message::LeaseGrant { .. } => "LeaseGrant",
        Message::LeaseWanted { .. } => "LeaseWanted",
        Message::LeaseReturn { .. } => "LeaseReturn",
        Message::Borrow { .. } => "Borrow",
        Message::Borrowed { known: true, .. } => "Borrowed",
        Message::Borrowed { .. } => "Borrowed of unknown",
        Message::Release { .. } => "Release",
        Message::Want { not_from: Some(_), .. } => "Want again",
        Message::Want { .. } => "Want",
        Message::CancelObject { .. } => "CancelObject",
        Message::Value { .. } => "Value",
        Message::ValueStored { .. } => "ValueStored",
        Message::ValueFailed { .. } => "ValueFailed",
        Message::Free { .. } => "Free",
        Message::Copied { has: true, .. } => "Copied",
        Message::Copied { .. } => "Copy dropped",
        Message::Keep { .. } => "Keep",
        Message::LineOpen { .. } => "LineOpen",
        Message::LineRefused { .. } => "LineRefused",
        Message::LineClosed { .. } => "LineClosed",
        Message::ActorGone { .. } => "ActorGone",
        Message::RunOnce { .. } => "RunOnce",
        Message::RunFrom { .. } => "RunFrom",
        Message::Checkpoint { .. } => "Checkpoint",
        Message::CheckpointKept { .. } => "CheckpointKept",
        Message::Log { .. } => "Log",
    }
}
