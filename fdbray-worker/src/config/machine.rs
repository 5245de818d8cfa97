//! What the machine, or the container around this process, has.

use std::fs;
use std::path::Path;

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
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits(root, line));
    // A machine that tells nothing is taken for a small one.
    limits.chain(machine).min().unwrap_or(1 << 30)
}

/// `MemTotal:  16384 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limits of a control group and those around it, from a line of `/proc/self/cgroup`: `0::/path` (version 2) or
/// `9:memory:/path` (version 1).
fn limits(root: &Path, line: &str) -> Vec<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        controllers if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    // In a container the path may be the host's; then only the mount's own root exists, and is the container's.
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    let texts = groups.filter_map(|group| fs::read_to_string(root.join(mount).join(group).join(file)).ok());
    // `max` is no number and no limit.
    texts.filter_map(|text| text.trim().parse().ok()).collect()
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
