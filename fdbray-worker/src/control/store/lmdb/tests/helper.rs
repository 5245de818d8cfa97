//! Another process with a store: this test binary, run again.

use super::*;
use rustix::process::{Pid, kill_process, set_parent_process_death_signal};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};

/// A process that does one thing with a store. Killed when dropped.
pub(super) struct Helper {
    pub(super) child: Child,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub(super) fn start(action: &str, directory: &Path) -> Self {
        Self::start_with(action, directory, |_| ()).unwrap()
    }

    pub(super) fn start_with(
        action: &str,
        directory: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "control::store::lmdb::tests::helper::helper",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env("FDBRAY_TEST_HELPER", action).env("FDBRAY_TEST_DIRECTORY", directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        prepare(&mut command);
        let mut child = command.spawn()?;
        let output = BufReader::new(child.stdout.take().unwrap());
        Ok(Helper { child, output })
    }

    /// Lets it go on.
    pub(super) fn tell(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Waits until it says so. Returns the rest of the line.
    pub(super) fn expect(&mut self, word: &str) -> String {
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

    pub(super) fn signal(&self, signal: Signal) {
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
