//! Where futures run: in a process, beside a value, or elsewhere when that is busy or gone.

use super::help::*;
use crate::control::durable::*;
use crate::control::members::{Capacity, Member, Role};
use crate::id::ProcessId;

fn at(cluster: &Cluster, process: ProcessId, hard: bool) -> Submission {
    Submission { place: Some(Place { process, hard }), ..cluster.call() }
}

fn near(cluster: &Cluster, future: FutureId, hard: bool) -> Submission {
    Submission { near: Some(Near { future, hard }), ..cluster.call() }
}

/// What a worker can claim, which it has then.
async fn claims(cluster: &Cluster, by: ProcessId) -> Vec<FutureId> {
    let claimed = cluster.claim(by, wants(100)).await.unwrap();
    claimed.iter().map(|claimed| claimed.token.id).collect()
}

async fn failure(cluster: &Cluster, id: FutureId) -> Failure {
    match cluster.record(id).await.unwrap().state {
        State::Failed(failed) => failed.failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_placed_future_runs_there_or_elsewhere_when_that_takes_too_long() {
    everywhere(|cluster| async move {
        let (here, there) = (cluster.join(8).await, cluster.join(9).await);
        let soft = cluster.submit_one(at(&cluster, there, false)).await;
        let hard = cluster.submit_one(at(&cluster, there, true)).await;
        assert_eq!(claims(&cluster, here).await, []);
        cluster.ticks(2).await;
        assert_eq!(cluster.run(here).await, soft);
        assert_eq!(claims(&cluster, here).await, []);
        assert_eq!(cluster.run(there).await, hard);
    })
    .await;
}

#[tokio::test]
async fn when_the_process_is_gone_what_prefers_it_runs_anywhere_and_what_must_run_there_fails() {
    everywhere(|cluster| async move {
        let (here, there) = (cluster.join(8).await, cluster.join(9).await);
        let argument = cluster.submit_one(cluster.call()).await;
        let before = [
            cluster.submit_one(at(&cluster, there, false)).await,
            cluster.submit_one(at(&cluster, there, true)).await,
        ];
        let waiting = [
            Submission { futures: vec![argument], ..at(&cluster, there, false) },
            Submission { futures: vec![argument], ..at(&cluster, there, true) },
        ];
        let waiting =
            [cluster.submit_one(waiting[0].clone()).await, cluster.submit_one(waiting[1].clone()).await];
        cluster.bury(there).await;
        // Those that come later are known to be too late.
        let after = [at(&cluster, there, false), at(&cluster, there, true)];
        let dependent = Submission { futures: vec![after[1].id], ..cluster.call() };
        let (last, dependent_id) = (after[0].id, dependent.id);
        let ids = [after[0].id, after[1].id];
        cluster.submit(after.into_iter().chain([dependent]).collect()).await.unwrap();
        let claimed = claims(&cluster, here).await;
        assert!(claimed.contains(&last), "{claimed:?}: at once, and not when somebody has cleared up");
        assert!(matches!(failure(&cluster, ids[1]).await.cause, Cause::PlaceGone { .. }));
        assert_eq!(failure(&cluster, dependent_id).await.passed, ["f"], "submitted together with it");
        cluster.recover(there).await.unwrap();
        assert_eq!(claims(&cluster, here).await, [before[0]]);
        assert!(matches!(failure(&cluster, before[1]).await.cause, Cause::PlaceGone { .. }));
        let token = Token { id: argument, claim: 1 };
        cluster.start(here, vec![token]).await.unwrap();
        cluster.end(here, token, Outcome::Value(vec![])).await;
        assert_eq!(claims(&cluster, here).await, [waiting[0]]);
        assert!(matches!(failure(&cluster, waiting[1]).await.cause, Cause::PlaceGone { .. }));
    })
    .await;
}

#[tokio::test]
async fn a_driver_is_no_place_to_run() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let mut driver: Member = cluster.members.list().await.unwrap().0.remove(0);
        (driver.id, driver.role) = (process(8), Role::Driver);
        cluster.members.register(&driver).await.unwrap();
        let soft = cluster.submit_one(at(&cluster, driver.id, false)).await;
        let hard = cluster.submit_one(at(&cluster, driver.id, true)).await;
        assert_eq!(cluster.run(worker).await, soft);
        assert!(matches!(failure(&cluster, hard).await.cause, Cause::PlaceGone { .. }));
    })
    .await;
}

#[tokio::test]
async fn what_runs_with_a_value_waits_for_it_and_what_prefers_it_does_not() {
    everywhere(|cluster| async move {
        let (here, there) = (cluster.join(8).await, cluster.join(9).await);
        let value = cluster.submit_one(Submission { priority: 1, ..cluster.call() }).await;
        let soft = cluster.submit_one(near(&cluster, value, false)).await;
        let hard = cluster.submit_one(near(&cluster, value, true)).await;
        let argument = Submission { futures: vec![value], ..near(&cluster, value, false) };
        let argument = cluster.submit_one(argument).await;
        let token = cluster.take(there).await.token;
        assert_eq!(token.id, value);
        assert_eq!(claims(&cluster, here).await, [soft]);
        assert_eq!(cluster.stage(hard).await, Stage::Waiting);
        cluster.end(there, token, Outcome::Value(vec![])).await;
        assert_eq!(claims(&cluster, here).await, []);
        let late = cluster.submit_one(near(&cluster, value, false)).await;
        let mut there = claims(&cluster, there).await;
        there.sort();
        assert_eq!(there, [hard, argument, late]);
        // It is not removed before those have ended that may have to look where it is.
        cluster.release(vec![value]).await.unwrap();
        assert_eq!(cluster.stage(value).await, Stage::Realized);
    })
    .await;
}

