//! Workers that cannot start: programs that die at once, ports that are taken.

use crate::PROGRAM;
use fdbray_tests::crash::Cluster;
use std::net::TcpListener;

#[test]
fn when_workers_always_die_at_their_start_calls_end_with_the_exit_status() {
    let cluster = Cluster::new(PROGRAM).env("CRASH_AT_START", 7);
    let mut driver = cluster.private(&["one-call"]);
    let error = driver.says(60, "error");
    assert!(error.contains("exited with code 7") && error.contains("work"), "{error}");
    driver.succeeds(10);
}

#[test]
fn a_worker_whose_port_is_taken_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cluster = Cluster::new(PROGRAM);
    let mut worker = cluster.worker(&["--listen", &address]);
    assert_eq!(worker.ends(20).code(), Some(1));
    let said = worker.errors();
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn a_worker_that_may_not_listen_for_strangers_says_why() {
    let cluster = Cluster::new(PROGRAM);
    let mut worker = cluster.worker(&["--listen", "0.0.0.0:0"]);
    assert_eq!(worker.ends(20).code(), Some(1));
    let said = worker.errors();
    assert!(said.contains("secret"), "{said}");
}
