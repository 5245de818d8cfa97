//! Calls that are to run in a certain process, or beside a value.

use super::{keeps, runs_in, waits};
use crate::crash::{pid, within};
use fdbray::{
    Error, ProcessId,
    cluster::{self, Role},
    settle,
};
use std::{path::Path, time::Duration};

/// The workers, with their process ids, once there are two.
async fn workers() -> Vec<(ProcessId, u32)> {
    within(20, "this knows of two workers", async {
        loop {
            let members = cluster::members().unwrap_or_default();
            let workers = members.values().filter(|member| member.role == Role::Worker);
            let workers: Vec<_> = workers.map(|worker| (worker.id, worker.host.pid)).collect();
            if workers.len() == 2 {
                return workers;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

fn id_of(workers: &[(ProcessId, u32)], pid: u32) -> ProcessId {
    workers
        .iter()
        .find(|worker| worker.1 == pid)
        .map_or_else(|| panic!("{pid} is no worker"), |worker| worker.0)
}

/// Two workers of one CPU each.
pub(super) async fn alive(file: &str) -> fdbray::Result<()> {
    let workers = workers().await;
    let durable = pid::options().durable();
    for (worker, its) in &workers {
        let there: Vec<_> = (0..5).map(|_| durable.clone().on(*worker).remote()).collect();
        for ran in settle(there).await {
            assert_eq!(ran?, *its, "`on` means there");
        }
    }
    let kept = keeps::options().durable().remote();
    // Submitted before there is a value, of which it is none the less.
    let with = durable.clone().with(&kept).remote();
    let both = runs_in::options().durable().near(&kept).remote(&kept);
    let holder = (&kept).await?[0];
    assert_eq!(with.await?, holder, "`with` waits for the value and runs where it is");
    assert_eq!(both.await?, (holder, 50_000), "an argument that has not ended");
    let here = keeps::remote();
    let with = durable.clone().with(&here).remote();
    assert_eq!(with.await?, here.await?[0], "a value of this process's that a worker keeps");
    let failed = super::refuses::options().durable().remote(3);
    match durable.clone().with(&failed).remote().await {
        Err(Error::Application(error)) => assert!(error.to_string().contains("code 3"), "{error}"),
        other => panic!("{other:?}"),
    }
    durable.clone().near(&failed).remote().await?;
    let small = fdbray::put(&1)?;
    match durable.clone().with(&small).remote().await {
        Err(error @ Error::Unschedulable { .. }) => {
            assert!(error.to_string().contains("executes nothing"), "{error}")
        }
        other => panic!("a driver is no place to run: {other:?}"),
    }
    durable.clone().near(&small).remote().await?;
    // While the holder is busy, what prefers it goes elsewhere.
    let busy =
        waits::options().durable().on(id_of(&workers, holder)).remote(file, 1, format!("{file}.until"));
    within(30, "it is busy", async {
        while super::notes_in(Path::new(file)).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let elsewhere = within(30, "it runs elsewhere", durable.clone().near(&kept).remote()).await?;
    assert_ne!(elsewhere, holder);
    std::fs::write(format!("{file}.until"), "").map_err(Error::from)?;
    busy.await?;
    // What it lacks nobody else may give.
    let (first, second) = (workers[0].0, workers[1].0);
    let lacks = durable.clone().on(first).cpus(2).remote();
    lacks.submitted().await?;
    let found = cluster::unschedulable().await?;
    assert_eq!((found.len(), found[0].place, found[0].example), (1, Some(first), lacks.id()), "{found:?}");
    let (closest, lacking) = found[0].closest.clone().unwrap_or_else(|| panic!("{found:?}"));
    assert!(closest == first && lacking.contains("cpus"), "{lacking}");
    lacks.cancel();
    assert!(lacks.await.is_err());
    // The same of calls that this process owns, which knows where the values of its own futures are.
    let here = keeps::remote();
    let with = pid::options().with(&here).remote();
    assert_eq!(with.await?, here.await?[0]);
    for call in [pid::options().on(second), pid::options().prefer(second)] {
        assert_eq!(call.remote().await?, workers[1].1);
    }
    pid::options().near(&kept).remote().await?;
    match pid::options().with(&kept).remote().await {
        Err(Error::Control { message, .. }) => assert!(message.contains("durable"), "{message}"),
        other => panic!("the store knows where a durable value is: {other:?}"),
    }
    Ok(())
}

/// Two workers; the one that this names is killed when it says so.
pub(super) async fn gone(file: &str) -> fdbray::Result<()> {
    let workers = workers().await;
    let kept = keeps::options().durable().remote();
    let whole = keeps::options().durable_value().with(&kept).remote();
    let pid_of_holder = (&kept).await?[0];
    assert_eq!((&whole).await?[0], pid_of_holder);
    let holder = id_of(&workers, pid_of_holder);
    let durable = pid::options().durable();
    let busy = waits::options().durable().on(holder).remote(file, 1, format!("{file}.never"));
    within(30, "it is busy", async {
        while super::notes_in(Path::new(file)).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let early = durable.clone().on(holder).remote();
    let follows = durable.clone().with(&kept).remote();
    early.submitted().await?;
    follows.submitted().await?;
    println!("kill {pid_of_holder}");
    let gone = |ended: Option<Error>| match ended {
        Some(Error::Unschedulable { why, .. }) => assert!(why.contains("gone"), "{why}"),
        other => panic!("{other:?}"),
    };
    gone(within(40, "what had to run there ends", early).await.err());
    gone(within(40, "what ran there has nowhere to run again", busy).await.err());
    let again = within(40, "it follows the value", follows).await?;
    assert_ne!(again, pid_of_holder);
    let there = runs_in::options().durable().with(&kept).remote(&kept).await?;
    assert_eq!(there, (again, 50_000), "which was computed there");
    assert_ne!(durable.clone().prefer(holder).remote().await?, pid_of_holder);
    assert_ne!(
        durable.clone().with(&whole).remote().await?,
        pid_of_holder,
        "what is stored is near to everybody"
    );
    match durable.on(holder).remote().await {
        Err(Error::Unschedulable { .. }) => Ok(()),
        other => panic!("{other:?}"),
    }
}
