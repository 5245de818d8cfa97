//! The owner's side of leases: queues of tasks by shape, the slots held from workers, and what was sent over them.

use super::Nanos;
use crate::id::ProcessId;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};

/// Numbers left in a lease when it is given up for a new one.
const WORN: u32 = u32::MAX - (1 << 20);

/// The owner's part of a core.
#[derive(Default)]
pub(super) struct Owner {
    queues: Vec<Queue>,
    leases: Vec<Option<Lease>>,
    /// Places of `leases` that are free.
    free: Vec<u32>,
    by_name: FxHashMap<(ProcessId, u32), u32>,
    /// How many of them are lines to actors.
    lines: usize,
    next_request: u32,
}

/// Tasks of one shape that are ready to run, and where they can run.
#[derive(Default)]
pub(super) struct Queue {
    /// Numbers of records. One whose record is not [`super::table::State::Queued`] any more is skipped.
    tasks: VecDeque<u64>,
    /// The same, of tasks that are for one worker.
    placed: BTreeMap<ProcessId, Placed>,
    /// Places of leases for this shape.
    pub leases: Vec<u32>,
    /// Slots asked for and not granted yet.
    pub requests: Vec<Request>,
    /// Since when no worker fits.
    pub unfit_since: Option<Nanos>,
    /// Whether that was logged.
    pub unfit_logged: bool,
    /// How long the queue was, and when, as slots were last asked for.
    pub asked: (usize, Nanos),
    /// When something was last sent or answered.
    pub moved: Nanos,
}

/// Tasks that are for one worker.
#[derive(Default)]
struct Placed {
    tasks: VecDeque<u64>,
    /// Since when it cannot run them.
    unfit_since: Option<Nanos>,
}

/// Of tasks for any worker (`None`), or for one.
impl Queue {
    pub fn push(&mut self, seq: u64, first: bool, place: Option<ProcessId>) {
        let tasks = match place {
            Some(place) => &mut self.placed.entry(place).or_default().tasks,
            None => &mut self.tasks,
        };
        if first { tasks.push_front(seq) } else { tasks.push_back(seq) }
    }

    fn tasks(&self, place: Option<ProcessId>) -> Option<&VecDeque<u64>> {
        match place {
            Some(place) => self.placed.get(&place).map(|placed| &placed.tasks),
            None => Some(&self.tasks),
        }
    }

    pub fn front(&self, place: Option<ProcessId>) -> Option<u64> {
        self.tasks(place)?.front().copied()
    }

    pub fn waiting(&self, place: Option<ProcessId>) -> usize {
        self.tasks(place).map_or(0, VecDeque::len)
    }

    pub fn pop(&mut self, place: Option<ProcessId>) {
        let Some(place) = place else {
            self.tasks.pop_front();
            return;
        };
        if let Some(placed) = self.placed.get_mut(&place) {
            placed.tasks.pop_front();
            if placed.tasks.is_empty() {
                self.placed.remove(&place);
            }
        }
    }

    /// The workers that tasks are for.
    pub fn places(&self) -> Vec<ProcessId> {
        self.placed.keys().copied().collect()
    }

    /// All tasks.
    pub fn len(&self) -> usize {
        self.tasks.len() + self.placed.values().map(|placed| placed.tasks.len()).sum::<usize>()
    }

    /// Takes all tasks out.
    pub fn drain(&mut self, place: Option<ProcessId>) -> VecDeque<u64> {
        match place {
            Some(place) => self.placed.remove(&place).map(|placed| placed.tasks).unwrap_or_default(),
            None => std::mem::take(&mut self.tasks),
        }
    }

    /// Since when the worker cannot run what is for it.
    pub fn unfit_since(&self, place: ProcessId) -> Option<Nanos> {
        self.placed.get(&place)?.unfit_since
    }

    pub fn set_unfit(&mut self, place: ProcessId, since: Option<Nanos>) {
        if let Some(placed) = self.placed.get_mut(&place) {
            placed.unfit_since = since;
        }
    }
}

/// Slots asked for and not granted yet.
pub(super) struct Request {
    pub request: u32,
    pub peer: ProcessId,
    pub slots: u32,
    /// When.
    pub at: Nanos,
}

/// What a worker calls a lease.
pub(super) struct LeaseName {
    pub lease: u32,
    pub mark: u32,
    /// It was granted before.
    pub more: bool,
}

