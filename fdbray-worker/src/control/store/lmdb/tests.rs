//! What only real processes, a real file and a real disk can show. Children are this test binary, run again.
#![allow(unsafe_code)]

use super::{Options, Sync};
use crate::control::store::key::Key;
use crate::control::store::{OpenError, Range, Store, StoreError, Watch};
use rustix::process::{Pid, Signal, getgid, getuid, kill_process, set_parent_process_death_signal};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const QUICK: Options = Options {
    sync: Sync::None,
    lock_wait: Duration::from_millis(300),
    map_bytes: 1 << 20,
    limits: crate::control::store::Limits {
        key: 480,
        value: 100_000,
        transaction: 10_000_000,
        time: Duration::from_secs(5),
    },
};

/// Waits as long as it takes: these tests must not fail because the machine is slow.
const PATIENT: Options = Options { lock_wait: Duration::from_secs(60), ..QUICK };

/// A process that does one thing with a store. Killed when dropped.
struct Helper {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(action: &str, directory: &Path) -> Self {
        Self::start_with(action, directory, |_| ()).unwrap()
    }

    fn start_with(
        action: &str,
        directory: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "control::store::lmdb::tests::helper", "--nocapture", "--test-threads=1"]);
        command.env("FDBRAY_TEST_HELPER", action).env("FDBRAY_TEST_DIRECTORY", directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        prepare(&mut command);
        let mut child = command.spawn()?;
        let output = BufReader::new(child.stdout.take().unwrap());
        Ok(Helper { child, output })
    }

    /// Lets it go on.
    fn tell(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Waits until it says so. Returns the rest of the line.
    fn expect(&mut self, word: &str) -> String {
        let (mut line, mut all) = (String::new(), String::new());
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The test harness prints to the same place.
            if let Some((_, said)) = line.split_once(">> ")
                && let Some(rest) = said.strip_prefix(word)
            {
                return rest.trim().to_owned();
            }
            all.push_str(&line);
            line.clear();
        }
        panic!("the helper ended ({:?}) without saying {word}, but:\n{all}", self.child.wait());
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n>> {word}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn wait_for_go() {
    if std::io::stdin().read(&mut [0; 3]).unwrap() == 0 {
        std::process::exit(0);
    }
}

/// Not a test: what the helpers run.
#[tokio::test]
async fn helper() {
    let Ok(action) = std::env::var("FDBRAY_TEST_HELPER") else { return };
    // It must not outlive a test that was killed.
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let directory = PathBuf::from(std::env::var_os("FDBRAY_TEST_DIRECTORY").unwrap());
    let store = match Store::lmdb(&directory, PATIENT) {
        Ok(store) => store,
        Err(error) => return say(&format!("refused {error}")),
    };
    match action.as_str() {
        "set" => {
            say("ready");
            loop {
                wait_for_go();
                store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
                say("done");
            }
        }
        "hold" => {
            let hold = store.transact(|tx| async move {
                tx.set(b"held", b"")?;
                tx.get(b"held").await?;
                say("holding");
                wait_for_go();
                Ok::<_, StoreError>(())
            });
            hold.await.unwrap();
            say("done");
            wait_for_go();
        }
        "count" => {
            say("ready");
            loop {
                let both = store.transact(|tx| async move {
                    tx.add(b"left", 1)?;
                    tx.add(b"right", 1)
                });
                both.await.unwrap();
            }
        }
        "grow" => {
            for n in 0..200_u64 {
                fill(&store, n).await.unwrap();
            }
            say("done");
            wait_for_go();
        }
        "fill the disk" => {
            let mut n = 0;
            let error = loop {
                match fill(&store, n).await {
                    Ok(()) => n += 1,
                    Err(error) => break error,
                }
            };
            say(&format!("full {} {error}", matches!(error, StoreError::DiskFull { .. })));
            let kept = store.read(|tx| async move { tx.range(Range::prefix(b"")).await }).await;
            let kept: Result<Vec<_>, StoreError> = kept;
            say(&format!("kept {}", kept.unwrap().len() as u64 == n && n > 0));
        }
        action => panic!("no action {action}"),
    }
}

async fn fill(store: &Store, n: u64) -> Result<(), StoreError> {
    store.transact(move |tx| async move { tx.set(Key::new().str("fill").u64(n), vec![7; 80_000]) }).await
}

async fn number(store: &Store, key: &'static [u8]) -> u64 {
    let value: Result<_, StoreError> = store.read(move |tx| async move { tx.get(key).await }).await;
    value.unwrap().map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
}

async fn watch(store: &Store, key: &'static [u8]) -> Watch {
    store.read(move |tx| async move { tx.watch(key) }).await.unwrap()
}

fn open(directory: &Path, options: Options) -> Store {
    Store::lmdb(directory, options).unwrap()
}

#[tokio::test]
async fn what_is_committed_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..5 {
        let store = open(directory.path(), Options { sync: Sync::Full, ..QUICK });
        assert_eq!(number(&store, b"n").await, n);
        store.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    }
}

