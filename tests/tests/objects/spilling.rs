//! More than shared memory holds: it goes to disk and comes back, whatever the disk is like, and nothing of it stays.

use crate::PROGRAM;
use fdbray_tests::objects::{Cluster, eventually};
use rustix::{
    fs::statvfs,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::geteuid,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// A cluster whose processes have so many MiB of shared memory, and spill to `dir` in the test's directory.
fn cluster(mib: u64, dir: &str) -> Cluster {
    let cluster = Cluster::embedded(PROGRAM)
        .env("FDBRAY_STORE_BYTES", mib << 20)
        .env("FDBRAY_STORE_WAIT", "500ms")
        .env("FDBRAY_CPUS", 1)
        .env("CRASH_LOG", "warn");
    let dir = cluster.file(dir);
    cluster.env("FDBRAY_SPILL_DIR", dir.display())
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn work_on_twice_the_memory_completes() {
    let cluster = cluster(32, "not/there/yet");
    let mut driver = cluster.private(&["twice"]);
    driver.succeeds(300);
    assert!(is_empty(&cluster.file("not/there/yet")));
}

#[test]
fn what_somebody_reads_stays_in_place_while_others_go() {
    cluster(32, "spill").private(&["held"]).succeeds(120);
}

#[test]
fn async_code_that_waits_for_room_holds_nobody_up() {
    cluster(16, "spill").private(&["async"]).succeeds(240);
}

#[test]
fn what_can_never_have_room_is_refused_at_once() {
    // A wait would be much longer than the test.
    let cluster = cluster(16, "spill").env("FDBRAY_STORE_WAIT", "1h");
    cluster.private(&["too-long"]).succeeds(120);
}

#[test]
fn a_hundred_thousand_small_objects_and_a_huge_one() {
    let cluster = cluster(256, "spill").env("FDBRAY_INLINE_BYTES", 1000);
    cluster.private(&["many-and-one"]).succeeds(400);
}

#[test]
fn with_spilling_off_the_memory_is_all_there_is() {
    let cluster = cluster(16, "spill").env("FDBRAY_SPILL_DIR", "off");
    let mut driver = cluster.private(&["until-full"]);
    let why = driver.says(60, "full:");
    assert!(why.contains("reached its limit") && why.contains("set FDBRAY_SPILL_DIR"), "{why}");
    driver.succeeds(60);
}

#[test]
fn a_control_group_that_has_no_more_memory_is_named_and_kills_nobody() {
    let Some(group) = Group::new(512 << 20) else { return };
    let mut cluster = cluster(4096, "spill").env("FDBRAY_SPILL_DIR", "off");
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    cluster.behind(&["sh", "-c", &enter, "sh"]);
    let mut driver = cluster.private(&["until-group-full"]);
    let why = driver.says(120, "full:");
    assert!(why.contains("the container has") && why.contains("give it more memory"), "{why}");
    driver.succeeds(60);
}

#[test]
fn the_limit_of_what_is_spilled_is_kept_and_named() {
    let cluster = cluster(16, "spill").env("FDBRAY_SPILL_BYTES", 10 << 20);
    let mut driver = cluster.private(&["until-full"]);
    let spilled: u64 = driver.says(60, "spilled").parse().unwrap();
    assert!((8 << 20..=10 << 20).contains(&spilled), "{spilled}");
    let why = driver.says(60, "full:");
    assert!(
        why.contains(&format!("{spilled} of at most 10485760 bytes are spilled"))
            && why.contains("raise FDBRAY_SPILL_BYTES"),
        "{why}"
    );
    driver.succeeds(60);
}

#[test]
fn a_full_disk_is_named_and_costs_nothing_that_was_kept() {
    let cluster = cluster(16, "disk").env("FDBRAY_SPILL_BYTES", "1GiB");
    let Some(disk) = Disk::mount(&cluster, MountFlags::empty()) else { return };
    let mut driver = cluster.private(&["until-full"]);
    let why = driver.says(60, "full:");
    assert!(why.contains(&format!("{} is full", disk.0.display())), "{why}");
    driver.succeeds(60);
    eventually(10, "its space is free again", || (disk.free() > (7 << 20)).then_some(()));
}

#[test]
fn a_disk_that_is_read_only_is_named() {
    let cluster = cluster(16, "disk");
    let Some(disk) = Disk::mount(&cluster, MountFlags::RDONLY) else { return };
    let mut driver = cluster.private(&["until-full"]);
    assert_eq!(driver.says(60, "spilled"), "0");
    let why = driver.says(60, "full:");
    assert!(why.contains(&disk.0.display().to_string()) && why.contains("Read-only"), "{why}");
    driver.succeeds(60);
}

#[test]
fn what_is_spilled_stays_when_its_directory_goes() {
    let cluster = cluster(16, "spill");
    let dir = cluster.file("spill").display().to_string();
    cluster.private(&["gone", &dir]).succeeds(120);
}

#[test]
fn a_damaged_file_gives_no_wrong_data() {
    let cluster = cluster(32, "spill");
    for how in ["changed", "truncated"] {
        let runs = cluster.file(how);
        let cluster = self::cluster(32, "spill").env("OBJECTS_RUNS", runs.display());
        cluster.private(&["damaged", how]).succeeds(180);
        let runs = fs::read_to_string(&runs).unwrap();
        assert!(runs.lines().count() > 16, "nothing was computed again: {runs}");
    }
}

#[test]
fn nothing_of_a_killed_process_stays_on_the_disk() {
    let cluster = cluster(16, "disk").env("FDBRAY_SPILL_BYTES", "1GiB");
    let Some(disk) = Disk::sized(&cluster, 64 << 20, MountFlags::empty()) else { return };
    let before = disk.free();
    let mut driver = cluster.private(&["spill-and-wait"]);
    let spilled: u64 = driver.says(60, "spilled").parse().unwrap();
    assert!(spilled > 0 && disk.free() <= before - spilled);
    assert!(is_empty(&disk.0), "it has a name");
    driver.kill();
    eventually(10, "its space is free again", || (disk.free() == before).then_some(()));
}

/// A control group (version 2) inside that of this process, with a limit of memory.
struct Group(PathBuf);

impl Group {
    /// `None`, and a line that says so, where that is not permitted or memory is another version's.
    fn new(bytes: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let group =
            Group(Path::new("/sys/fs/cgroup").join(own).join(format!("fdbray-{}", std::process::id())));
        let limit = fs::create_dir(&group.0).and_then(|()| {
            // What is no control group has no such file, and is given none.
            let limit = fs::OpenOptions::new().write(true).open(group.0.join("memory.max"));
            limit.and_then(|mut file| file.write_all(bytes.to_string().as_bytes()))
        });
        if let Err(why) = limit {
            let why = format!("no control group of version 2 can be limited here: {why}");
            fdbray_tests::crash::skipped(
                "a_control_group_that_has_no_more_memory_is_named_and_kills_nobody",
                &why,
            );
            return None;
        }
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Until its last process is reaped it cannot be removed. It may never have been there.
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                _ => return,
            }
        }
    }
}

/// A small file system in memory, where the cluster spills.
struct Disk(PathBuf);

impl Disk {
    fn mount(cluster: &Cluster, flags: MountFlags) -> Option<Self> {
        Disk::sized(cluster, 8 << 20, flags)
    }

    /// `None`, and a line that says so, where that is not permitted.
    fn sized(cluster: &Cluster, bytes: u64, flags: MountFlags) -> Option<Self> {
        let at = cluster.file("disk");
        fs::create_dir_all(&at).unwrap();
        let data = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let mounted = geteuid().is_root().then(|| mount("tmpfs", &at, "tmpfs", flags, &*data));
        if let Some(Ok(())) = mounted {
            return Some(Disk(at));
        }
        fdbray_tests::crash::skipped("a test of spilling", "no file system can be mounted here");
        None
    }

    fn free(&self) -> u64 {
        let system = statvfs(&self.0).unwrap();
        system.f_bavail * system.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that still ends may hold it.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
