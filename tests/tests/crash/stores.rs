//! A control plane that is away, or has no room: what the processes own goes on.

use crate::PROGRAM;
use fdbray_tests::crash::{Cluster, eventually};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::geteuid,
};
use std::{fs, io::Write, path::PathBuf};

#[test]
fn while_the_store_is_away_for_a_minute_nobody_is_declared_dead_and_calls_go_on() {
    let cluster = Cluster::embedded(PROGRAM).env("CRASH_LOG", "warn");
    let workers = [cluster.worker(&["--cpus", "1"]), cluster.worker(&["--cpus", "1"])];
    let mut driver = cluster.driver(&["steady", "75"]);
    driver.says(30, "steady");
    let mut holder = cluster.other(&["hold-store", &cluster.url(), "62"]);
    holder.says(20, "holds");
    let mut late = cluster.driver(&["one-call"]);
    assert!(!late.ends(40).success());
    assert!(late.errors().contains("control plane") || late.errors().contains("lock"), "{}", late.errors());
    holder.says(90, "released");
    driver.says(60, "made");
    driver.succeeds(10);
    let mut after = cluster.driver(&["everywhere", "2"]);
    after.succeeds(30);
    for worker in &workers {
        assert!(!worker.errors().contains("declared dead"), "{}", worker.log());
    }
}

/// A small file system in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`, and a line that says so, where that is not permitted.
    fn mount(at: PathBuf, bytes: u64, test: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let data = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let mounted = geteuid().is_root().then(|| mount("tmpfs", &at, "tmpfs", MountFlags::empty(), &*data));
        match mounted {
            Some(Ok(())) => Some(Tmpfs(at)),
            _ => {
                println!("skipped {test}: no file system can be mounted here");
                None
            }
        }
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let mut block = 1 << 16;
        while block > 0 {
            if file.write(&vec![0_u8; block]).is_err() {
                block /= 2;
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A process that still ends may hold it.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn on_a_full_disk_a_start_fails_with_a_reason() {
    let cluster = Cluster::new(PROGRAM);
    let Some(disk) =
        Tmpfs::mount(cluster.file("scratch"), 1 << 20, "on_a_full_disk_a_start_fails_with_a_reason")
    else {
        return;
    };
    disk.fill();
    let mut driver = cluster.private(&["one-call"]);
    assert_eq!(driver.ends(30).code(), Some(1), "{}", driver.log());
    let said = driver.errors();
    assert!(said.contains("full") || said.contains("No space") || said.contains("no room"), "{said}");
}

#[test]
fn when_the_disk_of_a_running_cluster_fills_up_calls_go_on() {
    let name = "when_the_disk_of_a_running_cluster_fills_up_calls_go_on";
    let cluster = Cluster::new(PROGRAM).env("FDBRAY_WORKERS", 2).env("FDBRAY_CPUS", 1);
    let Some(disk) = Tmpfs::mount(cluster.file("scratch"), 8 << 20, name) else { return };
    let mut driver = cluster.private(&["steady", "15"]);
    driver.says(30, "steady");
    disk.fill();
    driver.says(60, "made");
    driver.succeeds(10);
    eventually(5, "the scratch directory is removed", || {
        let left = fs::read_dir(&disk.0).unwrap().flatten().filter(|e| e.file_name() != "filler").count();
        (left == 0).then_some(())
    });
}