#[tokio::test]
async fn two_stores_of_one_process_share_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let one = open(directory.path(), QUICK);
    let link = directory.path().with_extension("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let other = open(&link, QUICK);
    one.transact(|tx| async move { tx.add(b"n", 1) }).await.unwrap();
    assert_eq!(number(&other, b"n").await, 1);
    let error = Store::lmdb(directory.path(), Options { sync: Sync::Full, ..QUICK }).unwrap_err();
    assert!(error.to_string().contains("sync=none"), "{error}");
    drop(one);
    assert_eq!(number(&other, b"n").await, 1, "one of them may close");
    std::fs::remove_file(link).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_transactions_at_once_share_commits_and_fail_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let tasks: Vec<_> = (0..500_u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = store.transact(move |tx| async move {
                    tx.add(b"n", 1)?;
                    tx.set(Key::new().u64(n), b"")?;
                    if n % 7 == 0 { Err(StoreError::Unreachable("on purpose".into())) } else { Ok(()) }
                });
                run.await.is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += u64::from(task.await.unwrap());
    }
    assert_eq!(succeeded, 500 - 72);
    assert_eq!(number(&store, b"n").await, succeeded);
    let last = store.read(|tx| async move { tx.range(Range::new(b"", b"n").reverse()).await });
    let last: Result<Vec<_>, StoreError> = last.await;
    assert_eq!(last.unwrap().len() as u64, succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_grows_for_whoever_fills_it_and_for_everybody_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    for n in 0..50 {
        fill(&store, n).await.unwrap();
    }
    let mut other = Helper::start("grow", directory.path());
    other.expect("done");
    let all: Result<Vec<_>, StoreError> =
        store.read(|tx| async move { tx.range(Range::prefix(b"")).await }).await;
    assert_eq!(all.unwrap().len(), 200);
    fill(&store, 500).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_may_need_a_map_many_times_larger() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let large = store.transact(|tx| async move {
        (0..90_u64).try_for_each(|n| tx.set(Key::new().u64(n), vec![1; 100_000]))?;
        Ok::<_, StoreError>(())
    });
    large.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transactions_at_once_are_spread_over_several_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), PATIENT);
    let large = |task: u64| {
        store.transact_stamped(move |tx| async move {
            (0..60_u64).try_for_each(|n| tx.set(Key::new().u64(task).u64(n), vec![1; 100_000]))?;
            Ok::<_, StoreError>(())
        })
    };
    let all = futures_util::future::join_all((0..12).map(large)).await;
    let stamps: Vec<[u8; 10]> = all.into_iter().map(|result| result.unwrap().1.unwrap()).collect();
    assert!(stamps.is_sorted(), "in the order in which they came");
    assert_ne!(stamps[0][..8], stamps[11][..8]);
    let all: Result<Vec<_>, StoreError> =
        store.read(|tx| async move { tx.range(Range::prefix(b"")).await }).await;
    assert_eq!(all.unwrap().len(), 12 * 60);
}

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

#[test]
fn a_database_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("data.mdb"), vec![b'x'; 100_000]).unwrap();
    let error = Store::lmdb(directory.path(), QUICK).unwrap_err();
    assert!(matches!(&error, OpenError::NotAStore { .. }), "{error}");
    assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_path_that_cannot_be_used_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::lmdb(file.path(), QUICK).unwrap_err();
    assert!(matches!(&error, OpenError::Path { .. }), "{error}");
    let error = Store::lmdb("/proc/nowhere", QUICK).unwrap_err();
    assert!(error.to_string().contains("/proc/nowhere"), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused_by_its_version() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), QUICK));
    super::environment::tests::write_newer_format(directory.path());
    let error = Store::lmdb(directory.path(), QUICK).unwrap_err();
    assert!(matches!(&error, OpenError::NewerFormat { format: 2, .. }), "{error}");
    assert!(error.to_string().contains("fdbray 9.9.9"), "{error}");
}

#[tokio::test]
async fn awaiting_something_else_than_the_store_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    let stuck = store.transact(|tx| async move {
        tx.set(b"a", b"")?;
        std::future::pending::<()>().await;
        Ok::<_, StoreError>(())
    });
    assert!(matches!(stuck.await, Err(StoreError::ForeignAwait)));
    let waits_for_itself = store.transact(|tx| async move {
        tokio::task::yield_now().await;
        tx.set(b"a", b"")
    });
    waits_for_itself.await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_nobody_waits_for_any_more_need_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    for _ in 0..100 {
        drop(store.transact(|tx| async move { tx.add(b"n", 1) }));
    }
    assert_eq!(number(&store, b"n").await, 0);
}

#[tokio::test]
async fn watches_of_a_store_that_closes_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), QUICK);
    let watch = watch(&store, b"n").await;
    drop(store);
    assert!(matches!(watch.await, Err(StoreError::Closed)));
}
