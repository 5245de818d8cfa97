//! Submitting, claiming, starting, completing, giving back: one step after the other.

use super::help::*;
use crate::control::durable::*;
use crate::registry::function_hash;
use std::{collections::BTreeSet, sync::Arc};

#[tokio::test]
async fn a_future_goes_from_submission_to_its_value() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let id = cluster.submit_one(cluster.call()).await;
        assert_eq!(cluster.stage(id).await, Stage::Unclaimed);
        let claimed = cluster.claim(worker, wants(5)).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].token, claimed[0].attempt), (Token { id, claim: 1 }, None));
        assert_eq!(claimed[0].record.spec.arguments, Arguments::Inline(vec![1, 2, 3]));
        assert_eq!(cluster.start(worker, vec![claimed[0].token]).await.unwrap(), [Some(1)]);
        let ended = cluster.end(worker, claimed[0].token, Outcome::Value(b"six".to_vec())).await;
        assert_eq!(ended, Completed::Settled);
        assert_eq!(cluster.value(id).await.unwrap(), Some(b"six".to_vec()));
        assert!(cluster.claim(worker, wants(5)).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn submitting_the_same_ids_again_is_as_once() {
    everywhere(|cluster| async move {
        let calls = vec![cluster.call(), cluster.call()];
        let first = cluster.submit(calls.clone()).await.unwrap();
        assert_eq!(cluster.submit(calls).await.unwrap(), first);
        assert_eq!(cluster.checked().await.count(Stage::Unclaimed), 2);
    })
    .await;
}

#[tokio::test]
async fn a_key_has_one_future_and_refuses_another_call() {
    everywhere(|cluster| async move {
        let keyed = |arguments: &[u8]| Submission {
            key: Some("invoice-2026-11".into()),
            arguments: arguments.to_vec(),
            ..cluster.call()
        };
        let first = cluster.submit_one(keyed(b"a")).await;
        let again = cluster.submit(vec![keyed(b"a")]).await.unwrap();
        assert_eq!(again, [Ok(Submitted::Existing(first))]);
        let other =
            cluster.submit(vec![keyed(b"b"), Submission { function: "g".into(), ..keyed(b"a") }]).await;
        let messages: Vec<_> = other.unwrap().into_iter().map(|r| r.unwrap_err().to_string()).collect();
        assert!(messages[0].contains("other arguments"), "{}", messages[0]);
        assert!(messages[1].contains("call of `f`"), "{}", messages[1]);
        let large = vec![7; INLINE_ARGUMENTS + 1];
        let second = Submission { key: Some("large".into()), arguments: large.clone(), ..cluster.call() };
        cluster.join(1).await;
        let id = cluster.submit_one(second.clone()).await;
        let again = Submission { id: cluster.call().id, ..second };
        assert_eq!(cluster.submit_one(again).await, id);
        assert_eq!(cluster.arguments(id).await.unwrap(), large);
        for bad in ["", "a\0b", "d0000000000000abc-4d", &"x".repeat(257)] {
            let call = Submission { key: Some(bad.into()), ..cluster.call() };
            assert!(matches!(cluster.submit(vec![call]).await.unwrap()[0], Err(Refused::BadKey { .. })));
        }
        // One that refers to it by its own name means the one that there was.
        let alias = keyed(b"a");
        let dependent = Submission {
            futures: vec![alias.id],
            near: Some(Near { future: alias.id, hard: false }),
            ..cluster.call()
        };
        let submitted = cluster.submit(vec![alias, dependent]).await.unwrap();
        let dependent = cluster.record(submitted[1].clone().unwrap().id()).await.unwrap();
        assert_eq!(dependent.spec.needs(), [first]);
        // In one batch too, and free again once it is released.
        let pair =
            cluster.submit(vec![Submission { key: Some("k".into()), ..cluster.call() }; 1]).await.unwrap();
        let id = pair[0].clone().unwrap().id();
        assert!(cluster.cancel(id).await.unwrap());
        cluster.release(vec![id]).await.unwrap();
        let twice: Vec<_> = (0..2).map(|_| Submission { key: Some("k".into()), ..cluster.call() }).collect();
        let submitted = cluster.submit(twice).await.unwrap();
        assert_eq!(submitted[0].clone().unwrap().id(), submitted[1].clone().unwrap().id());
    })
    .await;
}

#[tokio::test]
async fn the_highest_priority_is_claimed_first_and_what_a_worker_lacks_is_passed_over() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let mut calls = Vec::new();
        for n in 0..60 {
            let priority = n % 3 - 1;
            calls.push(Submission { priority, ..cluster.call() });
            calls.push(Submission { priority, function: "g".into(), ..cluster.call() });
            calls.push(Submission { priority: 50, function: "unknown".into(), ..cluster.call() });
        }
        cluster.submit(calls).await.unwrap();
        let mut order = Vec::new();
        loop {
            let claimed = cluster.claim(worker, wants(7)).await.unwrap();
            order.extend(claimed.iter().map(|claimed| claimed.record.spec.priority));
            if claimed.is_empty() {
                break;
            }
        }
        assert_eq!(order.len(), 120);
        assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
        let other_shape = Wants { shapes: vec![(ShapeId(1), Room { all: 5, slow: 5, now: 5 })], ..wants(5) };
        assert!(cluster.claim(worker, other_shape).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_worker_claims_ahead_only_what_it_knows_to_be_quick() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let mut calls = Vec::new();
        for n in 0..40 {
            let function = if n % 2 == 0 { "f" } else { "g" };
            calls.push(Submission { priority: n / 20, function: function.into(), ..cluster.call() });
        }
        cluster.submit(calls).await.unwrap();
        let quick = Arc::new(BTreeSet::from([function_hash("g", SIGNATURE)]));
        let claim = |all, slow| {
            let shapes = vec![(ShapeId::of(&one_cpu()), Room { all, slow, now: all })];
            cluster.claim(worker, Wants { shapes, quick: quick.clone(), ..wants(all) })
        };
        let count = |claimed: &[Claimed], name: &str| {
            claimed.iter().filter(|claimed| claimed.record.spec.function == name).count()
        };
        let claimed = claim(15, 2).await.unwrap();
        assert_eq!((claimed.len(), count(&claimed, "f")), (15, 2));
        // What is slow keeps what is quick and of a lower priority waiting for nothing.
        let claimed = claim(100, 0).await.unwrap();
        assert_eq!((claimed.len(), count(&claimed, "g")), (7, 7));
        assert_eq!(claim(100, 100).await.unwrap().len(), 18);
    })
    .await;
}

