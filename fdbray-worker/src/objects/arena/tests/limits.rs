//! Limits, real and made up, and what is given back.

use super::*;
use std::time::Duration;

fn limited(limit: usize, reserve: u64, machine: Fake) -> Arena {
    Arena::on(Options { limit: limit as u64, reserve, low_water: u64::MAX, background: false }, machine)
}

#[test]
fn an_object_longer_than_the_limit_is_refused_and_says_so() {
    let arena = arena(M);
    for len in [M + 1, 1 << 40, usize::MAX] {
        let full = arena.allocate(len).unwrap_err();
        assert!(matches!(full.bound, Bound::TooLong { limit: 0x10_0000 }) && !full.may_pass(), "{full}");
        assert!(full.to_string().contains("split it, or raise the limit"), "{full}");
    }
    assert_eq!(arena.stats().refused, 3);
    assert!(arena.shared.open.get().is_none(), "nothing was made for it");
    assert!(super::arena(0).allocate(1).is_err());
}

#[test]
fn at_the_limit_blocks_are_refused_until_others_are_gone() {
    let arena = arena(4 * M);
    let mut blocks: Vec<_> = (0..4).map(|i| filled(&arena, M, i)).collect();
    let full = arena.allocate(M).unwrap_err();
    assert!(matches!(full.bound, Bound::Limit) && full.may_pass(), "{full}");
    assert_eq!((full.wanted, full.stats.reserved, full.stats.blocks), (1 << 20, 4 << 20, 4));
    blocks.remove(1);
    let block = filled(&arena, M, 9);
    assert!(blocks.iter().zip([0, 2, 3]).all(|(block, with)| block.iter().all(|&byte| byte == with)));
    drop((blocks, block));
    assert_empty(&arena);
}

#[test]
fn free_parts_that_lie_scattered_do_not_keep_out_a_long_block() {
    let arena = arena(16 * M);
    let mut blocks: Vec<_> = (0..16).map(|i| Some(filled(&arena, M, i))).collect();
    blocks.iter_mut().step_by(2).for_each(|block| drop(block.take()));
    assert_eq!(arena.stats().largest_free, 1 << 20);
    let long = filled(&arena, 8 * M, 99);
    assert!(arena.stats().reserved <= 16 << 20 && in_file(&arena) <= 16 << 20);
    for (i, block) in blocks.iter().enumerate() {
        assert!(block.iter().all(|block| block.iter().all(|&byte| byte == i as u8)));
    }
    drop((blocks, long));
    assert_empty(&arena);
}

#[test]
fn what_the_machine_keeps_for_others_is_left_to_it() {
    let machine = Fake::with(100 << 20);
    let arena = limited(64 * M, 90 << 20, machine.clone());
    let block = filled(&arena, 8 * M, 1);
    let full = arena.allocate(16 * M).unwrap_err();
    assert!(matches!(full.bound, Bound::Machine { available: 0x640_0000, reserve: 0x5a0_0000 }), "{full}");
    assert_eq!(arena.stats().reserved, in_file(&arena), "nothing of it was reserved");
    assert_eq!(arena.stats().reserved, 8 << 20);
    machine.set(200 << 20);
    drop(arena.allocate(16 * M).unwrap());
    drop(block);
    assert_empty(&arena);
}

#[test]
fn a_containers_limit_is_named_as_such() {
    let arena = limited(M, 1, Fake(Arc::new(AtomicU64::new(0)), Owner::Group));
    let full = arena.allocate(1).unwrap_err();
    assert!(matches!(full.bound, Bound::Group { available: 0, reserve: 1 }) && full.may_pass());
    assert!(full.to_string().contains("the container has 0 bytes of memory left"), "{full}");
}

#[test]
fn before_the_machine_refuses_it_gets_back_what_is_free() {
    // Tells as much as the file does not hold.
    struct Holding(OnceLock<Weak<Shared>>);
    impl Machine for Arc<Holding> {
        fn available(&self) -> Available {
            let arena = self.0.get().and_then(Weak::upgrade);
            let held = arena.map_or(0, |shared| in_file(&Arena { shared }));
            Available { bytes: (12 << 20) - held, of: Owner::Machine }
        }
    }
    let machine = Arc::new(Holding(OnceLock::new()));
    let options = Options { limit: 64 << 20, reserve: 0, low_water: u64::MAX, background: false };
    let arena = Arena::on(options, machine.clone());
    assert!(machine.0.set(Arc::downgrade(&arena.shared)).is_ok());
    let (first, wall) = (filled(&arena, 8 * M, 1), filled(&arena, M, 2));
    drop(first);
    let second = filled(&arena, 10 * M, 3);
    assert!(in_file(&arena) <= 12 << 20);
    assert!(matches!(arena.allocate(10 * M).unwrap_err().bound, Bound::Machine { .. }));
    drop((wall, second));
    assert_empty(&arena);
}

#[test]
fn memory_that_the_kernel_refuses_is_an_error_and_changes_nothing() {
    // A file that may not grow stands in for a machine that has no more: it is smaller than what the arena counts on.
    let options = Options { limit: 64 << 20, reserve: 0, low_water: u64::MAX, background: false };
    let open = Open::new(&Options { limit: 2 << 20, ..options }).unwrap();
    let file = open.memory.len();
    open.state().offsets = super::super::offsets::Offsets::new(128 << 20);
    let arena = Arena::on(options, Fake::with(u64::MAX));
    assert!(arena.shared.open.set(open).is_ok());
    let block = filled(&arena, M, 1);
    let before = arena.stats();
    let full = arena.allocate(8 * M).unwrap_err();
    assert!(matches!(full.bound, Bound::Refused(_)) && full.may_pass(), "{full}");
    assert_eq!(Stats { refused: 0, ..arena.stats() }, before);
    assert_eq!(in_file(&arena), 1 << 20);
    let rest = filled(&arena, file as usize - M, 2);
    assert!(block.iter().all(|&byte| byte == 1) && rest[0] == 2);
    drop((block, rest));
    assert_empty(&arena);
}

