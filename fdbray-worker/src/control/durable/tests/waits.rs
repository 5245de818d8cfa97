//! Arguments, waiters, cancellation, deadlines, lost values and the end of retention.

use super::help::*;
use crate::control::durable::*;

#[tokio::test]
async fn a_dependent_becomes_ready_when_its_last_argument_has_a_value() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let (a, b) = (cluster.call(), cluster.call());
        let c = Submission { futures: vec![a.id, b.id, a.id], ..cluster.call() };
        let ids = [a.id, b.id, c.id];
        cluster.submit(vec![a, b, c]).await.unwrap();
        assert_eq!(cluster.stage(ids[2]).await, Stage::Waiting);
        cluster.checked().await;
        cluster.run(worker).await;
        assert_eq!(cluster.stage(ids[2]).await, Stage::Waiting);
        cluster.run(worker).await;
        assert_eq!(cluster.stage(ids[2]).await, Stage::Unclaimed);
        cluster.checked().await;
        assert_eq!(cluster.run(worker).await, ids[2]);
        let late = Submission { futures: vec![ids[2]], ..cluster.call() };
        assert_eq!(cluster.stage(cluster.submit_one(late).await).await, Stage::Unclaimed);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_dependents_follow_in_a_chain_of_transactions() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let a = cluster.submit_one(cluster.call()).await;
        let dependents: Vec<_> =
            (0..1500).map(|_| Submission { futures: vec![a], ..cluster.call() }).collect();
        cluster.submit(dependents).await.unwrap();
        assert_eq!(cluster.run(worker).await, a);
        let report = cluster.checked().await;
        assert_eq!((report.count(Stage::Unclaimed), report.count(Stage::Waiting)), (1500, 0));
    })
    .await;
}

#[tokio::test]
async fn a_failure_reaches_dependents_at_any_depth_and_names_the_way() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let first = cluster.submit_one(cluster.call()).await;
        let mut last = first;
        for _ in 0..3 {
            last = cluster
                .submit_one(Submission { function: "g".into(), futures: vec![last, first], ..cluster.call() })
                .await;
        }
        for _ in 0..300 {
            cluster.submit_one(Submission { futures: vec![last], ..cluster.call() }).await;
        }
        let token = cluster.take(worker).await.token;
        cluster.end(worker, token, Outcome::Final(Failure::error("broken".into(), vec![]))).await;
        let report = cluster.checked().await;
        assert_eq!(report.count(Stage::Failed), 304);
        let State::Failed(failed) = cluster.record(last).await.unwrap().state else { panic!() };
        assert!(failed.failure.to_string().starts_with("broken (needed by g"), "{}", failed.failure);
        let late = cluster.submit_one(Submission { futures: vec![last], ..cluster.call() }).await;
        assert_eq!(cluster.stage(late).await, Stage::Failed);
    })
    .await;
}

#[tokio::test]
async fn everybody_who_waits_is_told_once_through_one_inbox() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let waiters = [cluster.join(1).await, cluster.join(2).await, cluster.join(3).await];
        let mut ids: Vec<_> = Vec::new();
        for _ in 0..50 {
            ids.push(cluster.submit_one(Submission { waiter: Some(waiters[0]), ..cluster.call() }).await);
        }
        for id in &ids {
            for waiter in waiters {
                cluster.attach_one(Target::Id(*id), waiter, None).await.unwrap();
            }
        }
        cluster.checked().await;
        let mail = cluster.mail(waiters[2], None).await.unwrap();
        assert_eq!(mail.notices, []);
        cluster.bury(waiters[1]).await;
        for _ in 0..25 {
            cluster.run(worker).await;
        }
        mail.watch.await.unwrap();
        for _ in 0..25 {
            cluster.run(worker).await;
        }
        for waiter in [waiters[0], waiters[2]] {
            let mut told = cluster.notices(waiter).await;
            told.sort();
            assert_eq!(told, ids.iter().map(|id| Notice::Settled(*id)).collect::<Vec<_>>());
            assert!(cluster.notices(waiter).await.is_empty());
        }
        assert!(!cluster.checked().await.dead.contains(&waiters[1]), "the dead get no mail");
        let settled = cluster.attach_one(Target::Id(ids[0]), waiters[0], None).await.unwrap();
        assert!(settled.settled(), "no need to wait");
    })
    .await;
}

#[tokio::test]
async fn one_attaches_by_id_or_key_and_only_as_the_right_type() {
    everywhere(|cluster| async move {
        let me = cluster.join(1).await;
        let call = Submission { key: Some("k".into()), returns: 5, ..cluster.call() };
        let id = cluster.submit_one(call).await;
        for text in ["k", &id.to_string()] {
            assert_eq!(cluster.attach_one(text.into(), me, Some(5)).await.unwrap().id, id);
            let wrong = cluster.attach_one(text.into(), me, Some(6)).await.unwrap_err();
            assert!(wrong.to_string().contains("another type"), "{wrong}");
        }
        let gone = cluster.attach_one("nothing".into(), me, None).await.unwrap_err();
        assert!(gone.to_string().contains("`nothing`"), "{gone}");
    })
    .await;
}

#[tokio::test]
async fn what_is_cancelled_is_taken_from_its_claimer_who_is_told() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let id = cluster.submit_one(cluster.call()).await;
        let dependent = cluster.submit_one(Submission { futures: vec![id], ..cluster.call() }).await;
        let token = cluster.take(worker).await.token;
        assert!(cluster.cancel(id).await.unwrap());
        assert_eq!(cluster.notices(worker).await, [Notice::Revoked(id)]);
        assert_eq!(cluster.end(worker, token, Outcome::Value(vec![])).await, Completed::Stale);
        assert_eq!(cluster.stage(id).await, Stage::Cancelled);
        assert_eq!(cluster.stage(dependent).await, Stage::Failed);
        let done = cluster.submit_one(cluster.call()).await;
        cluster.run(worker).await;
        assert!(!cluster.cancel(done).await.unwrap(), "it has a value");
    })
    .await;
}

