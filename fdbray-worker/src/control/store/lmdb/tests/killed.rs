//! Several processes with one store, of which some are killed, stopped or have no disk left.
#![allow(unsafe_code)]

use super::*;
use rustix::process::{getgid, getuid};
use std::ffi::CString;
use std::os::unix::process::CommandExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_what_another_process_writes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let mut writer = Helper::start("set", directory.path());
    writer.expect("ready");
    for n in 1..=20 {
        let watch = watch(&store, b"n").await;
        writer.tell();
        watch.await.unwrap();
        assert_eq!(number(&store, b"n").await, n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_before_its_commit_leaves_nothing_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let mut writer = Helper::start_with("set", directory.path(), |command| {
        command.env("FDBRAY_TEST_CRASH", "before commit");
    })
    .unwrap();
    writer.expect("ready");
    writer.tell();
    writer.child.wait().unwrap();
    assert_eq!(number(&store, b"n").await, 0);
    store.transact(|tx| async move { tx.add(b"n", 5) }).await.unwrap();
    assert_eq!(number(&store, b"n").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_after_its_commit_is_published_by_somebody_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let watch = watch(&store, b"n").await;
    let mut writer = Helper::start_with("set", directory.path(), |command| {
        command.env("FDBRAY_TEST_CRASH", "after commit");
    })
    .unwrap();
    writer.expect("ready");
    writer.tell();
    writer.child.wait().unwrap();
    // Nobody else writes: this process has to notice by itself.
    watch.await.unwrap();
    assert_eq!(number(&store, b"n").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_killed_at_any_moment_leave_whole_transactions_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let mut before = 0;
    for round in 0..12_u64 {
        let mut writers =
            [Helper::start("count", directory.path()), Helper::start("count", directory.path())];
        writers.iter_mut().for_each(|writer| drop(writer.expect("ready")));
        let goal = before + 20 + 13 * round;
        while number(&store, b"left").await < goal {
            tokio::task::yield_now().await;
        }
        drop(writers);
        store.transact(|tx| async move { tx.add(b"mine", 1) }).await.unwrap();
        let both = store
            .read(|tx| async move { Ok::<_, StoreError>((tx.get(b"left").await?, tx.get(b"right").await?)) });
        let (left, right) = both.await.unwrap();
        assert_eq!(left, right);
        before = number(&store, b"left").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_write_lock_for_too_long_is_named_and_readers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    let mut holder = Helper::start("hold", directory.path());
    holder.expect("holding");
    holder.signal(Signal::STOP);
    let error = store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap_err();
    assert!(error.retryable());
    let StoreError::Busy { pid, .. } = error else { panic!("{error}") };
    assert_eq!(pid, Some(holder.child.id()));
    // While one waits for the lock, others read.
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.transact(|tx| async move { tx.add(b"n", 1) }).await }
    });
    assert_eq!(number(&store, b"held").await, 0);
    holder.signal(Signal::CONT);
    holder.tell();
    holder.expect("done");
    // It may have waited for too long already, on a slow machine.
    let waited = waiting.await.unwrap();
    store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    assert_eq!(number(&store, b"n").await, 1 + u64::from(waited.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_of_the_write_lock_that_is_killed_releases_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let mut holder = Helper::start("hold", directory.path());
    holder.expect("holding");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.transact(|tx| async move { tx.add(b"n", 1) }).await }
    });
    holder.signal(Signal::KILL);
    waiting.await.unwrap().unwrap();
    assert_eq!(number(&store, b"n").await, 1);
}

#[test]
fn a_full_disk_is_an_error_that_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let target = CString::new(directory.path().to_str().unwrap()).unwrap();
    // A small disk of its own, for this child alone: a tmpfs in a mount namespace in a user namespace.
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let text = |text: String| CString::new(text).unwrap();
    let maps = [
        (c"/proc/self/setgroups", text("deny".into())),
        (c"/proc/self/uid_map", text(format!("0 {user} 1"))),
        (c"/proc/self/gid_map", text(format!("0 {group} 1"))),
    ];
    let prepare = move || {
        let check = |result: isize| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
        // SAFETY: system calls only, on memory that was made before the fork.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as isize)?;
            for (file, text) in &maps {
                let file = libc::open(file.as_ptr(), libc::O_WRONLY);
                check(libc::write(file, text.as_ptr().cast(), text.count_bytes()))?;
                libc::close(file);
            }
            let (kind, options) = (c"tmpfs".as_ptr(), c"size=2m".as_ptr().cast());
            check(libc::mount(kind, target.as_ptr(), kind, 0, options) as isize)
        }
    };
    let helper = Helper::start_with("fill the disk", directory.path(), |command| {
        // SAFETY: `prepare` allocates nothing and takes no lock.
        unsafe { command.pre_exec(prepare) };
    });
    let mut helper = match helper {
        Ok(helper) => helper,
        Err(error) => return eprintln!("skipped: a full disk (no mount in a user namespace here: {error})"),
    };
    let full = helper.expect("full");
    assert!(full.starts_with("true") && full.contains("free some space"), "{full}");
    assert_eq!(helper.expect("kept"), "true");
}
