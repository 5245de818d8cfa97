//! Actors that the cluster owns, step by step; and names.

use super::help::*;
use crate::control::durable::*;
use crate::id::ProcessId;

/// An actor that may be made again so often.
fn actor(cluster: &Cluster, name: Option<&str>, restarts: u32) -> Submission {
    let name = name.map(str::to_owned);
    Submission {
        actor: Some(ActorSpec { name, type_name: "Till".into(), restarts }),
        retries: 1,
        ..cluster.call()
    }
}

async fn whereabouts(cluster: &Cluster, id: FutureId) -> Whereabouts {
    cluster.durable.whereabouts(id).await.unwrap().0
}

/// Claims an actor and says that it lives.
async fn make(cluster: &Cluster, by: ProcessId, seq: u64) -> Token {
    let token = cluster.take(by).await.token;
    assert!(cluster.lives(by, token, seq).await.unwrap());
    token
}

fn why(whereabouts: Whereabouts) -> String {
    let Whereabouts::Ended { failure, .. } = whereabouts else { panic!("{whereabouts:?}") };
    failure.map_or_else(|| "killed".to_owned(), |failure| failure.to_string())
}

#[tokio::test]
async fn an_actor_lives_where_it_was_made_until_its_process_is_gone_and_then_elsewhere() {
    everywhere(|cluster| async move {
        let (one, other) = (cluster.join(8).await, cluster.join(9).await);
        let id = cluster.submit_one(actor(&cluster, None, 2)).await;
        assert_eq!(whereabouts(&cluster, id).await, Whereabouts::Nowhere);
        let claimed = cluster.take(one).await;
        assert_eq!(whereabouts(&cluster, id).await, Whereabouts::Nowhere, "its constructor runs");
        assert!(cluster.lives(one, claimed.token, 17).await.unwrap());
        assert_eq!(whereabouts(&cluster, id).await, Whereabouts::At(one, 17));
        assert!(cluster.claim(other, wants(5)).await.unwrap().is_empty());

        cluster.bury(one).await;
        cluster.recover(one).await.unwrap();
        assert_eq!(whereabouts(&cluster, id).await, Whereabouts::Nowhere);
        let token = make(&cluster, other, 5).await;
        assert_eq!(whereabouts(&cluster, id).await, Whereabouts::At(other, 5));
        let record = cluster.record(id).await.unwrap();
        assert_eq!((record.restarts, record.died, record.v), (1, 0, 3));
        // What the dead one says does not count, nor what is said of an older claim.
        assert!(matches!(cluster.lives(one, claimed.token, 17).await, Err(DurableError::NotMember(_))));
        cluster.broke(other, claimed.token).await.unwrap();
        assert_eq!(whereabouts(&cluster, id).await, Whereabouts::At(other, 5));

        let stopped = Outcome::Final(Failure::error("it was stopped".into(), Vec::new()));
        assert_eq!(cluster.end(other, token, stopped).await, Completed::Settled);
        assert_eq!(why(whereabouts(&cluster, id).await), "it was stopped");
    })
    .await;
}