/// Slots that a worker granted to this process.
pub(super) struct Lease {
    pub peer: ProcessId,
    /// The worker's number of it.
    pub id: u32,
    /// Of a line to an actor it means nothing.
    pub shape: u32,
    /// The line, if calls of an actor go over it.
    pub line: Option<u32>,
    pub slots: u32,
    /// Where in the worker's start marks it is found.
    pub mark: u32,
    pub in_flight: u32,
    /// Bytes of arguments in flight.
    pub bytes: u64,
    /// Tasks in flight that may have killed a worker.
    pub suspects: u32,
    /// An answer to [`Message::Recall`] is awaited.
    pub recalling: bool,
    pub idle_since: Option<Nanos>,
    /// When it last answered, or was given something while it had nothing.
    pub moved: Nanos,
    /// What was sent ahead waits behind something long: nothing more is, until that has ended.
    pub stalled: bool,
    /// The most in flight since a while ago.
    busiest: (u32, Nanos),
    next: u32,
    /// What was sent, by number from `next - sent.len()`; zero for what has been answered.
    sent: VecDeque<u64>,
    /// What was sent long before everything in `sent`.
    stragglers: BTreeMap<u32, u64>,
}

impl Lease {
    pub fn new(peer: ProcessId, name: LeaseName, shape: u32, slots: u32, now: Nanos) -> Self {
        Lease {
            peer,
            id: name.lease,
            shape,
            line: None,
            slots,
            mark: name.mark,
            in_flight: 0,
            bytes: 0,
            suspects: 0,
            recalling: false,
            idle_since: Some(now),
            moved: now,
            stalled: false,
            busiest: (0, now),
            next: 1,
            sent: VecDeque::new(),
            stragglers: BTreeMap::new(),
        }
    }

    /// For calls of an actor.
    pub fn over_line(peer: ProcessId, name: LeaseName, line: u32, now: Nanos) -> Self {
        Lease { line: Some(line), ..Lease::new(peer, name, u32::MAX, 1, now) }
    }

    /// Accounts for one task more and numbers it.
    pub fn add(&mut self, seq: u64, bytes: u64, suspect: bool) -> u32 {
        let number = self.next;
        self.next += 1;
        self.sent.push_back(seq);
        self.in_flight += 1;
        self.bytes += bytes;
        self.suspects += u32::from(suspect);
        self.idle_since = None;
        self.busiest.0 = self.busiest.0.max(self.in_flight);
        if self.sent.len() > 4096 && self.sent.len() > 4 * self.in_flight as usize {
            self.set_stragglers_aside();
        }
        number
    }

    /// The record that `number` stands for, if it was not answered before.
    pub fn answered(&mut self, number: u32) -> Option<u64> {
        let first = self.next - self.sent.len() as u32;
        let seq = match number.checked_sub(first) {
            Some(at) => self.sent.get_mut(at as usize).map(std::mem::take).filter(|seq| *seq != 0)?,
            None => self.stragglers.remove(&number)?,
        };
        while self.sent.front() == Some(&0) {
            self.sent.pop_front();
        }
        self.in_flight -= 1;
        Some(seq)
    }

    /// Everything in flight, with its number, in the order sent.
    pub fn in_flight(&self) -> Vec<(u32, u64)> {
        let first = self.next - self.sent.len() as u32;
        let recent = self.sent.iter().enumerate().map(|(i, seq)| (first + i as u32, *seq));
        let old = self.stragglers.iter().map(|(number, seq)| (*number, *seq));
        old.chain(recent).filter(|(_, seq)| *seq != 0).collect()
    }

    /// Slots that were not used for `period`; from now on another period is watched.
    pub fn unused(&mut self, now: Nanos, period: Nanos) -> u32 {
        if now - self.busiest.1 < period {
            return 0;
        }
        let (busiest, _) = std::mem::replace(&mut self.busiest, (self.in_flight, now));
        self.slots.saturating_sub(busiest)
    }

    /// Whether so many tasks went over it that its numbers run out.
    pub fn is_worn(&self) -> bool {
        self.next > WORN
    }

    /// A few tasks that take very long must not keep the numbers of all later ones in memory.
    fn set_stragglers_aside(&mut self) {
        let mut number = self.next - self.sent.len() as u32;
        while self.sent.len() > 2 * self.in_flight as usize {
            match self.sent.pop_front() {
                Some(0) => {}
                Some(seq) => {
                    self.stragglers.insert(number, seq);
                }
                None => break,
            }
            number += 1;
        }
    }
}

impl Owner {
    pub fn queue(&mut self, shape: u32) -> &mut Queue {
        let need = shape as usize + 1;
        if self.queues.len() < need {
            self.queues.resize_with(need, Queue::default);
        }
        &mut self.queues[shape as usize]
    }

