//! What the processes of a storm do: workers work, drivers submit and wait, and all do chores.

use super::super::help::*;
use super::{World, pause, poll_once};
use crate::control::durable::*;
use crate::id::ProcessId;
use std::collections::BTreeSet;
use std::pin::pin;

/// What a worker does until it dies.
pub(super) async fn work(world: &World, me: ProcessId) -> Result<(), DurableError> {
    let cluster = &world.cluster;
    let mut given_back = Vec::new();
    loop {
        chores(world).await?;
        let wants = Wants { start: world.below(4), nonce: world.next(), ..wants(1 + world.below(6)) };
        let claimed = cluster.claim(me, wants).await?;
        let mut outcomes = Vec::new();
        for Claimed { token, attempt, record } in claimed {
            if attempt.is_none() && world.one_of(10) {
                cluster.give_back(me, vec![(token, vec![])]).await?;
                given_back.push(token);
                continue;
            }
            let missing = arguments(world, &record).await?;
            if !missing.is_empty() && attempt.is_none() {
                cluster.give_back(me, vec![(token, missing)]).await?;
                continue;
            }
            let attempt = match attempt {
                Some(attempt) => attempt,
                None => match cluster.start(me, vec![token]).await?[0] {
                    Some(attempt) => attempt,
                    None => continue,
                },
            };
            assert!(world.log.borrow_mut().attempts.insert((token.id, attempt)), "{token:?} ran twice");
            assert_eq!(cluster.arguments(token.id).await.unwrap_or_else(|_| vec![7]).first(), Some(&7));
            outcomes.push((token, outcome(world, me, token, attempt, &record).await?));
            if world.one_of(3) {
                complete(world, me, std::mem::take(&mut outcomes)).await?;
            }
        }
        complete(world, me, outcomes).await?;
        if let Some(token) = given_back.first().copied().filter(|_| world.one_of(3)) {
            // A thread of it that has not heard.
            given_back.remove(0);
            world.count("stale");
            assert_eq!(cluster.start(me, vec![token]).await?, [None]);
            let completed = cluster.complete(me, vec![(token, Outcome::Value(vec![]))]).await?;
            assert_ne!(completed, [Completed::Settled]);
            cluster.give_back(me, vec![(token, vec![])]).await?;
        }
        cluster.try_notices(me).await?;
        pause().await;
    }
}

/// Whoever is declared dead completes nothing, whether or not somebody has taken its work.
async fn complete(world: &World, me: ProcessId, outcomes: Vec<(Token, Outcome)>) -> Result<(), DurableError> {
    let dead = world.log.borrow().buried.contains(&me) && !outcomes.is_empty();
    let completed = world.cluster.complete(me, outcomes).await?;
    assert!(!dead, "{completed:?} by a process that was declared dead before");
    Ok(())
}

/// What an attempt comes to. Every value names the attempt, so that two that both won would be seen.
async fn outcome(
    world: &World,
    me: ProcessId,
    token: Token,
    attempt: u32,
    record: &Record,
) -> Result<Outcome, DurableError> {
    let mut value = format!("{token:?} {me} {attempt}").into_bytes();
    if !world.calm.get() && world.one_of(8) {
        world.count("errors");
        return Ok(Outcome::Error(Failure::error("bad luck".into(), value)));
    }
    if record.spec.durable_value {
        value.resize(100_000, 7);
        match world.cluster.write_value(me, token, &value).await {
            Ok(()) => {}
            // It was taken from us meanwhile; so it will be said of the outcome.
            Err(DurableError::Stale(_)) => {}
            Err(error) => return Err(error),
        }
        world.count("chunks");
        return Ok(Outcome::Chunks(value.len() as u64));
    }
    if !world.calm.get() && world.one_of(4) {
        world.count("kept");
        return Ok(Outcome::Kept(1 << 20));
    }
    world.count("values");
    Ok(Outcome::Value(value))
}

/// Looks at the arguments of a claimed future. Returns those that are lost, which it has said.
async fn arguments(world: &World, record: &Record) -> Result<Vec<FutureId>, DurableError> {
    let mut missing = Vec::new();
    for argument in world.cluster.records(record.spec.futures.clone()).await? {
        let Some(argument) = argument else { continue };
        match &argument.state {
            State::Realized(realized) if matches!(realized.value, Value::Kept(_)) => {
                if world.log.borrow().dead.contains(&realized.by) {
                    // Who claimed it may not know yet that it was cancelled, and its argument removed.
                    let lost = world.cluster.lost(argument.id, realized.by).await.map(drop);
                    lost.or_else(gone)?;
                    world.count("lost");
                    missing.push(argument.id);
                }
            }
            State::Realized(_) => world.see(&argument, None),
            // Somebody else found it lost.
            _ => missing.push(argument.id),
        }
    }
    Ok(missing)
}

