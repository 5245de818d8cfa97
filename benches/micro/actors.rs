//! The figures of actors.

use super::figures::{Size, WINDOW, check, children, median_us, per_second, status};
use fdbray::prelude::*;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Actors that are made at once.
const MANY: usize = 10_000;
/// Callers, and actors that they call.
const SOME: usize = 4;
/// Calls that only read, and how long each takes.
const READERS: usize = 64;
const READS: Duration = Duration::from_millis(10);

struct Counter(i64);

#[actor]
impl Counter {
    pub fn new(start: i64) -> Self {
        Counter(start)
    }

    pub fn add(&mut self, k: i64) -> i64 {
        self.0 += k;
        self.0
    }

    pub async fn sleep(&self) -> i64 {
        tokio::time::sleep(READS).await;
        self.0
    }

    pub fn block(&self) -> i64 {
        std::thread::sleep(READS);
        self.0
    }
}

/// Calls all of `actors` in turn, with a window between submitting and awaiting.
#[remote]
async fn call_in_turn(actors: Vec<CounterHandle>, calls: usize) -> fdbray::Result<()> {
    stream_of_calls(&actors, calls).await
}

async fn stream_of_calls(actors: &[CounterHandle], calls: usize) -> fdbray::Result<()> {
    let mut pending: VecDeque<RemoteFuture<i64>> = VecDeque::with_capacity(WINDOW);
    for actor in actors.iter().cycle().take(calls) {
        if pending.len() >= WINDOW {
            for oldest in pending.drain(..WINDOW / 2) {
                oldest.await?;
            }
        }
        pending.push_back(actor.add(1));
    }
    for future in pending {
        future.await?;
    }
    Ok(())
}

/// Median microseconds of a call that is awaited before the next.
pub async fn sync(size: Size) -> fdbray::Result<String> {
    let counter = Counter::remote(0);
    let mut took = Vec::with_capacity(size.rounds);
    for i in 0..(size.rounds + size.rounds / 10) as i64 {
        let started = Instant::now();
        let count = counter.add(1).await?;
        took.push(started.elapsed());
        check(count, i + 1)?;
    }
    Ok(median_us(took.split_off(size.rounds / 10)))
}

/// Calls per second of one caller to one actor.
pub async fn one_to_one(size: Size) -> fdbray::Result<String> {
    let counter = [Counter::remote(0)];
    stream_of_calls(&counter, size.many as usize / 10).await?;
    let started = Instant::now();
    stream_of_calls(&counter, size.many as usize).await?;
    let line = per_second(size.many, started);
    check(counter[0].add(0).await?, size.many + size.many / 10)?;
    Ok(line)
}

/// Calls per second of several callers, each of which calls several actors.
pub async fn several(size: Size) -> fdbray::Result<String> {
    let actors: Vec<_> = (0..SOME).map(|_| Counter::remote(0)).collect();
    let call = |calls: usize| call_in_turn::map((0..SOME).map(|_| (actors.clone(), calls / SOME)));
    for many in [size.many as usize / 10, size.many as usize] {
        let started = Instant::now();
        fdbray::settle(call(many)).await.into_iter().collect::<fdbray::Result<Vec<()>>>()?;
        if many == size.many as usize {
            return Ok(per_second(size.many, started));
        }
    }
    unreachable!("the second round returns")
}

/// Actors per second that are made, called once and dropped.
pub async fn create(size: Size) -> fdbray::Result<String> {
    let many = MANY.min(size.many as usize / 5);
    for _ in 0..2 {
        let started = Instant::now();
        let actors: Vec<_> = (0..many as i64).map(Counter::remote).collect();
        let calls: Vec<_> = actors.iter().map(|actor| actor.add(1)).collect();
        drop(actors);
        let sum: i64 = fdbray::settle(calls).await.into_iter().sum::<fdbray::Result<i64>>()?;
        check(sum, (many * (many + 1) / 2) as i64)?;
        if started.elapsed() > Duration::ZERO {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let started = Instant::now();
    let actors: Vec<_> = (0..many as i64).map(Counter::remote).collect();
    let calls: Vec<_> = actors.iter().map(|actor| actor.add(1)).collect();
    drop(actors);
    fdbray::settle(calls).await.into_iter().collect::<fdbray::Result<Vec<i64>>>()?;
    Ok(per_second(many as i64, started))
}

/// Resident bytes by which the workers grow for each actor that lives in them.
pub async fn bytes(size: Size) -> fdbray::Result<String> {
    let many = MANY.min(size.many as usize / 5);
    let made = async |many: usize| {
        let actors: Vec<_> = (0..many as i64).map(Counter::remote).collect();
        let calls: Vec<_> = actors.iter().map(|actor| actor.add(1)).collect();
        fdbray::settle(calls).await.into_iter().collect::<fdbray::Result<Vec<i64>>>()?;
        Ok::<_, Error>(actors)
    };
    let warm = made(100).await?;
    let resident =
        || -> u64 { children().iter().filter_map(|pid| status(*pid, "VmRSS:")).sum::<u64>() << 10 };
    let before = resident();
    let actors = made(many).await?;
    let after = resident();
    drop((warm, actors));
    Ok(format!("{:.0}", after.saturating_sub(before) as f64 / many as f64))
}

/// How long many calls that only read take together, over how long one takes.
pub async fn together(blocking: bool) -> fdbray::Result<String> {
    let counter = Counter::remote(0);
    let read = || if blocking { counter.block() } else { counter.sleep() };
    let all = async || {
        let calls: Vec<_> = (0..READERS).map(|_| read()).collect();
        fdbray::settle(calls).await.into_iter().collect::<fdbray::Result<Vec<i64>>>()
    };
    all().await?;
    let started = Instant::now();
    all().await?;
    Ok(format!("{:.2}", started.elapsed().as_secs_f64() / READS.as_secs_f64()))
}
