//! What the path of durable futures writes, for the bare loops: the same keys, values as long, as many to a transaction.
//!
//! A future is written in three transactions, and the word of its end is removed in a fourth:
//!
//! | transaction | sets | clears |
//! |---|---|---|
//! | submit | its record, its place in the index of what is ready | |
//! | claim | its record, the claim | its place in the index |
//! | complete | its record, the timer of its retention; once: an entry in the waiter's inbox, the bell | the claim |
//! | read mail | | once: the entry in the inbox |
//!
//! How many futures share a transaction is what the system did in the same run: the commits of all its processes
//! (on LMDB real ones, which several transactions may share) through the futures, times four. Keys are made of the same
//! elements as the system's (see `control/durable`), so that they are as long and fall into the same places of the
//! tree. Records are as long as it takes for a future's bytes to come to what the system wrote for it.

use fdbray_worker::control::store::Key;

/// What all processes wrote for a number of futures, as the store layer counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub futures: u64,
    pub commits: u64,
    pub sets: u64,
    pub clears: u64,
    pub bytes: u64,
}

/// One change.
pub enum Write {
    Set(Vec<u8>, Vec<u8>),
    Clear(Vec<u8>),
}

/// A transaction: what it reads, key by key, and what it writes.
#[derive(Default)]
pub struct Transaction {
    pub reads: Vec<Vec<u8>>,
    pub writes: Vec<Write>,
}

/// The transactions of a batch of futures, in their order: submit, claim, complete, read mail.
pub type Batch = [Transaction; 4];

/// How to write as the system did.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Futures that share a transaction.
    pub together: usize,
    /// The length of a record.
    record: usize,
}

/// Ids like those of processes: random numbers.
const DRIVER: u64 = 0xf2b9_31d4_8856_a07c;
const WORKER: u64 = 0x3c51_9e0b_71d2_44aa;
/// The number of a shape and of a function.
const SHAPE: u64 = 0x9d3f_04c8_5be1_7720;
const KIND: u64 = 0x61a7_c2f5_0e94_38bd;
/// Seven days of ticks.
const EXPIRY: u64 = 7 * 24 * 3600;

impl Plan {
    pub fn of(counted: &Counted) -> Self {
        let together = 4.0 * counted.futures as f64 / counted.commits.max(1) as f64;
        let mut plan = Plan { together: (together.round() as usize).max(1), record: 0 };
        let without: usize = plan.batch(0, plan.together).iter().map(Transaction::bytes).sum();
        let each = counted.bytes as f64 / counted.futures as f64 - without as f64 / plan.together as f64;
        plan.record = (each / 3.0).round().max(1.0) as usize;
        plan
    }

    /// For one future at a time.
    pub fn alone(counted: &Counted) -> Self {
        Plan { together: 1, ..Plan::of(counted) }
    }

    /// The batches for so many futures.
    pub fn batches(&self, futures: usize) -> Vec<Batch> {
        (0..futures)
            .step_by(self.together)
            .map(|first| self.batch(first as u64, self.together.min(futures - first)))
            .collect()
    }

    fn batch(&self, first: u64, futures: usize) -> Batch {
        let mut batch: Batch = Default::default();
        let root = |kind| Key::new().str("fdbray").str("bench").str("durable").str(kind);
        let [submit, claim, complete, mail] = &mut batch;
        for n in first + 1..=first + futures as u64 {
            let of = |key: Key| Vec::from(key.u64(DRIVER).u64(n));
            let record = of(root("future"));
            let ready = of(root("ready").u64(SHAPE).u64(0).i64(0).u64(KIND).u64((DRIVER ^ n) % 16).u64(1));
            let claimed = of(root("claim").u64(WORKER));
            let timer = of(root("timer").u64(EXPIRY).u64(2));
            for transaction in [&mut *submit, &mut *claim, &mut *complete] {
                transaction.reads.push(record.clone());
                transaction.writes.push(Write::Set(record.clone(), vec![7; self.record]));
            }
            submit.writes.push(Write::Set(ready.clone(), Vec::new()));
            claim.writes.push(Write::Clear(ready));
            claim.writes.push(Write::Set(claimed.clone(), vec![7; 8]));
            complete.writes.push(Write::Clear(claimed));
            complete.writes.push(Write::Set(timer, Vec::new()));
        }
        // A notice names its future in 20 bytes or so.
        let entry = Vec::from(root("inbox").u64(DRIVER).u64(first));
        complete.writes.push(Write::Set(entry.clone(), vec![7; 20 * futures]));
        complete.writes.push(Write::Set(root("bell").u64(DRIVER).into(), vec![7; 8]));
        mail.reads.push(entry.clone());
        mail.writes.push(Write::Clear(entry));
        batch
    }
}

impl Transaction {
    fn bytes(&self) -> usize {
        let sets = self.writes.iter().map(|write| match write {
            Write::Set(key, value) => key.len() + value.len(),
            Write::Clear(_) => 0,
        });
        sets.sum()
    }
}
