//! Whether a directory is fit for a store: local, readable, and which pid namespace this process is in.

use crate::control::store::OpenError;
use rustix::fs::statfs;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory, made if it is missing, in its one true spelling. `parents`: those too. Not where nothing is kept for
/// good: somebody removes the directory of a private cluster, and a process that starts late must not make it again.
pub(super) fn prepare(path: &Path, parents: bool) -> Result<PathBuf, OpenError> {
    let exists = |e: io::Error| if path.is_dir() { Ok(()) } else { Err(e) };
    let fail = |source| OpenError::Path { path: path.into(), source: Arc::new(source) };
    DirBuilder::new().recursive(parents).create(path).or_else(exists).map_err(fail)?;
    let path = path.canonicalize().map_err(fail)?;
    let kind = network_filesystem(filesystem(&path).map_err(fail)?);
    match kind {
        Some(kind) => Err(OpenError::NetworkFilesystem { path, kind }),
        None => Ok(path),
    }
}

/// What the directory is, whatever its name.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The inode of this process's pid namespace.
pub(super) fn pid_namespace() -> io::Result<u64> {
    fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino())
}

/// Whether hardly anything can be written any more.
pub(super) fn is_nearly_full(path: &Path) -> bool {
    const LITTLE: u64 = 256 << 10;
    statfs(path).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_bsize as u64) < LITTLE)
}

fn filesystem(path: &Path) -> io::Result<i64> {
    // The type of the field differs between platforms.
    #[allow(clippy::unnecessary_cast)]
    Ok(statfs(path)?.f_type as i64)
}

/// The name of a filesystem that several machines (or a user's program) may serve, by the magic number of `statfs`.
fn network_filesystem(magic: i64) -> Option<&'static str> {
    // Some platforms give the number with its sign extended.
    Some(match magic as u32 {
        0x6969 => "nfs",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0x5346_414f | 0x6b41_4653 => "afs",
        0x7375_7245 => "coda",
        0x564c => "ncp",
        0x7461_636f => "ocfs2",
        0x0116_1970 => "gfs2",
        0x0bd0_0bd0 => "lustre",
        0x4750_4653 => "gpfs",
        0x786f_4256 => "vboxsf",
        0xbacb_acbc => "vmhgfs",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_known_by_their_magic() {
        assert_eq!(network_filesystem(0x6969), Some("nfs"));
        assert_eq!(network_filesystem(0xff53_4d42_u32 as i32 as i64), Some("smb"));
        assert_eq!(network_filesystem(0xef53), None, "ext4 is local");
        assert_eq!(network_filesystem(0x0102_1994), None, "tmpfs is local");
    }

    #[test]
    fn a_path_that_is_a_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare(file.path(), true).unwrap_err();
        assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
    }
}
