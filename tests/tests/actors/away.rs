//! Actors that the cluster owns, while workers are paused, die as they make one, or leave, and while who made one is gone.

use super::{LIMIT, cluster};
use fdbray::{Error, cluster::actors, prelude::*, settle};
use fdbray_tests::{
    actors::{away::AT_ONCE, *},
    crash::{App, Cluster},
    durable::Look,
};
use fdbray_worker::{
    control::durable::{Record, State},
    id::ProcessId,
};
use rustix::process::Signal;
use std::{collections::BTreeSet, fs, path::PathBuf};

/// The record of the one actor that the cluster owns.
fn record(look: &Look) -> Record {
    let mut records = look.records().into_iter().filter(|record| record.spec.actor.is_some());
    let record = records.next().expect("the record of an actor");
    assert!(records.next().is_none(), "one actor");
    record
}

/// The process that the one actor lives in, if it is made.
fn home(look: &Look) -> Option<ProcessId> {
    match record(look).state {
        State::Claimed(claim) => claim.lives.map(|_| claim.by),
        _ => None,
    }
}

/// Drivers that call the tally without pause.
struct Callers {
    drivers: Vec<App>,
    totals: Vec<PathBuf>,
    end: PathBuf,
}

impl Callers {
    fn start(cluster: &Cluster, count: usize) -> Self {
        let end = cluster.file("end");
        let totals: Vec<_> = (0..count).map(|caller| cluster.file(&format!("totals-{caller}"))).collect();
        let drivers = totals.iter().enumerate().map(|(caller, totals)| {
            let words = ["tally-adds", &caller.to_string(), totals.to_str().unwrap(), end.to_str().unwrap()];
            cluster.driver(&words)
        });
        Callers { drivers: drivers.collect(), totals, end }
    }

    /// Waits until each has so many more answers.
    fn go_on(&self, count: usize) {
        let until: Vec<_> = self.totals.iter().map(|file| noted(file).len() + count).collect();
        for (file, until) in self.totals.iter().zip(until) {
            eventually(LIMIT, "calls are answered", || (noted(file).len() >= until).then_some(()));
        }
    }

    /// Ends them; the answers to all of their calls.
    fn end(mut self) -> Vec<u32> {
        fs::write(&self.end, "").unwrap();
        let mut all = Vec::new();
        for (driver, file) in self.drivers.iter_mut().zip(&self.totals) {
            let added: usize = driver.says(LIMIT, "added ").parse().unwrap();
            driver.succeeds(LIMIT);
            let totals = noted(file);
            assert_eq!(totals.len(), added, "each call was answered");
            all.extend(totals);
        }
        all
    }
}

/// What is in the tally at the end, each call of which came in its turn.
fn total(cluster: &Cluster) -> usize {
    let mut total = cluster.driver(&["tally-total"]);
    let said = total.says(LIMIT, "total ");
    total.succeeds(LIMIT);
    let (total, wrong) = said.split_once(" of which ").unwrap();
    assert_eq!(wrong, "0 wrong");
    total.parse().unwrap()
}

/// Waits until a worker that was paused has noticed that it was given up, and is a new process.
fn comes_back(look: &Look, before: &BTreeSet<ProcessId>) {
    eventually(LIMIT, "it is a new member", || look.members().into_iter().find(|new| !before.contains(new)));
}

#[test]
fn one_whose_worker_was_paused_and_given_up_is_answered_for_by_the_new_instance_alone() {
    let cluster = cluster();
    let paused = cluster.worker(&["--cpus", "1"]);
    let callers = Callers::start(&cluster, 3);
    callers.go_on(50);
    // One more caller is beside it, and is paused with it.
    let totals = cluster.file("totals-there");
    let words = ["tally-adds-there", "9", totals.to_str().unwrap(), callers.end.to_str().unwrap()];
    let mut there = cluster.driver(&words);
    eventually(LIMIT, "calls from beside it", || (noted(&totals).len() >= 50).then_some(()));
    let look = Look::at(&cluster);
    let first = home(&look).unwrap();
    let _other = cluster.worker(&["--cpus", "1"]);
    cluster.stop(&paused);
    eventually(LIMIT, "it is made again", || home(&look).filter(|home| *home != first));
    callers.go_on(50);
    let members = &look.members() | &BTreeSet::from([first]);
    paused.signal(Signal::CONT);
    comes_back(&look, &members);
    callers.go_on(50);
    there.says(LIMIT, "ended ");
    there.succeeds(LIMIT);
    let mut all = callers.end();
    let own = all.len();
    all.extend(noted(&totals));
    let answered = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), answered, "two calls have the same total: two instances answered");
    let total = total(&cluster);
    let beside = total.checked_sub(own).expect("no answered call is lost");
    // Those that were under way when the caller was lost may have had their effect.
    assert!((answered - own..=answered - own + AT_ONCE).contains(&beside), "{beside} of {}", answered - own);
    look.check();
}