#[tokio::test]
async fn a_deadline_counts_ticks_wherever_the_future_is() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let soon = || Submission { deadline: Some(3), ..cluster.call() };
        let claimed = cluster.submit_one(soon()).await;
        let token = cluster.take(worker).await.token;
        let ready = cluster.submit_one(soon()).await;
        let waiting = cluster.submit_one(Submission { futures: vec![ready], ..cluster.call() }).await;
        cluster.ticks(3).await;
        assert_eq!(cluster.stage(ready).await, Stage::Unclaimed);
        cluster.ticks(1).await;
        for id in [claimed, ready, waiting] {
            let State::Failed(failed) = cluster.record(id).await.unwrap().state else { panic!() };
            assert!(matches!(failed.failure.cause, Cause::DeadlineExceeded { .. }));
        }
        assert_eq!(cluster.end(worker, token, Outcome::Value(vec![])).await, Completed::Stale);
        let late = cluster.tick(0).await.unwrap();
        assert_eq!((late.now, late.moved), (4, false), "only who saw it as it is moves it");
    })
    .await;
}

#[tokio::test]
async fn a_lost_value_is_computed_again_and_its_users_wait_for_it() {
    everywhere(|cluster| async move {
        let (holder, worker) = (cluster.join(8).await, cluster.join(9).await);
        let a = cluster.submit_one(cluster.call()).await;
        let b = cluster.submit_one(Submission { retries: 1, futures: vec![a], ..cluster.call() }).await;
        let c = cluster.submit_one(Submission { futures: vec![b], ..cluster.call() }).await;
        for _ in 0..2 {
            let token = cluster.take(holder).await.token;
            cluster.end(holder, token, Outcome::Kept(1 << 20)).await;
        }
        cluster.release(vec![a]).await.unwrap();
        cluster.checked().await;
        let claimed = cluster.claim(worker, wants(1)).await.unwrap()[0].token;
        assert_eq!(claimed.id, c);
        cluster.bury(holder).await;
        assert!(cluster.lost(b, worker).await.unwrap().settled(), "another one has it");
        assert!(!cluster.lost(b, holder).await.unwrap().settled());
        assert_eq!(cluster.lost(b, holder).await.unwrap().died, 1, "once is enough");
        cluster.give_back(worker, vec![(claimed, vec![b, a])]).await.unwrap();
        assert_eq!(cluster.stage(c).await, Stage::Waiting);
        cluster.checked().await;
        // b needs a, which is lost too, and is still there although it was released.
        let claimed = cluster.claim(worker, wants(1)).await.unwrap()[0].token;
        assert_eq!(claimed.id, b);
        cluster.lost(a, holder).await.unwrap();
        cluster.give_back(worker, vec![(claimed, vec![a])]).await.unwrap();
        for id in [a, b, c] {
            assert_eq!(cluster.run(worker).await, id);
        }
        let (d, holder) = (cluster.submit_one(Submission { retries: 0, ..cluster.call() }).await, worker);
        let token = cluster.take(holder).await.token;
        cluster.end(holder, token, Outcome::Kept(9)).await;
        assert_eq!(
            cluster.lost(d, holder).await.unwrap().state.stage(),
            Stage::Failed,
            "it never runs twice"
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_released_goes_when_nobody_needs_it_any_more() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let a = cluster.submit_one(cluster.call()).await;
        let b = cluster.submit_one(Submission { futures: vec![a], ..cluster.call() }).await;
        cluster.run(worker).await;
        cluster.release(vec![a]).await.unwrap();
        assert_eq!(cluster.stage(a).await, Stage::Realized, "b needs it");
        cluster.run(worker).await;
        cluster.ticks(61).await;
        assert!(matches!(cluster.record(a).await, Err(DurableError::NoSuchFuture(_))));
        cluster.release(vec![a, b]).await.unwrap();
        assert!(matches!(cluster.record(b).await, Err(DurableError::NoSuchFuture(_))));
        let early = cluster.submit_one(cluster.call()).await;
        cluster.release(vec![early]).await.unwrap();
        cluster.run(worker).await;
        cluster.ticks(1).await;
        assert!(cluster.record(early).await.is_err());
        let refused = cluster.submit(vec![Submission { futures: vec![a], ..cluster.call() }]).await.unwrap();
        assert!(matches!(refused[0], Err(Refused::NoSuchArgument { .. })));
        assert_eq!(cluster.checked().await.futures, [0; 6]);
    })
    .await;
}

#[tokio::test]
async fn retention_ends_after_its_ticks_or_never() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let short = Submission { retention: Retention::Ticks(5), ..cluster.call() };
        let ever = Submission { retention: Retention::Forever, ..cluster.call() };
        let (short, ever) = (cluster.submit_one(short).await, cluster.submit_one(ever).await);
        let default = cluster.submit_one(cluster.call()).await;
        for _ in 0..3 {
            cluster.run(worker).await;
        }
        cluster.checked().await;
        cluster.ticks(5).await;
        assert!(cluster.record(short).await.is_err());
        assert_eq!(cluster.record(default).await.unwrap().expires, Some(7 * 24 * 3600));
        assert_eq!(cluster.record(ever).await.unwrap().expires, None);
    })
    .await;
}
