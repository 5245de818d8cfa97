//! The harness itself: a decoder that is wrong is found, and the report says how to find it again.

use fuzz::{Settings, Target, memory::Watched, run};
use std::panic::{self, AssertUnwindSafe};

#[global_allocator]
static WATCHED: Watched = Watched;

fn report(decode: fn(&[u8]), settings: Settings) -> Option<String> {
    let target = Target { name: "wrong", decode, corpus: || vec![b"valid".to_vec()] };
    let ended = panic::catch_unwind(AssertUnwindSafe(|| run(&target, settings)));
    ended.err().map(|panicked| panicked.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn a_decoder_that_panics_is_reported_with_the_seed_that_finds_it_again() {
    let settings = Settings { seed: 4, inputs: 1000 };
    let broken = |bytes: &[u8]| assert!(bytes.get(1) != Some(&0xff), "an assumption");
    let first = report(broken, settings).expect("is found");
    assert!(first.contains("panicked on these") && first.contains("FUZZ_SEED=4"), "{first}");
    assert_eq!(report(broken, settings), Some(first));
}

#[test]
fn a_decoder_that_takes_the_memory_that_a_message_announces_is_reported() {
    let greedy = |bytes: &[u8]| {
        if let Some((length, _)) = bytes.split_first_chunk::<4>() {
            // Zeroed pages that nobody touches, so that the test itself needs none.
            drop(vec![0_u8; u32::from_le_bytes(*length) as usize]);
        }
    };
    let report = report(greedy, Settings { seed: 4, inputs: 1000 }).expect("is found");
    assert!(report.contains("bytes at once"), "{report}");
}

#[test]
fn a_decoder_that_refuses_is_right() {
    assert_eq!(report(|bytes| assert!(bytes.len() < 1 << 20), Settings { seed: 4, inputs: 1000 }), None);
}