#[tokio::test]
async fn what_runs_with_a_value_goes_where_it_is_computed_again() {
    everywhere(|cluster| async move {
        let (here, there) = (cluster.join(8).await, cluster.join(9).await);
        let (kept, stored) =
            (cluster.submit_one(cluster.call()).await, cluster.submit_one(cluster.call()).await);
        for _ in 0..2 {
            let token = cluster.take(there).await.token;
            let outcome = if token.id == kept { Outcome::Kept(1 << 20) } else { Outcome::Value(vec![]) };
            cluster.end(there, token, outcome).await;
        }
        let with_kept = cluster.submit_one(near(&cluster, kept, true)).await;
        let with_stored = cluster.submit_one(near(&cluster, stored, true)).await;
        let claimed = cluster.claim(there, wants(1)).await.unwrap().len();
        assert_eq!(claimed, 1, "one is ready and one is claimed when it dies");
        cluster.bury(there).await;
        cluster.recover(there).await.unwrap();
        assert_eq!(cluster.stage(with_kept).await, Stage::Waiting);
        let mut ready = claims(&cluster, here).await;
        ready.sort();
        assert_eq!(ready, [kept, with_stored], "a value in the store is near to everybody");
        let claim = cluster.record(kept).await.unwrap().claims;
        let token = Token { id: kept, claim };
        cluster.start(here, vec![token]).await.unwrap();
        cluster.end(here, token, Outcome::Kept(1 << 20)).await;
        assert_eq!(claims(&cluster, here).await, [with_kept]);
    })
    .await;
}

#[tokio::test]
async fn what_runs_with_a_value_that_is_lost_for_good_fails_with_it() {
    everywhere(|cluster| async move {
        let there = cluster.join(9).await;
        let value = cluster.submit_one(Submission { retries: 0, ..cluster.call() }).await;
        let token = cluster.take(there).await.token;
        cluster.end(there, token, Outcome::Kept(1 << 20)).await;
        let (first, second) =
            (near(&cluster, value, true), Submission { retries: 9, ..near(&cluster, value, true) });
        let dependent = Submission { futures: vec![first.id, second.id], ..cluster.call() };
        let ids = [first.id, second.id, dependent.id];
        cluster.submit(vec![first, second, dependent]).await.unwrap();
        cluster.bury(there).await;
        cluster.recover(there).await.unwrap();
        for id in ids {
            assert!(matches!(failure(&cluster, id).await.cause, Cause::Lost { .. }));
        }
        let late = cluster.submit_one(near(&cluster, value, true)).await;
        assert!(matches!(failure(&cluster, late).await.cause, Cause::Lost { .. }));
        let soft = cluster.submit_one(near(&cluster, value, false)).await;
        assert_eq!(cluster.stage(soft).await, Stage::Unclaimed);
        cluster.ticks(1).await;
        cluster.release(vec![value]).await.unwrap();
        cluster.cancel(soft).await.unwrap();
        cluster.release(vec![value]).await.unwrap();
        let gone = [near(&cluster, value, true), near(&cluster, value, false)];
        let submitted = cluster.submit(gone.to_vec()).await.unwrap();
        assert!(matches!(submitted[0], Err(Refused::NoSuchArgument { .. })));
        assert_eq!(cluster.stage(gone[1].id).await, Stage::Unclaimed);
    })
    .await;
}

#[tokio::test]
async fn what_must_run_where_it_does_not_fit_is_listed() {
    everywhere(|cluster| async move {
        let (here, there) = (cluster.join(8).await, cluster.join(9).await);
        let mut members: Vec<Member> = cluster.members.list().await.unwrap().0;
        let shape = Capacity { gpus: 10_000, ..one_cpu() };
        members.iter_mut().find(|member| member.id == here).unwrap().capacity.gpus = 10_000;
        let example =
            cluster.submit_one(Submission { shape: shape.clone(), ..at(&cluster, there, true) }).await;
        cluster.submit_one(Submission { shape: shape.clone(), ..at(&cluster, there, false) }).await;
        cluster.submit_one(Submission { shape: shape.clone(), ..at(&cluster, here, true) }).await;
        cluster.submit_one(at(&cluster, there, true)).await;
        let closest = Some((there, "has 0 of 1 gpus".into()));
        let expected = Unschedulable { shape, place: Some(there), futures: 1, example, closest };
        cluster.ticks(3).await;
        assert_eq!(cluster.unschedulable(&members).await.unwrap(), [expected]);
    })
    .await;
}

#[tokio::test]
async fn a_record_has_the_lowest_version_that_has_what_is_in_it() {
    everywhere(|cluster| async move {
        let (here, there) = (cluster.join(8).await, cluster.join(9).await);
        let plain = cluster.submit_one(at(&cluster, here, true)).await;
        assert_eq!(cluster.record(plain).await.unwrap().v, 1);
        let near = cluster.submit_one(near(&cluster, plain, false)).await;
        assert_eq!(cluster.record(near).await.unwrap().v, 2);
        cluster.bury(there).await;
        let failed = cluster.submit_one(at(&cluster, there, true)).await;
        assert_eq!(
            cluster.record(failed).await.unwrap().v,
            2,
            "an older program does not know why it failed"
        );
        cluster.run(here).await;
        assert_eq!(cluster.record(plain).await.unwrap().v, 1);
    })
    .await;
}