    /// Tasks of a shape that are for one worker.
    pub fn waiting_for(&self, shape: u32, place: ProcessId) -> usize {
        self.queues.get(shape as usize).map_or(0, |queue| queue.waiting(Some(place)))
    }

    /// Places of the leases for a shape.
    pub fn leases_of(&self, shape: u32) -> impl Iterator<Item = u32> {
        self.queues.get(shape as usize).into_iter().flat_map(|queue| queue.leases.iter().copied())
    }

    pub fn queues(&self) -> u32 {
        self.queues.len() as u32
    }

    pub fn lease(&mut self, place: u32) -> Option<&mut Lease> {
        self.leases.get_mut(place as usize)?.as_mut()
    }

    pub fn lease_ref(&self, place: u32) -> Option<&Lease> {
        self.leases.get(place as usize)?.as_ref()
    }

    pub fn place_of(&self, peer: ProcessId, id: u32) -> Option<u32> {
        self.by_name.get(&(peer, id)).copied()
    }

    pub fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (shape, queue) in self.queues.iter().enumerate() {
            let asked: Vec<_> = queue.requests.iter().map(|r| (r.peer, r.slots)).collect();
            write!(f, "\n  shape {shape}: {} queued, slots asked for {asked:?}", queue.len())?;
        }
        for lease in self.leases.iter().flatten() {
            let Lease { peer, id, shape, slots, in_flight, recalling, suspects, .. } = lease;
            write!(f, "\n  lease {id} of {peer} for shape {shape}: {slots} slots, {in_flight} in flight")?;
            write!(
                f,
                ", {suspects} suspects, next {}{}",
                lease.next,
                if *recalling { ", recalling" } else { "" }
            )?;
        }
        Ok(())
    }

    pub fn anything_queued(&self) -> bool {
        self.queues.iter().any(|q| q.len() > 0)
    }

    pub fn leases_held(&self) -> usize {
        self.by_name.len()
    }

    /// Leases that end some time after they were last used.
    pub fn leases_that_end(&self) -> usize {
        self.by_name.len() - self.lines
    }

    /// Places of all leases.
    pub fn places(&self) -> Vec<u32> {
        (0..self.leases.len() as u32).filter(|p| self.lease_ref(*p).is_some()).collect()
    }

    pub fn next_request(&mut self) -> u32 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    pub fn add(&mut self, lease: Lease) -> u32 {
        let shape = lease.shape;
        let place = self.enter(lease);
        self.queue(shape).leases.push(place);
        place
    }

    /// Adds one over which calls of an actor go.
    pub fn add_line(&mut self, lease: Lease) -> u32 {
        self.lines += 1;
        self.enter(lease)
    }

    fn enter(&mut self, lease: Lease) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.leases.push(None);
            self.leases.len() as u32 - 1
        });
        self.by_name.insert((lease.peer, lease.id), place);
        self.leases[place as usize] = Some(lease);
        place
    }

    pub fn remove(&mut self, place: u32) -> Option<Lease> {
        let lease = self.leases.get_mut(place as usize)?.take()?;
        self.free.push(place);
        self.by_name.remove(&(lease.peer, lease.id));
        if lease.line.is_some() {
            self.lines -= 1;
        } else {
            self.queue(lease.shape).leases.retain(|p| *p != place);
        }
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let name = LeaseName { lease: 1, mark: 0, more: false };
        Lease::new(ProcessId::new(1).unwrap(), name, 0, 1, 0)
    }

    #[test]
    fn an_answer_counts_once_and_names_its_record() {
        let mut lease = lease();
        let numbers: Vec<u32> = (10..15).map(|seq| lease.add(seq, 1, false)).collect();
        assert_eq!(lease.answered(numbers[1]), Some(11));
        assert_eq!(lease.answered(numbers[1]), None);
        assert_eq!(lease.answered(99), None);
        assert_eq!(lease.in_flight(), [(1, 10), (3, 12), (4, 13), (5, 14)]);
    }

    #[test]
    fn a_straggler_does_not_keep_all_later_numbers() {
        let mut lease = lease();
        let slow = lease.add(7, 1, false);
        for seq in 100..100_000 {
            let number = lease.add(seq, 1, false);
            assert_eq!(lease.answered(number), Some(seq));
        }
        assert!(lease.sent.len() <= 4097, "{}", lease.sent.len());
        assert_eq!(lease.in_flight(), [(slow, 7)]);
        assert_eq!(lease.answered(slow), Some(7));
        assert_eq!((lease.in_flight, lease.answered(slow)), (0, None));
    }
}