#[test]
fn what_a_paused_instance_had_not_begun_it_never_begins() {
    let cluster = cluster();
    let paused = cluster.worker(&["--cpus", "1"]);
    let mut driver = cluster.driver(&["scribe-in-flight", cluster.path().to_str().unwrap()]);
    driver.says(LIMIT, "called");
    eventually(LIMIT, "the first call runs", || cluster.file("lingers").exists().then_some(()));
    let look = Look::at(&cluster);
    let first = home(&look).unwrap();
    cluster.stop(&paused);
    let other = cluster.worker(&["--cpus", "1"]);
    eventually(LIMIT, "it is made again", || home(&look).filter(|home| *home != first));
    let members = &look.members() | &BTreeSet::from([first]);
    // The first call ends as soon as the old instance goes on.
    fs::write(cluster.file("ends"), "").unwrap();
    paused.signal(Signal::CONT);
    comes_back(&look, &members);
    fs::write(cluster.file("end"), "").unwrap();
    let written: u32 = driver.says(LIMIT, "written ").parse().unwrap();
    driver.succeeds(LIMIT);
    assert_eq!(noted(&cluster.file("made")), [paused.pid(), other.pid()]);
    assert_eq!(noted(&cluster.file("written")), (0..written).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(record(&look).restarts, 1);
    look.check();
}

#[test]
fn one_whose_worker_dies_while_it_is_made_is_made_elsewhere_as_often_as_retries_says() {
    for (retries, made) in [("2", true), ("1", false)] {
        let cluster = cluster();
        let mut workers = vec![cluster.worker(&["--cpus", "1"])];
        let file = cluster.file("made");
        fs::write(cluster.file("shut"), "").unwrap();
        let mut driver = cluster.driver(&["scribe-make", cluster.path().to_str().unwrap(), retries]);
        for round in 1..=2 {
            eventually(LIMIT, "it is being made", || (noted(&file).len() == round).then_some(()));
            workers.push(cluster.worker(&["--cpus", "1"]));
            workers.remove(0).kill();
        }
        fs::remove_file(cluster.file("shut")).unwrap();
        let look = Look::at(&cluster);
        if made {
            assert_eq!(driver.says(LIMIT, "made, and wrote "), "7");
            assert_eq!((record(&look).restarts, noted(&file).len()), (0, 3));
        } else {
            let error = driver.says(LIMIT, "not made: ");
            assert!(error.contains("Scribe"), "{error}");
            assert_eq!(noted(&file).len(), 2, "no more than that");
        }
        driver.succeeds(LIMIT);
        look.check();
    }
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn one_whose_state_is_too_large_for_the_store_falls_back() {
    let tally = Tally::options().name("tally").detached().remote();
    within(LIMIT, "a call", tally.add(0, 1)).await.unwrap();
    within(LIMIT, "much", tally.grow(11 << 20)).await.unwrap();
    send(within(LIMIT, "its process", tally.pid()).await.unwrap(), Signal::KILL);
    assert_eq!(within(LIMIT, "a call", tally.add(0, 2)).await.unwrap(), Entry { n: 2, total: 2, wrong: 0 });
    within(LIMIT, "less", tally.grow(0)).await.unwrap();
    for n in [3, 4] {
        let error = within(LIMIT, "too much", tally.grow(13 << 20)).await.unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains("12 MiB"), "{error}");
        assert_eq!(within(LIMIT, "a call", tally.add(0, n)).await.unwrap(), Entry { n, total: n, wrong: 0 });
    }
    send(within(LIMIT, "its process", tally.pid()).await.unwrap(), Signal::KILL);
    assert_eq!(within(LIMIT, "the total", tally.total()).await.unwrap(), (4, 0));
    within(LIMIT, "it stops", tally.stop()).await.unwrap();
    free("tally").await;
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn one_that_cannot_be_made_from_its_checkpoint_says_so_to_all_and_its_name_is_free() {
    let tally = Tally::options().name("tally").detached().remote();
    within(LIMIT, "a call", tally.add(0, 1)).await.unwrap();
    let found = within(LIMIT, "it is found", TallyHandle::named("tally")).await.unwrap();
    let pid = within(LIMIT, "its process", tally.pid()).await.unwrap();
    within(LIMIT, "a flaw", tally.spoil(Flaw::Restore)).await.unwrap();
    send(pid, Signal::KILL);
    let calls = (2..=20).map(|n| tally.add(0, n)).chain((1..=20).map(|n| found.add(1, n)));
    let mut errors: Vec<_> =
        within(LIMIT, "calls end", settle(calls)).await.into_iter().map(|call| call.unwrap_err()).collect();
    errors.push(within(LIMIT, "whether it is ready", tally.ready()).await.unwrap_err());
    errors.push(within(LIMIT, "a call from a task", calls_tally::remote(&tally, 2, 1)).await.unwrap_err());
    for error in errors {
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains("it will not be made again"), "{error}");
    }
    free("tally").await;
    let again = Tally::options().name("tally").detached().get_or_create();
    let again = within(LIMIT, "another one", again).await.unwrap();
    assert_eq!(within(LIMIT, "the total", again.total()).await.unwrap(), (0, 0), "nothing of the first one");
    within(LIMIT, "it stops", again.stop()).await.unwrap();
    free("tally").await;
}

#[test]
fn one_whose_maker_is_killed_at_once_is_there_or_its_name_is_free() {
    let cluster = cluster();
    let _worker = cluster.worker(&["--cpus", "1"]);
    let dir = cluster.path().to_str().unwrap();
    let mut were = Vec::new();
    for micros in [0, 300, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000, 2_000_000] {
        let mut hasty = cluster.driver(&["scribe-hasty", dir, &micros.to_string()]);
        assert!(!hasty.ends(LIMIT).success(), "it is killed{}", hasty.log());
        let mut finds = cluster.driver(&["scribe-found", dir]);
        were.push(format!("{} after {micros} µs", finds.says(LIMIT, "it was ")));
        finds.succeeds(LIMIT);
    }
    println!("{}", were.join(", "));
    assert!(were.last().is_some_and(|last| last.starts_with("there")), "{were:?}");
    Look::at(&cluster).check();
}

#[test]
fn one_whose_maker_is_killed_while_it_is_made_is_made_nevertheless() {
    let cluster = cluster();
    let _worker = cluster.worker(&["--cpus", "1"]);
    let (dir, made) = (cluster.path().to_str().unwrap(), cluster.file("made"));
    fs::write(cluster.file("shut"), "").unwrap();
    let mut maker = cluster.driver(&["scribe-hasty", dir, &(LIMIT * 1_000_000).to_string()]);
    eventually(LIMIT, "it is being made", || (noted(&made).len() == 1).then_some(()));
    maker.kill();
    let mut finds = cluster.driver(&["scribe-found", dir]);
    fs::remove_file(cluster.file("shut")).unwrap();
    assert_eq!(finds.says(LIMIT, "it was "), "there");
    finds.succeeds(LIMIT);
    assert_eq!(noted(&made).len(), 1, "it was made once");
    Look::at(&cluster).check();
}

#[test]
fn no_call_is_lost_or_doubled_and_no_restart_spent_when_its_workers_leave_in_order() {
    let cluster = cluster();
    let mut leaving = cluster.worker(&["--cpus", "1"]);
    let callers = Callers::start(&cluster, 3);
    let look = Look::at(&cluster);
    for _ in 0..2 {
        callers.go_on(100);
        let first = home(&look).unwrap();
        let next = cluster.worker(&["--cpus", "1"]);
        leaving.signal(Signal::TERM);
        leaving.succeeds(LIMIT);
        eventually(LIMIT, "it has moved", || home(&look).filter(|home| *home != first));
        leaving = next;
    }
    callers.go_on(100);
    assert_eq!(record(&look).restarts, 0);
    let mut all = callers.end();
    all.sort_unstable();
    assert_eq!(all, (1..=all.len() as u32).collect::<Vec<_>>());
    assert_eq!(total(&cluster), all.len());
    look.check();
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn two_hundred_are_made_at_once_and_made_again_when_their_worker_dies() {
    const COUNT: i64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let make = |prefix: &str| -> Vec<ScribeHandle> {
        let options = Scribe::options().detached().max_restarts(1);
        (0..COUNT).map(|n| options.clone().name(format!("{prefix}{n}")).remote(path, n)).collect()
    };
    let names = |prefix: &str| (0..COUNT).map(|n| format!("{prefix}{n}")).collect::<BTreeSet<_>>();
    let all = async |scribes: &[ScribeHandle]| {
        let numbers = settle(scribes.iter().map(ScribeHandle::number));
        for (n, number) in (0..).zip(within(LIMIT, "calls", numbers).await) {
            assert_eq!(number.unwrap(), n);
        }
    };
    let stop = async |scribes: Vec<ScribeHandle>| {
        let stops = futures::future::join_all(scribes.iter().map(|scribe| scribe.stop()));
        for stopped in within(LIMIT, "they stop", stops).await {
            stopped.unwrap();
        }
        let gone = async { while !actors().await.unwrap().is_empty() {} };
        within(LIMIT, "the names are free", gone).await;
    };
    let scribes = make("a");
    all(&scribes).await;
    let listed = within(LIMIT, "the names", actors()).await.unwrap();
    assert_eq!(listed.into_iter().map(|actor| actor.name).collect::<BTreeSet<_>>(), names("a"));
    stop(scribes).await;

    let scribes = make("b");
    all(&scribes).await;
    let first = within(LIMIT, "its process", scribes[0].pid()).await.unwrap();
    send(first, Signal::KILL);
    all(&scribes).await;
    let pids = within(LIMIT, "their processes", settle(scribes.iter().map(ScribeHandle::pid))).await;
    let pids: BTreeSet<u32> = pids.into_iter().map(|pid| pid.unwrap()).collect();
    assert!(pids.len() == 1 && !pids.contains(&first), "{pids:?} after {first}");
    let made = noted(&dir.path().join("made"));
    assert_eq!(made.len() as i64, 3 * COUNT, "each was made once, and again those that were lost");
    let listed = within(LIMIT, "the names", actors()).await.unwrap();
    assert_eq!(listed.into_iter().map(|actor| actor.name).collect::<BTreeSet<_>>(), names("b"));
    stop(scribes).await;
}