#[test]
fn free_memory_is_given_back_and_reads_as_zero_when_it_is_reserved_again() {
    let arena = arena(64 * M);
    let block = filled(&arena, 16 * M, 1);
    assert_eq!(arena.give_back(0), 0, "none is free");
    drop(block);
    assert_eq!(arena.give_back(4 << 20), 12 << 20);
    let Stats { reserved, given_back, peak_reserved, .. } = arena.stats();
    assert_eq!(
        (reserved, in_file(&arena), given_back, peak_reserved),
        (4 << 20, 4 << 20, 12 << 20, 16 << 20)
    );
    assert!(arena.allocate_zeroed(16 * M).unwrap().iter().all(|&byte| byte == 0));
    assert_empty(&arena);
}

#[test]
fn where_readers_could_write_but_for_a_seal_memory_stays_and_works() {
    let arena = arena(8 * M);
    drop(filled(&arena, 8 * M, 1));
    let open = arena.shared.open.get().unwrap();
    drop(open.memory.sealed().unwrap());
    assert_eq!((arena.give_back(0), arena.stats().reserved), (0, 8 << 20));
    let wall = filled(&arena, 100, 1);
    // Only by giving back could there be room.
    assert!(matches!(arena.allocate(8 * M).unwrap_err().bound, Bound::Limit));
    assert_eq!(filled(&arena, 4 * M, 2)[M], 2);
    drop(wall);
    assert_empty(&arena);
}

#[test]
fn the_thread_gives_back_what_is_free_above_the_mark() {
    let options = Options { limit: 64 << 20, reserve: 0, low_water: 4 << 20, background: true };
    let arena = Arena::on(options, Fake::with(u64::MAX));
    drop(filled(&arena, 32 * M, 1));
    // However long it takes: if it never happens the test never ends.
    while arena.stats().reserved > 4 << 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_empty(&arena);
    assert!(in_file(&arena) <= 4 << 20);
}

#[test]
fn the_thread_reserves_ahead_of_what_is_used() {
    let options = Options { limit: 64 << 20, reserve: 0, low_water: 64 << 20, background: true };
    let arena = Arena::on(options, Fake::with(u64::MAX));
    let block = filled(&arena, 16 * M, 1);
    while arena.stats().largest_free < 1 << 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(arena.stats().reserved <= 18 << 20);
    drop(block);
}

#[test]
fn a_descriptor_for_peers_only_reads() {
    let arena = arena(M);
    let block = filled(&arena, 5, 1);
    let fd = arena.read_only_fd().unwrap();
    let file = std::fs::File::from(fd);
    use std::os::{fd::AsRawFd, unix::fs::FileExt};
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, block.location().offset.0).unwrap();
    assert_eq!(bytes, [1; 5]);
    assert!(file.write_at(&[2], 0).is_err() && file.set_len(0).is_err());
    // Root may open what it likes; others cannot get around it.
    let again = std::fs::File::options().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    assert!(again.is_err() || rustix::process::geteuid().is_root());
}

#[tokio::test]
async fn a_task_and_a_thread_wait_until_something_is_freed() {
    let arena = arena(M);
    let block = filled(&arena, M, 1);
    let full = arena.allocate(M).unwrap_err();
    assert!(!arena.block_for_room(full.since, Duration::from_millis(1)), "nothing was freed");
    let thread = {
        let (arena, since) = (arena.clone(), full.since);
        std::thread::spawn(move || arena.block_for_room(since, Duration::MAX))
    };
    let task = tokio::spawn({
        let (arena, since) = (arena.clone(), full.since);
        async move { arena.wait_for_room(since).await }
    });
    tokio::task::yield_now().await;
    drop(block);
    task.await.unwrap();
    assert!(thread.join().unwrap());
    // What was freed in between is not waited for again.
    arena.wait_for_room(full.since).await;
    assert!(arena.block_for_room(full.since, Duration::ZERO));
    arena.allocate(M).unwrap();
}

#[test]
fn the_least_of_what_the_machine_and_its_containers_have_left_counts() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let available = || {
        let Available { bytes, of } = ThisMachine::below(root.path()).available();
        (bytes, of)
    };
    assert_eq!(available(), (u64::MAX, Owner::Machine), "a machine that tells nothing");
    write("proc/meminfo", "MemTotal: 900 kB\nMemAvailable:   500 kB\n");
    assert_eq!(available(), (500 << 10, Owner::Machine));
    write("proc/self/cgroup", "4:memory:/x\n0::/a/b\n");
    write("sys/fs/cgroup/a/memory.max", "100000");
    write("sys/fs/cgroup/a/memory.current", "70000");
    write("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 20000\n");
    write("sys/fs/cgroup/a/b/memory.max", "max");
    write("sys/fs/cgroup/a/b/memory.current", "70000");
    assert_eq!(available(), (50000, Owner::Group));
    write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "40000");
    write("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "41000");
    assert_eq!(available(), (0, Owner::Group));
    write("sys/fs/cgroup/memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 31000\n");
    assert_eq!(available(), (30000, Owner::Group));
    assert!(ThisMachine::default().available().bytes > 0 && default_limit() > 0 && default_reserve() > 0);
}