#[tokio::test]
async fn of_equal_calls_no_function_is_always_claimed_first() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let call = |function: &str| Submission { function: function.into(), ..cluster.call() };
        // So few that they are seen at once, and then more.
        for more in [0, 10] {
            let calls = ["f", "g"].map(call).into_iter().chain((0..more).map(|_| call("g")));
            cluster.submit(calls.collect()).await.unwrap();
            let mut first = BTreeSet::new();
            for nonce in 1..=2 {
                let claimed = cluster.claim(worker, Wants { nonce, ..wants(1) }).await.unwrap();
                first.insert(claimed[0].record.spec.function.clone());
                cluster.give_back(worker, vec![(claimed[0].token, vec![])]).await.unwrap();
            }
            assert_eq!(first.len(), 2, "{first:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_claim_says_whether_it_left_something_for_lack_of_room() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let quick = Arc::new(BTreeSet::from([function_hash("g", SIGNATURE)]));
        let claim = async |slow, suspects| {
            let shapes = vec![(ShapeId::of(&one_cpu()), Room { all: 100, slow, now: 100 })];
            let wants = Wants { shapes, suspects, quick: quick.clone(), ..wants(100) };
            let held_back = wants.held_back.clone();
            let claimed = cluster.claim(worker, wants).await.unwrap();
            (claimed.len(), held_back.load(std::sync::atomic::Ordering::Relaxed))
        };
        // So few that they are seen at once; of one function; of more priorities than one claim looks at.
        for (calls, priorities) in [(2, 1), (40, 1), (70, 70)] {
            let call = |n| Submission { priority: n % priorities, ..cluster.call() };
            cluster.submit((0..calls).map(call).collect()).await.unwrap();
            assert_eq!(claim(0, 0).await, (0, true), "{calls} calls, none of which is known to be quick");
            assert_eq!(claim(1, 0).await, (1, true));
            let (some, left) = claim(100, 0).await;
            assert_eq!((some as i32 == calls - 1, left), (priorities == 1, priorities > 1));
            assert_eq!(claim(100, 0).await.0 + some, calls as usize - 1);
            assert_eq!(claim(100, 0).await, (0, false));
        }
        let dead = cluster.join(8).await;
        cluster.submit(vec![cluster.call(), cluster.call()]).await.unwrap();
        cluster.claim(dead, Wants { start: 2, ..wants(2) }).await.unwrap();
        cluster.bury(dead).await;
        cluster.recover(dead).await.unwrap();
        assert_eq!(claim(100, 1).await, (1, true), "they may have killed it, and come one by one");
        assert_eq!(claim(100, 1).await, (1, false));
    })
    .await;
}

