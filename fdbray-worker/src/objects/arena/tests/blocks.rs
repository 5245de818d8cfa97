//! Blocks: their places, how they are found, and what is used again.

use super::*;
use bytes::Bytes;

#[test]
fn an_arena_costs_nothing_before_its_first_block() {
    let arena = arena(64 * M);
    assert!(arena.shared.open.get().is_none());
    assert_eq!(arena.stats(), Stats { limit: 64 << 20, ..Stats::default() });
    assert_eq!(arena.locate(&[1]), None);
    assert_eq!(arena.give_back(0), 0);
    assert!(arena.shared.open.get().is_none());
}

#[test]
fn blocks_are_aligned_to_64_bytes_and_large_ones_to_pages() {
    let arena = arena(64 * M);
    let blocks = [1, 63, 65, M - 1, M, M + 1, 5 * M, 0].map(|len| filled(&arena, len, len as u8));
    for block in &blocks {
        let align = if block.len() < M { 64 } else { 4096 };
        assert_eq!(block.as_ptr().addr() % align, 0, "{block:?}");
        assert!(block.iter().all(|&byte| byte == block.len() as u8), "{block:?}");
    }
    drop(blocks);
    assert_empty(&arena);
}

#[test]
fn a_block_lives_as_long_as_its_last_clone() {
    let arena = arena(M);
    let block = filled(&arena, 1000, 7);
    let location = block.location();
    let bytes = Bytes::from(block.clone());
    let part = bytes.slice(10..20);
    drop((block, bytes));
    assert_eq!((&part[..], arena.check(location)), (&[7; 10][..], Ok(())));
    drop(part);
    assert_eq!(arena.check(location), Err(Stale(location)));
    assert_empty(&arena);
}

#[test]
fn blocks_outlive_the_arena() {
    let arena = arena(M);
    let block = filled(&arena, 3, 9);
    drop(arena);
    assert_eq!(*block, [9; 3]);
}

#[test]
fn a_slice_of_a_sealed_block_is_located_and_others_are_not() {
    let arena = arena(M);
    let mut open = arena.allocate(100).unwrap();
    assert_eq!(arena.locate(&open), None, "it is not sealed");
    open.fill(1);
    let block = open.seal();
    let whole = block.location();
    assert_eq!(arena.locate(&block), Some(whole));
    let part = arena.locate(&block[10..30]).unwrap();
    assert_eq!((part.offset.0 - whole.offset.0, part.len, part.generation), (10, 20, whole.generation));
    assert_eq!(arena.locate(&block[5..5]), None);
    assert_eq!(arena.locate(&[1, 2, 3]), None);
    assert_eq!(super::arena(M).locate(&block), None);
}

#[test]
fn only_what_lies_within_a_live_block_is_current() {
    let arena = arena(M);
    let block = filled(&arena, 100, 1);
    let whole = block.location();
    let at = |offset, len, generation| Location { offset: Offset(offset), len, generation };
    let Location { offset: Offset(start), generation, .. } = whole;
    assert_eq!(arena.check(at(start + 99, 1, generation)), Ok(()));
    for wrong in [
        at(start, 101, generation),
        at(start + 100, 1, generation),
        at(start + 64 * 2, 1, generation),
        at(start, 100, generation + 1),
        at(u64::MAX, 1, generation),
        at(1, u64::MAX, generation),
        at(1 << 40, 1, generation),
    ] {
        assert_eq!(arena.check(wrong), Err(Stale(wrong)));
        assert!(arena.block(wrong).is_err());
    }
    // Not sealed, so nobody can have been told of it.
    let open = arena.allocate(100).unwrap();
    assert!(arena.check(at(start + 128, 1, generation + 1)).is_err());
    drop(open);
}

#[test]
fn a_place_that_is_used_again_has_another_generation() {
    let arena = arena(M);
    let first = filled(&arena, 100, 1).location();
    let second = filled(&arena, 100, 2);
    assert_eq!(second.location().offset, first.offset);
    assert_ne!(second.location().generation, first.generation);
    assert_eq!(arena.check(first), Err(Stale(first)));
    assert_eq!(arena.check(second.location()), Ok(()));
}

#[test]
fn a_block_that_is_held_by_its_location_stays() {
    let arena = arena(M);
    let block = filled(&arena, 100, 3);
    let location = block.location();
    let pinned = arena.block(location).unwrap();
    drop(block);
    let other = filled(&arena, 100, 4);
    assert_ne!(other.location().offset, location.offset);
    assert_eq!(*pinned, [3; 100]);
    drop(pinned);
    assert!(arena.block(location).is_err());
}

#[test]
fn memory_that_was_used_before_is_used_again() {
    let arena = arena(64 * M);
    let first = filled(&arena, 8 * M, 1).location();
    let reserved = arena.stats().reserved;
    for _ in 0..10 {
        assert_eq!(filled(&arena, 8 * M, 2).location().offset, first.offset);
    }
    assert_eq!((arena.stats().reserved, in_file(&arena)), (reserved, reserved));
}

#[test]
fn zeroed_blocks_are_zero_wherever_they_lie() {
    let arena = arena(64 * M);
    let mut random = Random(3);
    let mut live = Vec::new();
    for step in 0..2000 {
        let len = random.scale(256 << 10) as usize;
        let block = arena.allocate_zeroed(len).unwrap();
        assert!(block.iter().all(|&byte| byte == 0), "step {step}");
        let mut block = block;
        block.fill(0xff);
        live.push(block);
        if live.len() > 50 {
            live.swap_remove(random.below(50) as usize);
        }
        if step % 100 == 0 {
            arena.give_back(0);
        }
    }
    drop(live);
    assert_empty(&arena);
}

#[test]
fn the_accounting_counts_what_is_live_what_it_takes_and_what_was() {
    let arena = arena(64 * M);
    let blocks = [filled(&arena, 100, 1), filled(&arena, M + 1, 1)];
    let Stats { used, live, blocks: count, .. } = arena.stats();
    assert_eq!((used, live, count), (128 + (1 << 20) + 4096, 101 + (1 << 20), 2));
    drop(blocks);
    let after = arena.stats();
    assert_eq!((after.used, after.live, after.blocks, after.allocations, after.refused), (0, 0, 0, 2, 0));
    assert_eq!((after.peak_used, after.peak_live), (used, live));
    assert!(after.largest_free >= used && after.reserved >= used && after.peak_reserved == after.reserved);
}
