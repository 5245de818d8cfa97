//! Many threads, and many objects of random life times.

use super::*;

#[test]
fn threads_never_share_a_byte_and_every_block_is_back_at_the_end() {
    let options = Options { limit: 24 << 20, reserve: 0, low_water: 2 << 20, background: true };
    let arena = Arena::on(options, Fake::with(u64::MAX));
    let refused: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|seed| {
                scope.spawn({
                    let arena = &arena;
                    move || churn(arena, seed)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(arena.stats().refused, refused);
    assert!(arena.stats().peak_reserved <= 48 << 20, "what is being given back counts until it is");
    arena.give_back(0);
    assert_empty(&arena);
}

/// Blocks of all sizes, each marked throughout; returns how many were refused.
fn churn(arena: &Arena, seed: u8) -> u64 {
    let mut random = Random(u64::from(seed));
    let mut live: Vec<(Block, u8)> = Vec::new();
    let mut refused = 0;
    for step in 0..1500u32 {
        let with = seed.wrapping_mul(40).wrapping_add(step as u8);
        match arena.allocate(random.scale(3 << 20) as usize) {
            Ok(mut block) => {
                block.fill(with);
                live.push((block.seal(), with));
            }
            Err(full) => {
                assert!(matches!(full.bound, Bound::Limit), "{full}");
                refused += 1;
                live.clear();
            }
        }
        if live.len() > 8 {
            let (block, with) = live.swap_remove(random.below(8) as usize);
            assert!(block.iter().all(|&byte| byte == with));
            assert_eq!(arena.check(block.location()), Ok(()));
        }
        if step % 200 == 0 {
            arena.give_back(0);
        }
    }
    refused
}

#[test]
fn what_is_reserved_ahead_is_waited_for_rather_than_refused() {
    let arena = arena(2 * M);
    drop(filled(&arena, 2 * M, 1));
    let open = arena.shared.open.get().unwrap();
    let ahead = open.ahead.lock().unwrap();
    let taken = open.state().offsets.take_idle(1 << 20).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| arena.allocate(2 * M).map(drop));
        // Long enough, mostly, for it to come upon a full arena; if it comes later it has its room at once.
        std::thread::sleep(Duration::from_millis(20));
        open.state().offsets.release(taken.start);
        drop(ahead);
        waiting.join().unwrap().unwrap();
    });
    assert_empty(&arena);
}

#[test]
fn ten_thousand_objects_of_random_life_times_take_little_more_than_their_bytes() {
    let arena = arena(1 << 30);
    let mut random = Random(11);
    let mut live = Vec::new();
    for _ in 0..10_000 {
        // Not filled: it is about places.
        live.push(arena.allocate((1 << 10) + random.below(1 << 20) as usize).unwrap());
        if live.len() > 200 {
            live.swap_remove(random.below(200) as usize);
        }
    }
    let Stats { peak_live, peak_reserved, .. } = arena.stats();
    assert!(peak_reserved * 2 <= peak_live * 3, "{peak_reserved} of {peak_live}");
    drop(live);
    assert_empty(&arena);
}

#[test]
fn a_hundred_thousand_small_objects_and_one_huge_one() {
    let arena = arena(128 * M);
    let small: Vec<_> = (0..100_000).map(|i: u32| filled(&arena, 8 + i as usize % 500, i as u8)).collect();
    let huge = filled(&arena, 64 * M, 1);
    assert!(small.iter().enumerate().all(|(i, block)| block.iter().all(|&byte| byte == i as u8)));
    assert_eq!(arena.stats().blocks, 100_001);
    drop((small, huge));
    assert_empty(&arena);
}
