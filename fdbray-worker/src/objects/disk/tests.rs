//! Spilled values on a real disk: what is written comes back, limits hold, damage shows, and freed space is free.

use super::*;
use crate::{
    objects::{Arena, Damaged, Options, Spilled},
    payload::Payload,
};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
};

const LEN: usize = 300_000;

fn arena(limit: u64) -> Arena {
    Arena::new(Options { limit, reserve: 0, low_water: 0, background: false })
}

fn disk(dir: &Path, limit: Option<u64>) -> Disk {
    Disk::new(&DiskOptions { dir: Some(dir.to_owned()), limit })
}

fn values(arena: &Arena) -> Vec<Payload> {
    let buffers =
        vec![Bytes::from(vec![1; LEN / 2]), Bytes::from(vec![2; 10]), Bytes::from(vec![3; LEN / 2])];
    let all = [
        Payload::Shared(vec![5; LEN].into()),
        Payload::Described(vec![6; LEN].into()),
        Payload::in_parts(Bytes::from_static(b"head"), buffers),
    ];
    all.iter().map(|value| arena.keep(value).unwrap()).collect()
}

fn spilled(value: Payload, arena: &Arena, disk: &Disk) -> Arc<Spilled> {
    let spilled = Spilled::park(value, arena).unwrap();
    spilled.write(disk).unwrap();
    spilled
}

/// The one file that a disk has open.
fn file(disk: &Disk) -> File {
    let dir = disk.dir.clone().unwrap();
    let mut all = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let path = all.find(|path| fs::read_link(path).is_ok_and(|to| to.starts_with(&dir))).unwrap();
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn a_value_leaves_the_memory_for_the_disk_and_comes_back_whole() {
    let (arena, dir) = (arena(4 << 20), tempfile::tempdir().unwrap());
    let disk = disk(dir.path(), None);
    for value in values(&arena) {
        let (bytes, described) = (value.contiguous().to_vec(), value.is_described());
        let spilled = spilled(value, &arena, &disk);
        assert!(spilled.in_memory().is_none() && arena.stats().spilled == 0);
        let stats = disk.stats(arena.stats());
        assert_eq!((stats.spilled, stats.spilled_objects), (bytes.len() as u64, 1));
        for in_arena in [true, false] {
            let back = spilled.read(|len| arena.allocate(len).ok().filter(|_| in_arena)).unwrap();
            assert_eq!((back.contiguous().to_vec(), back.is_described()), (bytes.clone(), described));
            assert_eq!(back.buffers().len(), if described || back.buffers().is_empty() { 0 } else { 3 });
        }
    }
    let stats = disk.stats(arena.stats());
    assert_eq!((stats.blocks, stats.spilled, stats.spilled_objects), (0, 0, 0));
    assert_eq!(stats.restored_ever, 2 * stats.spilled_ever);
}

#[test]
fn a_value_that_is_taken_while_it_is_parked_is_the_same_memory() {
    let (arena, dir) = (arena(4 << 20), tempfile::tempdir().unwrap());
    let value = values(&arena).remove(0);
    let at = value.head().as_ptr();
    let spilled = Spilled::park(value, &arena).unwrap();
    let taken = spilled.in_memory().unwrap();
    assert_eq!(taken.head().as_ptr(), at);
    spilled.write(&disk(dir.path(), None)).unwrap();
    drop(spilled);
    assert!(taken.head().iter().all(|byte| *byte == 5));
    drop(taken);
    assert_eq!(arena.stats().blocks, 0);
}

#[test]
fn files_have_no_name_and_are_for_this_user_only() {
    let (arena, dir) = (arena(4 << 20), tempfile::tempdir().unwrap());
    let path = dir.path().join("made/for/it");
    let disk = disk(&path, None);
    let _kept = spilled(values(&arena).remove(0), &arena, &disk);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let file = file(&disk).metadata().unwrap();
    assert_eq!((file.mode() & 0o777, file.nlink()), (0o600, 0));
}

#[test]
fn what_is_freed_is_a_hole() {
    let (arena, dir) = (arena(4 << 20), tempfile::tempdir().unwrap());
    let disk = disk(dir.path(), None);
    let kept: Vec<_> = values(&arena).into_iter().map(|value| spilled(value, &arena, &disk)).collect();
    let file = file(&disk);
    let taken = || {
        file.sync_all().unwrap();
        file.metadata().unwrap().blocks() * 512
    };
    let all = taken();
    assert!(all >= 3 * LEN as u64);
    for (n, spilled) in kept.into_iter().enumerate() {
        drop(spilled);
        assert!(taken() <= all - (n as u64 + 1) * (LEN as u64 - 4096), "{} of {all} after {n}", taken());
    }
    assert_eq!(taken(), 0);
}

#[test]
fn changed_bytes_are_never_given_as_a_value() {
    let (arena, dir) = (arena(4 << 20), tempfile::tempdir().unwrap());
    let disk = disk(dir.path(), None);
    let kept = spilled(values(&arena).remove(2), &arena, &disk);
    let file = file(&disk);
    let mut byte = [0];
    for at in [0, 4, 70, LEN as u64] {
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 16], at).unwrap();
        assert!(matches!(kept.read(|_| None), Err(Damaged::Changed)));
        assert!(matches!(kept.read(|len| arena.allocate(len).ok()), Err(Damaged::Changed)));
        file.write_all_at(&byte, at).unwrap();
        kept.read(|_| None).unwrap();
    }
    file.set_len(LEN as u64 / 2).unwrap();
    let error = kept.read(|_| None).unwrap_err();
    assert!(matches!(error, Damaged::Unreadable(_)) && error.to_string().contains("look at the disk"));
    drop(kept);
    assert_eq!(arena.stats().blocks, 0);
}