/// What a driver does, until it is calm and it has heard of everything.
pub(super) async fn drive(world: &World, me: ProcessId) -> Result<(), DurableError> {
    let cluster = &world.cluster;
    let (mut waiting, mut handled, mut seq) = (BTreeSet::new(), None, 0);
    while !world.calm.get() || !waiting.is_empty() {
        chores(world).await?;
        if !world.calm.get() {
            let mut batch = Vec::new();
            for _ in 0..world.below(6) {
                seq += 1;
                batch.push(call(world, me, seq, &batch));
            }
            for call in &batch {
                world.log.borrow_mut().submitted.insert(call.id, call.clone());
            }
            for (call, submitted) in batch.iter().zip(cluster.submit(batch.clone()).await?) {
                match submitted {
                    Ok(Submitted::New(id)) if call.waiter.is_some() => drop(waiting.insert(id)),
                    Ok(Submitted::New(_)) => {}
                    Ok(Submitted::Existing(id)) => {
                        world.count("existing");
                        attach(world, me, id, &mut waiting).await?;
                    }
                    Err(Refused::KeyTaken { .. } | Refused::NoSuchArgument { .. }) => {}
                    Err(refused) => panic!("{refused}"),
                }
            }
            if world.one_of(4)
                && let Some(id) = world.any_future()
            {
                attach(world, me, id, &mut waiting).await?;
            }
            if world.one_of(15)
                && let Some(id) = world.any_future()
            {
                match cluster.cancel(id).await {
                    Ok(_) => world.count("cancelled"),
                    Err(error) => drop(gone(error)),
                }
            }
            if world.one_of(5)
                && let Some(id) = world.any_future()
            {
                cluster.release(vec![id]).await?;
            }
        }
        let mail = cluster.mail(me, handled.clone()).await?;
        for notice in &mail.notices {
            let Notice::Settled(id) = notice else { panic!("a driver claims nothing") };
            world.count("notices");
            waiting.remove(id);
            match cluster.record(*id).await {
                Ok(record) => world.see(&record, cluster.value(*id).await.unwrap_or_default()),
                Err(error) => gone(error)?,
            }
        }
        handled = mail.handled;
        if let Some(handled) = handled.clone()
            && world.one_of(3)
        {
            cluster.clear_mail(me, handled).await?;
        }
        if mail.notices.is_empty() && (world.calm.get() || world.one_of(2)) && !waiting.is_empty() {
            // Nothing but the bell wakes it, unless it has something else to do.
            let mut watch = pin!(mail.watch);
            while !poll_once(&mut watch).await && world.calm.get() {
                // Its beats would tell.
                if world.log.borrow().dead.contains(&me) {
                    break;
                }
                chores(world).await?;
                pause().await;
            }
        }
        pause().await;
    }
    Ok(())
}

async fn attach(
    world: &World,
    me: ProcessId,
    id: FutureId,
    waiting: &mut BTreeSet<FutureId>,
) -> Result<(), DurableError> {
    match world.cluster.attach_one(Target::Id(id), me, None).await {
        Ok(record) if !record.settled() => drop(waiting.insert(id)),
        Ok(record) => world.see(&record, None),
        Err(error) => gone(error)?,
    }
    Ok(())
}

/// A call like any other.
fn call(world: &World, me: ProcessId, seq: u64, batch: &[Submission]) -> Submission {
    let mut futures: Vec<FutureId> = (0..world.below(4)).filter_map(|_| world.any_future()).collect();
    futures.extend(batch.last().filter(|_| world.one_of(3)).map(|call| call.id));
    let len = if world.one_of(12) { 100_000 } else { 10 };
    let key = world.one_of(6).then(|| format!("key {}", world.below(20)));
    Submission {
        function: ["f", "g", "h"][world.below(3)].into(),
        priority: world.below(3) as i32 - 1,
        place: world.one_of(8).then(|| Place { process: world.any_worker(), hard: world.one_of(2) }),
        near: world
            .any_future()
            .filter(|_| world.one_of(6))
            .map(|future| Near { future, hard: world.one_of(2) }),
        futures: if key.is_some() { Vec::new() } else { futures },
        retries: world.below(4) as u32,
        retry_errors: world.below(3) as u32,
        deadline: world.one_of(10).then(|| world.below(100) as u64),
        retention: [Retention::Ticks(30), Retention::default(), Retention::Forever][world.below(3)],
        durable_value: world.one_of(8),
        waiter: (!world.one_of(4)).then_some(me),
        key,
        ..Submission::new(FutureId::new(me, seq), "f", SIGNATURE, vec![7; len])
    }
}

/// What any process does now and then.
async fn chores(world: &World) -> Result<(), DurableError> {
    let cluster = &world.cluster;
    if world.one_of(8) {
        let now = cluster.now().await?;
        if cluster.tick(now).await?.moved {
            cluster.sweep().await?;
        }
    }
    if world.one_of(10) {
        for dead in cluster.left_behind().await? {
            cluster.recover(dead).await?;
        }
    }
    if world.one_of(50) {
        cluster.forget_shapes().await?;
    }
    Ok(())
}

/// Futures go when they are released.
fn gone(error: DurableError) -> Result<(), DurableError> {
    match error {
        DurableError::NoSuchFuture(_) => Ok(()),
        error => Err(error),
    }
}
