//! What the machine, or the container around this process, has.

use std::fs;
use std::path::{Path, PathBuf};

/// Cpus that this process may use: the container's limit, if there is one.
pub fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64)
}

/// Gpus whose driver shows them.
pub fn gpus() -> u64 {
    fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |gpus| gpus.count() as u64)
}

/// Bytes of memory: the least of the machine's and of all limits of the control groups around this process.
pub fn memory() -> u64 {
    memory_below(Path::new("/"))
}

fn memory_below(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total(&text));
    let limits = memory_groups(root).into_iter().filter_map(|group| group.limit());
    // A machine that tells nothing is taken for a small one.
    limits.chain(machine).min().unwrap_or(1 << 30)
}

/// `MemTotal:  16384 kB`
fn total(meminfo: &str) -> Option<u64> {
    kilobytes(meminfo, "MemTotal:")
}

/// A line of `/proc/meminfo`, in bytes.
pub(crate) fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The control groups around this process that may limit its memory, the innermost first. Some may not be there.
pub(crate) fn memory_groups(root: &Path) -> Vec<MemoryGroup> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().flat_map(|line| around(root, line)).collect()
}

/// The folder of a control group, and the names of its files, which differ between the versions.
pub(crate) struct MemoryGroup {
    folder: PathBuf,
    older: bool,
}

impl MemoryGroup {
    /// The most bytes it may use. None without a limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        // `max` is no number and no limit.
        self.number(if self.older { "memory.limit_in_bytes" } else { "memory.max" })
    }

    /// The bytes it uses that the kernel cannot take back at once. Pages of files that were not read for a while it can.
    pub(crate) fn used(&self) -> Option<u64> {
        let (usage, inactive) = match self.older {
            false => ("memory.current", "inactive_file "),
            true => ("memory.usage_in_bytes", "total_inactive_file "),
        };
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse().ok());
        Some(self.number(usage)?.saturating_sub(inactive.unwrap_or(0)))
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }
}

/// A control group and those around it, from a line of `/proc/self/cgroup`: `0::/path` (version 2) or
/// `9:memory:/path` (version 1).
fn around(root: &Path, line: &str) -> Vec<MemoryGroup> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (mount, older) = match controllers {
        "" => ("sys/fs/cgroup", false),
        controllers if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", true)
        }
        _ => return Vec::new(),
    };
    // In a container the path may be the host's; then only the mount's own root exists, and is the container's.
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    groups.map(|group| MemoryGroup { folder: root.join(mount).join(group), older }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn memory_is_the_least_of_all_limits_around() {
        let root = machine(&[
            ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "4096\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ]);
        assert_eq!(memory_below(root.path()), 4096);
    }

    #[test]
    fn the_older_control_groups_count_too() {
        let root = machine(&[
            ("proc/meminfo", "MemTotal: 16384 kB\n"),
            ("proc/self/cgroup", "3:cpu:/a\n2:memory:/docker/x\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "8192"),
        ]);
        assert_eq!(memory_below(root.path()), 8192);
    }

    #[test]
    fn without_limits_memory_is_the_machines() {
        let root = machine(&[("proc/meminfo", "MemTotal: 2 kB\n"), ("proc/self/cgroup", "0::/\n")]);
        assert_eq!(memory_below(root.path()), 2048);
        assert!(memory() > 0 && cpus() > 0);
    }
}
