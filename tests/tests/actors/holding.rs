//! Who keeps actors alive: handles in tasks, in values, in other actors; and thousands of them.

use super::LIMIT;
use fdbray::{put, settle};
use fdbray_tests::actors::*;

#[fdbray::test(workers = 2)]
async fn a_handle_inside_a_value_is_called_where_it_goes() {
    let journals: Vec<_> = (0..3).map(|_| Journal::remote()).collect();
    let bundle = Bundle { name: "all three".into(), journals: journals.clone() };
    let back = within(LIMIT, "lines are written", write_by::remote(bundle, 1, 10)).await.unwrap();
    assert_eq!((back.name.as_str(), back.journals.len()), ("all three", 3));
    for journal in &journals {
        assert_eq!(within(LIMIT, "a count", journal.count()).await.unwrap(), 10);
    }
    // Those that came back are of the same actors, and live by themselves.
    drop(journals);
    for journal in back.journals {
        assert_eq!(within(LIMIT, "a line", journal.write(0, 10)).await.unwrap(), 11);
    }
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_sync_task_may_wait_for_an_actor_on_its_own_worker() {
    let journal = Journal::remote();
    within(LIMIT, "a line", journal.write(0, 1)).await.unwrap();
    let counted: Vec<_> = (0..20).map(|_| read_by::remote(&journal)).collect();
    for count in within(LIMIT, "the tasks", settle(counted)).await {
        assert_eq!(count.unwrap(), 1);
    }
}

#[fdbray::test(workers = 2)]
async fn an_actor_lives_as_long_as_another_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let end = dir.path().join("end");
    let journal = Journal::remote_ending_with(end.to_str().unwrap());
    let keeper = Keeper::remote(&journal);
    assert!(within(LIMIT, "it is kept", keeper.shown()).await.unwrap().is_some());
    drop(journal);
    for n in 1..=10 {
        assert_eq!(within(LIMIT, "a line", keeper.write(n as u64)).await.unwrap(), n);
    }
    assert!(!end.exists(), "ended though it is held");
    within(LIMIT, "let go", keeper.releases()).await.unwrap();
    file(&end).await;
    assert_eq!(std::fs::read_to_string(&end).unwrap(), "10");
}

#[fdbray::test(workers = 2)]
async fn one_that_another_made_lives_with_that() {
    let dir = tempfile::tempdir().unwrap();
    let end = dir.path().join("end");
    let keeper = Keeper::remote_making(end.to_str().unwrap());
    let journal = within(LIMIT, "it is shown", keeper.shown()).await.unwrap().unwrap();
    assert_eq!(within(LIMIT, "a line", journal.write(0, 1)).await.unwrap(), 1);
    drop(journal);
    assert_eq!(within(LIMIT, "another", keeper.write(2)).await.unwrap(), 2);
    assert!(!end.exists(), "ended though it is held");
    drop(keeper);
    file(&end).await;
}

#[fdbray::test]
async fn a_value_that_nobody_decodes_holds_what_is_inside_it() {
    let dir = tempfile::tempdir().unwrap();
    let end = dir.path().join("end");
    let journal = Journal::remote_ending_with(end.to_str().unwrap());
    let value = put(&Bundle { name: "kept".into(), journals: vec![journal] }).unwrap();
    within(LIMIT, "a while", late::remote(0, 100)).await.unwrap();
    assert!(!end.exists(), "ended though a value holds it");
    drop(value);
    file(&end).await;
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn two_thousand_actors_share_a_worker() {
    let members: Vec<_> = (0..2_000).map(Member::remote).collect();
    let sums = members.iter().map(|member| member.add(1)).collect::<Vec<_>>();
    let sums = within(LIMIT, "all are called", settle(sums)).await;
    assert!(sums.into_iter().map(Result::unwrap).eq(1..=2_000));
    // Through a value as well.
    let roll = within(LIMIT, "the roll", put(&Roll(members.clone())).unwrap()).await.unwrap();
    let sums = roll.0.iter().map(|member| member.add(1)).collect::<Vec<_>>();
    let sums = within(LIMIT, "all are called again", settle(sums)).await;
    assert!(sums.into_iter().map(Result::unwrap).eq(2..=2_001));
    drop((members, roll));
    within(LIMIT, "all have ended", async {
        while ended_members::remote().await.unwrap() < 2_000 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(ended_members::remote().await.unwrap(), 2_000);
}