#[tokio::test]
async fn an_error_is_tried_again_as_often_as_asked_for_with_growing_pauses() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let id = cluster.submit_one(Submission { retry_errors: 2, ..cluster.call() }).await;
        let error = || Outcome::Error(Failure::error("no luck".into(), vec![1]));
        let token = cluster.take(worker).await.token;
        assert_eq!(cluster.end(worker, token, error()).await, Completed::Retried);
        assert_eq!(cluster.record(id).await.unwrap().last_error.unwrap().to_string(), "no luck");
        let token = cluster.take(worker).await.token;
        assert_eq!(cluster.end(worker, token, error()).await, Completed::Retried);
        assert!(cluster.claim(worker, wants(1)).await.unwrap().is_empty(), "it pauses");
        cluster.checked().await;
        cluster.ticks(2).await;
        let token = cluster.take(worker).await.token;
        assert_eq!(cluster.end(worker, token, error()).await, Completed::Settled);
        let State::Failed(failed) = cluster.record(id).await.unwrap().state else { panic!("it has a value") };
        assert_eq!((failed.failure.to_string(), failed.attempt), ("no luck".into(), Some(3)));
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_claimer_had_not_started_costs_nothing_and_the_rest_an_attempt() {
    everywhere(|cluster| async move {
        let (dead, worker) = (cluster.join(8).await, cluster.join(9).await);
        for _ in 0..250 {
            cluster.submit_one(Submission { retries: 1, ..cluster.call() }).await;
        }
        let never_twice = cluster.submit_one(Submission { retries: 0, priority: 9, ..cluster.call() }).await;
        let claimed = cluster.claim(dead, Wants { start: 101, ..wants(251) }).await.unwrap();
        assert_eq!(claimed.iter().filter(|claimed| claimed.attempt.is_some()).count(), 101);
        cluster.recover(dead).await.unwrap();
        assert_eq!(cluster.checked().await.count(Stage::Claimed), 251, "it is a member");
        cluster.bury(dead).await;
        assert_eq!(cluster.left_behind().await.unwrap(), [dead]);
        let first = claimed[1].token;
        let refused = cluster.complete(dead, vec![(first, Outcome::Value(vec![]))]).await;
        assert!(matches!(refused, Err(DurableError::NotMember(_))));
        cluster.recover(dead).await.unwrap();
        assert!(cluster.left_behind().await.unwrap().is_empty());
        let report = cluster.checked().await;
        assert_eq!((report.count(Stage::Unclaimed), report.count(Stage::Failed)), (250, 1));
        assert!(report.dead.is_empty());
        assert_eq!(cluster.stage(never_twice).await, Stage::Failed);
        let again = cluster.claim(worker, wants(300)).await.unwrap();
        assert_eq!(again.iter().map(|claimed| u64::from(claimed.record.died)).sum::<u64>(), 100);
        assert!(again.iter().all(|claimed| claimed.token.claim == 2));
    })
    .await;
}

#[tokio::test]
async fn what_was_claimed_by_another_meanwhile_is_neither_started_nor_completed() {
    everywhere(|cluster| async move {
        let (one, two) = (cluster.join(8).await, cluster.join(9).await);
        let id = cluster.submit_one(cluster.call()).await;
        let old = cluster.claim(one, wants(1)).await.unwrap()[0].token;
        cluster.give_back(one, vec![(old, vec![])]).await.unwrap();
        let new = cluster.take(two).await;
        assert_eq!(new.token, Token { id, claim: 2 });
        assert_eq!(new.attempt, Some(1), "giving back what was not started is free");
        assert_eq!(cluster.start(one, vec![old]).await.unwrap(), [None]);
        assert_eq!(cluster.end(one, old, Outcome::Value(b"old".to_vec())).await, Completed::Stale);
        cluster.give_back(one, vec![(old, vec![])]).await.unwrap();
        assert_eq!(cluster.stage(id).await, Stage::Claimed);
        assert_eq!(cluster.end(two, new.token, Outcome::Value(b"new".to_vec())).await, Completed::Settled);
        assert_eq!(
            cluster.end(two, new.token, Outcome::Value(b"x".to_vec())).await,
            Completed::Settled,
            "the first one"
        );
        assert_eq!(cluster.value(id).await.unwrap(), Some(b"new".to_vec()));
    })
    .await;
}