#[test]
fn above_its_limit_nothing_is_written_until_something_is_freed() {
    let (arena, dir) = (arena(4 << 20), tempfile::tempdir().unwrap());
    let disk = disk(dir.path(), Some(LEN as u64 + 1000));
    let mut values = values(&arena);
    let first = spilled(values.remove(0), &arena, &disk);
    let second = Spilled::park(values.remove(0), &arena).unwrap();
    let error = second.write(&disk).unwrap_err();
    assert!(matches!(error, SpillError::Limit { used: 300_000, limit: 301_000 }), "{error}");
    assert!(error.to_string().contains("raise FDBRAY_SPILL_BYTES"));
    assert!(second.in_memory().is_some(), "nothing has changed");
    drop(first);
    second.write(&disk).unwrap();
}

#[test]
fn where_nothing_can_be_written_it_says_what_to_do() {
    let arena = arena(4 << 20);
    let park = || Spilled::park(values(&arena).remove(0), &arena).unwrap();
    let off = Disk::new(&DiskOptions { dir: Some("off".into()), limit: None });
    assert!(matches!(park().write(&off), Err(SpillError::Off)));
    assert_eq!(off.stats(arena.stats()).spill_limit, 0);
    // A file where a directory should be.
    let file = tempfile::NamedTempFile::new().unwrap();
    let disk = disk(file.path(), None);
    for _ in 0..2 {
        let error = park().write(&disk).unwrap_err();
        let SpillError::System { dir, .. } = &error else { panic!("{error}") };
        assert_eq!(dir, file.path());
        assert!(error.to_string().contains("set FDBRAY_SPILL_DIR to another place"), "{error}");
    }
    assert_eq!(disk.stats(arena.stats()).spilled, 0);
    assert_eq!(arena.stats().blocks, 0);
}

#[test]
fn a_place_in_a_file_that_cannot_be_written_is_given_back() {
    let (arena, totals) = (arena(4 << 20), Arc::<Totals>::default());
    // A file that takes nothing.
    let full = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::fcntl_add_seals(&full, rustix::fs::SealFlags::GROW).unwrap();
    let segment = Segment::of(full.into(), totals.clone());
    let place = segment.take(Form::Plain, LEN as u64).unwrap();
    assert_eq!(totals.used.load(Ordering::Relaxed), LEN as u64);
    let value = values(&arena).remove(0);
    assert!(place.write(&value.flat_parts()).is_err());
    drop(segment);
    assert_eq!((totals.used.load(Ordering::Relaxed), totals.objects.load(Ordering::Relaxed)), (0, 0));
}
