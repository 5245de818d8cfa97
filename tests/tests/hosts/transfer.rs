//! Large values between hosts: over connections that break, from several that have them, compressed where that pays.

use super::{Site, done};
use fdbray_tests::crash::{App, Cluster};
use std::fs;

const MIB: u64 = 1 << 20;

/// A driver that pulls a value of so many MiB from the one worker, and is at it.
fn pulling(site: &Site, mebibytes: u64, bytes: &str) -> App {
    let len = (mebibytes * MIB).to_string();
    let mut driver = site.cluster.driver(&["pull", &len, bytes, &site.file()]);
    driver.says(60, "there");
    driver
}

/// Waits until a host has sent so many MiB more than `before`.
fn sent(site: &Site, host: usize, before: u64, mebibytes: u64) {
    let enough = || (site.lan.sent(host) >= before + mebibytes * MIB).then_some(());
    fdbray_tests::crash::eventually(60, "the value is under way", enough);
}

#[test]
fn a_pull_goes_on_where_its_connections_were_cut() {
    let Some(site) = Site::new(1, "a_pull_goes_on_where_its_connections_were_cut") else { return };
    site.lan.shape(1, 100);
    let before = site.lan.sent(1);
    let mut driver = pulling(&site, 24, "noise");
    for cut in [4, 10, 16] {
        sent(&site, 1, before, cut);
        (0..2).for_each(|host| site.lan.cut(host));
    }
    driver.says(90, "pulled");
    driver.succeeds(10);
    let sent = site.lan.sent(1) - before;
    assert!(sent < 2 * 24 * MIB, "{sent} bytes for 24 MiB: what had arrived was not sent again");
}

#[test]
fn a_value_whose_only_keeper_is_killed_while_it_is_pulled_is_lost_and_that_is_said() {
    let name = "a_value_whose_only_keeper_is_killed_while_it_is_pulled_is_lost_and_that_is_said";
    let Some(mut site) = Site::new(1, name) else { return };
    site.lan.shape(1, 50);
    let before = site.lan.sent(1);
    let mut driver = pulling(&site, 24, "noise");
    sent(&site, 1, before, 4);
    site.workers[0].kill();
    driver.says(60, "lost");
    driver.succeeds(10);
}

#[test]
fn of_two_sources_one_is_killed_and_the_other_brings_the_rest() {
    let name = "of_two_sources_one_is_killed_and_the_other_brings_the_rest";
    let Some(mut site) = Site::new(2, name) else { return };
    let mut driver = site.cluster.driver(&["two-sources", &(24 * MIB).to_string(), &site.file()]);
    let said = driver.says(90, "sources ");
    // Slow from here on, so that there is time.
    (1..3).for_each(|host| site.lan.shape(host, 40));
    let before = [1, 2].map(|host| site.lan.sent(host));
    fs::write(format!("{}.go", site.file()), "").unwrap();
    (1..3).for_each(|host| sent(&site, host, before[host - 1], 1));
    let maker: u32 = said.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).unwrap();
    let maker = site.workers.iter_mut().find(|worker| worker.pid() == maker).unwrap();
    maker.kill();
    driver.says(90, "all");
    driver.succeeds(10);
}

#[test]
fn what_shrinks_is_compressed_on_a_slow_link_and_what_does_not_is_not() {
    let name = "what_shrinks_is_compressed_on_a_slow_link_and_what_does_not_is_not";
    for (bytes, most) in [("text", 20 * MIB), ("noise", 26 * MIB)] {
        let Some(site) = Site::new(1, name) else { return };
        site.lan.shape(1, 60);
        let before = site.lan.sent(1);
        let mut driver = pulling(&site, 24, bytes);
        driver.says(90, "pulled");
        driver.succeeds(10);
        let sent = site.lan.sent(1) - before;
        assert!(sent < most, "{sent} bytes for 24 MiB of {bytes}");
    }
}

#[test]
fn a_value_comes_to_a_host_once_however_many_of_its_processes_want_it() {
    let name = "a_value_comes_to_a_host_once_however_many_of_its_processes_want_it";
    let Some(mut site) = Site::new(1, name) else { return };
    // The others are on the driver's host.
    let listen = format!("{}:0", site.lan.address(0));
    let others: Vec<App> =
        (0..3).map(|_| site.cluster.worker(&["--cpus", "1", "--listen", &listen])).collect();
    let (len, maker) = ((24 * MIB).to_string(), site.workers[0].pid().to_string());
    site.workers.extend(others);
    site.lan.shape(1, 100);
    let before = site.lan.sent(1);
    done(site.cluster.driver(&["to-all", "4", &len, &site.file(), &maker]));
    let sent = site.lan.sent(1) - before;
    assert!(sent < 24 * MIB * 3 / 2, "{sent} bytes for 24 MiB");
}

#[test]
fn calls_go_to_their_large_arguments_on_another_host_and_stay_there() {
    let name = "calls_go_to_their_large_arguments_on_another_host_and_stay_there";
    let Some(site) = Site::with(2, name, |cluster| cluster.env("FDBRAY_LOCALITY_BYTES", "1MB")) else {
        return;
    };
    done(site.cluster.driver(&["near-values", &(4 * MIB).to_string(), &site.file()]));
}

/// A worker with 16 MiB of shared memory, and a driver on another host with so many, that does what its scenario says.
fn full_memories(name: &str, scenario: &str, driver_mib: u64, spill: &str) {
    let set = |cluster: Cluster| {
        let dir = if spill == "off" { spill.to_owned() } else { cluster.file(spill).display().to_string() };
        let cluster = cluster.env("FDBRAY_SPILL_DIR", dir).env("FDBRAY_STORE_WAIT", "500ms");
        cluster.env("FDBRAY_STORE_BYTES", 16 * MIB)
    };
    let Some(mut site) = Site::of(env!("CARGO_BIN_EXE_objects_app"), 1, name, set) else { return };
    site.cluster = site.cluster.env("FDBRAY_STORE_BYTES", driver_mib * MIB);
    site.cluster.driver(&[scenario]).succeeds(240);
}

#[test]
fn a_value_that_its_keeper_has_spilled_is_pulled_from_its_disk() {
    let name = "a_value_that_its_keeper_has_spilled_is_pulled_from_its_disk";
    full_memories(name, "pull-spilled", 64, "spill");
}

#[test]
fn what_is_pulled_into_full_memories_makes_room_by_spilling() {
    let name = "what_is_pulled_into_full_memories_makes_room_by_spilling";
    full_memories(name, "pull-into-full", 16, "spill");
}

#[test]
fn without_a_disk_copies_make_room_for_what_is_pulled_and_what_is_in_use_is_named() {
    let name = "without_a_disk_copies_make_room_for_what_is_pulled_and_what_is_in_use_is_named";
    full_memories(name, "pull-without-room", 64, "off");
}