#[tokio::test]
async fn a_call_on_its_last_attempt_is_started_only_when_it_begins_at_once() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let call = |priority, retries| Submission { priority, retries, ..cluster.call() };
        let again = cluster.submit_one(call(3, 1)).await;
        cluster.take(worker).await;
        cluster.bury(worker).await;
        cluster.recover(worker).await.unwrap();
        let calls = vec![call(2, 1), call(1, 0), call(0, 1)];
        let [first, once, behind] = [calls[0].id, calls[1].id, calls[2].id];
        cluster.submit(calls).await.unwrap();
        let worker = cluster.join(8).await;
        let claim = async |now, start| {
            let shapes = vec![(ShapeId::of(&one_cpu()), Room { all: 100, slow: 100, now })];
            let wants = Wants { shapes, start, ..wants(100) };
            let held_back = wants.held_back.clone();
            let claimed = cluster.claim(worker, wants).await.unwrap();
            let ids: Vec<_> = claimed.iter().map(|claimed| claimed.token.id).collect();
            (ids, held_back.load(std::sync::atomic::Ordering::Relaxed))
        };
        assert_eq!(claim(0, 100).await, (vec![], true), "one has seen a death, and has one attempt left");
        assert_eq!(claim(1, 100).await, (vec![again, first], true), "nothing overtakes what waits for room");
        assert_eq!(claim(1, 100).await, (vec![once, behind], false));
        let unstarted = cluster.submit_one(call(0, 0)).await;
        assert_eq!(claim(0, 0).await, (vec![unstarted], false), "claiming alone costs nothing");
    })
    .await;
}

#[tokio::test]
async fn an_outcome_that_is_told_again_is_taken_once_and_answered_as_before() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let end = async |token, outcome: &Outcome| {
            let first = cluster.end(worker, token, outcome.clone()).await;
            assert_eq!(cluster.end(worker, token, outcome.clone()).await, first, "{outcome:?}");
            first
        };
        let error = Outcome::Error(Failure::error("x".into(), vec![]));
        let id = cluster.submit_one(Submission { retry_errors: 1, ..cluster.call() }).await;
        let first = cluster.take(worker).await.token;
        assert_eq!(end(first, &error).await, Completed::Retried);
        assert_eq!(cluster.record(id).await.unwrap().failed, 1);
        let second = cluster.take(worker).await.token;
        assert_eq!(end(second, &error).await, Completed::Settled);
        assert_eq!(
            cluster.end(worker, first, error.clone()).await,
            Completed::Stale,
            "a claim before the last"
        );
        let value = Outcome::Value(vec![]);
        let id = cluster.submit_one(cluster.call()).await;
        let given_back = cluster.take(worker).await.token;
        cluster.give_back(worker, vec![(given_back, vec![])]).await.unwrap();
        assert_eq!(end(given_back, &value).await, Completed::Stale);
        let token = cluster.take(worker).await.token;
        assert_eq!(end(token, &value).await, Completed::Settled);
        assert_eq!(end(given_back, &value).await, Completed::Stale);
        let other = cluster.join(8).await;
        assert_eq!(cluster.end(other, token, value.clone()).await, Completed::Stale);
        assert_eq!(cluster.record(id).await.unwrap().died, 1);
        let lost = cluster.submit_one(Submission { retries: 0, ..cluster.call() }).await;
        let token = cluster.take(worker).await.token;
        assert_eq!(end(token, &Outcome::Kept(9)).await, Completed::Settled);
        cluster.lost(lost, worker).await.unwrap();
        assert_eq!(
            end(token, &Outcome::Kept(9)).await,
            Completed::Stale,
            "it has failed since, by no attempt"
        );
    })
    .await;
}