#[tokio::test]
async fn it_is_made_again_as_often_as_it_says_and_moving_in_order_does_not_count() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let id = cluster.submit_one(actor(&cluster, None, 1)).await;
        for seq in 1..=3 {
            let token = make(&cluster, worker, seq).await;
            cluster.give_back(worker, vec![(token, Vec::new())]).await.unwrap();
        }
        let token = make(&cluster, worker, 4).await;
        cluster.broke(worker, token).await.unwrap();
        let token = make(&cluster, worker, 5).await;
        cluster.broke(worker, token).await.unwrap();
        let why = why(whereabouts(&cluster, id).await);
        assert!(why.contains("made again 1 times already"), "{why}");
        assert_eq!(cluster.notices(worker).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_constructor_has_its_own_budget_each_time() {
    everywhere(|cluster| async move {
        let id = cluster.submit_one(actor(&cluster, None, 9)).await;
        // Each dies while the constructor runs, then one makes it.
        for round in 0..2 {
            for n in [10 * round + 1, 10 * round + 2] {
                let worker = cluster.join(100 + n).await;
                let token = cluster.take(worker).await.token;
                if n % 10 == 2 {
                    assert!(cluster.lives(worker, token, n).await.unwrap());
                }
                cluster.bury(worker).await;
                cluster.recover(worker).await.unwrap();
            }
        }
        assert_eq!(cluster.record(id).await.unwrap().restarts, 2);
        for n in [50, 51] {
            let worker = cluster.join(n).await;
            cluster.take(worker).await;
            cluster.bury(worker).await;
            cluster.recover(worker).await.unwrap();
        }
        let why = why(whereabouts(&cluster, id).await);
        assert!(why.contains("died while it ran there"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn who_lost_its_claim_is_told_when_it_is_killed() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let id = cluster.submit_one(actor(&cluster, Some("till"), 1)).await;
        let token = make(&cluster, worker, 3).await;
        assert!(cluster.cancel(id).await.unwrap());
        assert_eq!(cluster.notices(worker).await, [Notice::Revoked(id)]);
        assert_eq!(why(whereabouts(&cluster, id).await), "killed");
        assert!(!cluster.lives(worker, token, 3).await.unwrap());
        cluster.broke(worker, token).await.unwrap();
        assert_eq!(why(whereabouts(&cluster, id).await), "killed");
        assert_eq!(cluster.find_actor("till".into()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_name_has_one_actor_until_that_ends() {
    everywhere(|cluster| async move {
        let worker = cluster.join(9).await;
        let id = cluster.submit_one(actor(&cluster, Some("till"), 0)).await;
        let named = Named { type_name: "Till".into(), owner: Owner::Cluster(id) };
        assert_eq!(cluster.find_actor("till".into()).await.unwrap(), Some(named.clone()));
        let second = actor(&cluster, Some("till"), 0);
        let refused = cluster.submit(vec![second.clone()]).await.unwrap().remove(0).unwrap_err();
        assert_eq!(refused, Refused::NameTaken { name: "till".into(), by: "Till".into() });
        let refused = cluster.name_actor("till".into(), "Desk".into(), worker, 1).await.unwrap().unwrap_err();
        assert_eq!(refused, Refused::NameTaken { name: "till".into(), by: "Till".into() });
        // Not that of the other's, and not by who does not have it.
        cluster.unname_actor("till".into(), worker, 1).await.unwrap();
        assert_eq!(cluster.find_actor("till".into()).await.unwrap(), Some(named));

        let token = make(&cluster, worker, 3).await;
        cluster.broke(worker, token).await.unwrap();
        assert_eq!(cluster.find_actor("till".into()).await.unwrap(), None);
        let again = cluster.submit_one(second).await;
        assert_eq!(whereabouts(&cluster, again).await, Whereabouts::Nowhere);
    })
    .await;
}

#[tokio::test]
async fn two_of_one_batch_do_not_get_the_same_name() {
    everywhere(|cluster| async move {
        let batch = vec![actor(&cluster, Some("till"), 0), actor(&cluster, Some("till"), 0)];
        let submitted = cluster.submit(batch).await.unwrap();
        assert!(submitted[0].is_ok(), "{submitted:?}");
        assert!(matches!(submitted[1], Err(Refused::NameTaken { .. })), "{submitted:?}");
    })
    .await;
}

#[tokio::test]
async fn what_a_process_owns_loses_its_names_with_that_process() {
    everywhere(|cluster| async move {
        let (one, other) = (cluster.join(8).await, cluster.join(9).await);
        for n in 0..5 {
            let name = format!("till-{n}");
            cluster.name_actor(name.clone(), "Till".into(), one, n).await.unwrap().unwrap();
            // Once more is as once.
            cluster.name_actor(name, "Till".into(), one, n).await.unwrap().unwrap();
        }
        let listed = async || {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let (page, next) = cluster.actors(after).await.unwrap();
                all.extend(page.into_iter().map(|named| named.name));
                after = next;
                if after.is_none() {
                    return all;
                }
            }
        };
        assert_eq!(listed().await, ["till-0", "till-1", "till-2", "till-3", "till-4"]);
        cluster.unname_actor("till-3".into(), one, 3).await.unwrap();
        assert_eq!(listed().await, ["till-0", "till-1", "till-2", "till-4"]);

        cluster.bury(one).await;
        // Free at once, whoever clears up and when.
        assert!(listed().await.is_empty());
        assert_eq!(cluster.find_actor("till-1".into()).await.unwrap(), None);
        cluster.name_actor("till-1".into(), "Desk".into(), other, 7).await.unwrap().unwrap();
        assert_eq!(cluster.left_behind().await.unwrap(), [one]);
        cluster.recover(one).await.unwrap();
        assert!(cluster.left_behind().await.unwrap().is_empty());
        assert_eq!(listed().await, ["till-1"]);
        let gone = cluster.name_actor("till-2".into(), "Till".into(), one, 2).await;
        assert!(matches!(gone, Err(DurableError::NotMember(_))), "{gone:?}");
    })
    .await;
}

#[tokio::test]
async fn the_last_checkpoint_of_an_actor_is_there_for_whoever_claims_it_until_it_ends() {
    everywhere(|cluster| async move {
        let (one, other) = (cluster.join(8).await, cluster.join(9).await);
        let id = cluster.submit_one(actor(&cluster, None, 2)).await;
        let claimed = cluster.take(one).await.token;
        let early = cluster.save_checkpoint(one, claimed, 1, b"early").await;
        assert!(matches!(early, Err(DurableError::Stale(_))), "it does not live: {early:?}");
        assert!(cluster.lives(one, claimed, 1).await.unwrap());
        assert_eq!(cluster.checkpoint(id).await.unwrap(), None);
        let large: Vec<u8> = (0..1_234_u32).map(|n| n as u8).collect();
        for (version, checkpoint) in
            [&b"first"[..], &large, b"", &large[..200], b"last"].into_iter().enumerate()
        {
            cluster.save_checkpoint(one, claimed, version as u64, checkpoint).await.unwrap();
            assert_eq!(cluster.checkpoint(id).await.unwrap().as_deref(), Some(checkpoint));
        }
        cluster.save_checkpoint(one, claimed, 3, b"overtaken").await.unwrap();
        cluster.bury(one).await;
        cluster.recover(one).await.unwrap();
        let token = make(&cluster, other, 5).await;
        assert_eq!(cluster.checkpoint(id).await.unwrap().as_deref(), Some(&b"last"[..]));
        let late = cluster.save_checkpoint(one, claimed, 9, b"late").await;
        assert!(matches!(late, Err(DurableError::NotMember(_))), "{late:?}");
        // The versions of another claim begin anew.
        cluster.save_checkpoint(other, token, 1, &large).await.unwrap();
        let stale = cluster.save_checkpoint(other, claimed, 2, b"stale").await;
        assert!(matches!(stale, Err(DurableError::Stale(_))), "{stale:?}");
        assert_eq!(cluster.checkpoint(id).await.unwrap(), Some(large));
        assert_eq!(cluster.departed(vec![one, other]).await.unwrap(), [one]);
        cluster.cancel(id).await.unwrap();
        assert_eq!(cluster.checkpoint(id).await.unwrap(), None);
    })
    .await;
}
