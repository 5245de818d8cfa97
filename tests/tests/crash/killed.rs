//! Workers that are killed or kill themselves, in a private cluster.

use fdbray::{Error, settle};
use fdbray_tests::crash::{aborts, children_of, counted, eventually, send, starts, within, work, work_async};
use futures_util::StreamExt;
use rustix::{
    net::{AddressFamily, Shutdown, shutdown, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open},
};
use std::{collections::BTreeMap, fs, path::Path, process, time::Duration};

/// Kills a worker of this driver.
fn kill_one_of(workers: usize) -> u32 {
    let pid = children_of(process::id(), workers)[0];
    send(pid, Signal::KILL);
    pid
}

/// Awaits `calls` one by one as they end, kills a worker when a tenth has ended, and counts how often each value came.
async fn kill_in_between(calls: Vec<fdbray::RemoteFuture<u64>>, workers: usize) -> BTreeMap<u64, u32> {
    let total = calls.len();
    let mut delivered = BTreeMap::new();
    let mut done = fdbray::as_completed(calls);
    let all = async {
        let mut ended = 0;
        while let Some(value) = done.next().await {
            *delivered.entry(value.expect("a call within its retries has a value")).or_default() += 1;
            ended += 1;
            if ended == total / 10 {
                kill_one_of(workers);
            }
        }
    };
    within(60, "all calls settle though a worker was killed", all).await;
    delivered
}

fn each_once(total: u64) -> BTreeMap<u64, u32> {
    (0..total).map(|n| (n, 1)).collect()
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn ten_thousand_calls_in_flight_settle_once_each_when_one_of_two_workers_is_killed() {
    let calls = work::map((0..10_000).map(|n| (n, 100)));
    assert_eq!(kill_in_between(calls, 2).await, each_once(10_000));
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn ten_thousand_calls_in_flight_settle_once_each_when_the_only_worker_is_killed() {
    let calls = work::map((0..10_000).map(|n| (n, 100)));
    assert_eq!(kill_in_between(calls, 1).await, each_once(10_000));
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn async_calls_in_flight_settle_once_each_when_the_only_worker_is_killed() {
    let calls = work_async::map((0..10_000).map(|n| (n, 1_000)));
    assert_eq!(kill_in_between(calls, 1).await, each_once(10_000));
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn without_retries_nothing_starts_twice_and_what_had_not_started_runs_anyway() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let calls = counted::options().retries(0).map((0..4_000_u64).map(|n| (n, 300_u64, file.clone())));
    // By what has started, not by what has been heard of: on a busy machine that can be everything, late.
    let killer = tokio::task::spawn_blocking({
        let file = file.clone();
        move || {
            let started = || Some(starts(Path::new(&file)).len()).filter(|n| *n >= 1_000);
            let started = eventually(60, "calls start", started);
            kill_one_of(1);
            started
        }
    });
    let (mut values, mut died) = (0, 0);
    for result in within(60, "all calls settle", settle(calls)).await {
        match result {
            Ok(_) => values += 1,
            Err(Error::WorkerDied { attempts: 1, .. }) => died += 1,
            Err(e) => panic!("neither a value nor a death: {e}"),
        }
    }
    let before = killer.await.unwrap();
    let starts = starts(Path::new(&file));
    let mut by_call: BTreeMap<u64, usize> = BTreeMap::new();
    starts.iter().for_each(|s| *by_call.entry(s.n).or_default() += 1);
    assert!(by_call.values().all(|n| *n == 1), "started twice: {:?}", by_call.iter().find(|(_, n)| **n > 1));
    assert_eq!(values + died, 4_000);
    // What ran when the worker was killed, and what had ended but not been told: not everything that had been sent. Nothing
    // at all when it had just run dry, on a busy machine.
    assert!(died < 600, "{died} calls ended with the worker, killed when {before} had started");
}

/// Ends, in the worker `pid`, the sending direction of its connections with this process, so that it notices last that
/// their session is over.
fn hang_up_on_us(pid: u32) {
    let process = |pid| Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let worker = pidfd_open(process(pid), PidfdFlags::empty()).unwrap();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let name = entry.file_name().to_str().unwrap().parse().unwrap();
        // It may have been closed since.
        if let Ok(socket) = pidfd_getfd(&worker, name, PidfdGetfdFlags::empty())
            && sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX)
            && sockopt::socket_acceptconn(&socket) == Ok(false)
            && sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.pid == process(process::id()))
        {
            shutdown(&socket, Shutdown::Write).unwrap();
        }
    }
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn without_retries_nothing_starts_twice_when_a_session_ends_and_its_worker_lives() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let calls = counted::options().retries(0).map((0..2_000_u64).map(|n| (n, 50_u64, file.clone())));
    let mut done = fdbray::as_completed(calls);
    let all = async {
        let mut values = 0;
        while let Some(result) = done.next().await {
            match result {
                Ok(_) => values += 1,
                Err(Error::WorkerDied { attempts: 1, .. }) => continue,
                Err(e) => panic!("neither a value nor a death: {e}"),
            }
            if values % 500 == 250 {
                hang_up_on_us(children_of(process::id(), 1)[0]);
            }
        }
    };
    within(60, "all calls settle", all).await;
    let mut by_call: BTreeMap<u64, usize> = BTreeMap::new();
    starts(Path::new(&file)).iter().for_each(|s| *by_call.entry(s.n).or_default() += 1);
    let twice: Vec<_> = by_call.iter().filter(|(_, starts)| **starts > 1).collect();
    assert!(twice.is_empty(), "started more than once: {twice:?}");
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn a_call_that_kills_its_worker_spends_its_own_retries_and_not_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    let before = work::options().retries(2).map((0..2_000_u64).map(|n| (n, 50_u64)));
    let killer = aborts::options().retries(3).remote(&file);
    let after = work::options().retries(2).map((2_000..4_000_u64).map(|n| (n, 50_u64)));
    match within(60, "the killer's call ends", killer).await {
        Err(Error::WorkerDied { attempts: 4, function, .. }) => assert!(function.ends_with("aborts")),
        other => panic!("{other:?}"),
    }
    assert_eq!(starts(Path::new(&file)).iter().map(|s| s.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (n, value) in
        within(60, "the others have values", settle(before.into_iter().chain(after))).await.iter().enumerate()
    {
        assert_eq!(value.as_ref().ok(), Some(&(n as u64)), "{value:?}");
    }
    assert_eq!(within(20, "the program goes on", work::remote(1, 1)).await.unwrap(), 1);
}

#[fdbray::test(workers = 1, cpus = 2)]
async fn many_calls_that_kill_their_worker_do_not_end_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starts").display().to_string();
    fdbray_tests::crash::show_logs();
    for _ in 0..3 {
        match within(120, "the killer's call ends", aborts::remote(&file)).await {
            Err(Error::WorkerDied { attempts: 4, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(within(30, "the program goes on", work::remote(1, 1)).await.unwrap(), 1);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_worker_that_is_killed_while_idle_is_replaced() {
    assert_eq!(within(20, "a first call", work::remote(1, 1)).await.unwrap(), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let killed = kill_one_of(1);
    assert_eq!(within(20, "a call after it", work::remote(2, 1)).await.unwrap(), 2);
    assert_ne!(children_of(process::id(), 1), [killed]);
}
