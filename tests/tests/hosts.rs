//! One cluster on several hosts, which are network namespaces here, and networks that break: what was sent is neither lost
//! nor done twice, and what cannot be reached any more is done elsewhere.

#[path = "hosts/lan.rs"]
mod lan;
#[path = "hosts/transfer.rs"]
mod transfer;

use fdbray_tests::crash::{App, Cluster, eventually, starts};
use lan::Lan;
use std::{collections::BTreeMap, path::Path, thread, time::Duration};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crash_app");

/// A driver's host, 0, and one for each worker, from 1.
struct Site {
    cluster: Cluster,
    workers: Vec<App>,
    lan: Lan,
}

impl Site {
    fn new(workers: usize, test: &str) -> Option<Self> {
        Self::with(workers, test, |cluster| cluster)
    }

    fn with(workers: usize, test: &str, set: impl FnOnce(Cluster) -> Cluster) -> Option<Self> {
        Self::of(PROGRAM, workers, test, set)
    }

    /// The same with another program.
    fn of(program: &str, workers: usize, test: &str, set: impl FnOnce(Cluster) -> Cluster) -> Option<Self> {
        let lan = Lan::new(workers + 1, test)?;
        // In their namespaces the hosts reach each other and no server of this machine.
        let mut cluster = set(Cluster::embedded(program).env("FDBRAY_SECRET", "between hosts"));
        let workers = (1..=workers)
            .map(|host| {
                lan.on(&mut cluster, host);
                cluster.worker(&["--cpus", "1", "--listen", &format!("{}:0", lan.address(host))])
            })
            .collect();
        lan.on(&mut cluster, 0);
        Some(Site { cluster, workers, lan })
    }

    /// Where calls leave their starts.
    fn file(&self) -> String {
        self.cluster.file("starts").display().to_string()
    }

    /// A driver in the middle of `count` calls of 500 us.
    fn batch(&self, count: u64) -> App {
        let mut driver = self.cluster.driver(&["batch", &count.to_string(), "500", &self.file()]);
        driver.says(30, "submitted");
        self.after(count as usize / 10);
        driver
    }

    /// Waits until so many calls have started.
    fn after(&self, count: usize) {
        eventually(60, "calls start", || (self.starts() >= count).then_some(()));
    }

    fn starts(&self) -> usize {
        starts(Path::new(&self.file())).len()
    }

    /// That each of `count` calls started once.
    fn each_started_once(&self, count: u64) {
        let mut by_call: BTreeMap<u64, u32> = BTreeMap::new();
        starts(Path::new(&self.file())).iter().for_each(|start| *by_call.entry(start.n).or_default() += 1);
        let twice: Vec<_> = by_call.iter().filter(|(_, n)| **n > 1).take(5).collect();
        assert!(
            twice.is_empty() && by_call.len() as u64 == count,
            "{} calls, started twice: {twice:?}",
            by_call.len()
        );
    }
}

fn done(mut driver: App) {
    driver.says(90, "all");
    driver.succeeds(10);
}

#[test]
fn calls_and_large_values_go_between_hosts() {
    let Some(site) = Site::new(2, "calls_and_large_values_go_between_hosts") else { return };
    done(site.cluster.driver(&["large", "2", &(8_u64 << 20).to_string()]));
    assert!(site.lan.connections(1) > 0 && site.lan.connections(2) > 0, "over TCP");
}

#[test]
fn nested_calls_go_between_hosts_whose_workers_dial_each_other_at_once() {
    let name = "nested_calls_go_between_hosts_whose_workers_dial_each_other_at_once";
    let Some(site) = Site::new(4, name) else { return };
    done(site.cluster.driver(&["nested", "6", "3"]));
}

#[test]
fn a_connection_that_is_cut_and_made_again_under_load_loses_nothing_and_repeats_nothing() {
    let name = "a_connection_that_is_cut_and_made_again_under_load_loses_nothing_and_repeats_nothing";
    let Some(site) = Site::new(2, name) else { return };
    let driver = site.batch(20_000);
    for cut in 1..6 {
        for host in 0..3 {
            site.lan.cut(host);
        }
        site.after(2_000 + cut * 2_000);
    }
    done(driver);
    site.each_started_once(20_000);
}

#[test]
fn a_network_that_swallows_everything_for_a_while_loses_nothing_and_repeats_nothing() {
    let name = "a_network_that_swallows_everything_for_a_while_loses_nothing_and_repeats_nothing";
    let Some(site) = Site::new(2, name) else { return };
    let driver = site.batch(20_000);
    site.lan.isolate(1);
    thread::sleep(Duration::from_secs(3));
    site.lan.heal(1).unwrap();
    done(driver);
    site.each_started_once(20_000);
}

#[test]
fn a_network_that_loses_a_part_of_everything_loses_nothing_and_repeats_nothing() {
    let name = "a_network_that_loses_a_part_of_everything_loses_nothing_and_repeats_nothing";
    let Some(site) = Site::new(2, name) else { return };
    (0..3).for_each(|host| site.lan.lose(host, 3));
    done(site.batch(4_000));
    site.each_started_once(4_000);
    done(site.cluster.driver(&["large", "2", &(1_u64 << 20).to_string()]));
}

#[test]
fn connections_that_are_refused_for_a_while_are_made_when_they_can_be() {
    let name = "connections_that_are_refused_for_a_while_are_made_when_they_can_be";
    let Some(site) = Site::new(1, name) else { return };
    let driver = site.batch(10_000);
    site.lan.refuse(1);
    thread::sleep(Duration::from_secs(2));
    site.lan.heal(1).unwrap();
    done(driver);
}

#[test]
fn a_connection_that_is_cut_for_longer_than_a_session_waits_ends_it_and_calls_are_attempted_again() {
    let name =
        "a_connection_that_is_cut_for_longer_than_a_session_waits_ends_it_and_calls_are_attempted_again";
    let Some(site) = Site::new(1, name) else { return };
    let driver = site.batch(10_000);
    (0..2).for_each(|host| site.lan.cut(host));
    (0..2).for_each(|host| site.lan.isolate(host));
    // The resets get through first.
    thread::sleep(Duration::from_secs(4));
    (0..2).for_each(|host| site.lan.heal(host).unwrap());
    done(driver);
}

#[test]
fn what_a_worker_had_that_cannot_be_reached_any_more_is_done_by_another() {
    let name = "what_a_worker_had_that_cannot_be_reached_any_more_is_done_by_another";
    let Some(site) = Site::new(2, name) else { return };
    let driver = site.batch(20_000);
    site.lan.isolate(1);
    done(driver);
    // It is a member all the time, since the store can be reached.
    site.lan.heal(1).unwrap();
    site.cluster.driver(&["everywhere", "2"]).succeeds(40);
    assert!(site.workers.iter().all(|worker| !worker.errors().contains("declared dead")));
}
