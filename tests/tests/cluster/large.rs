//! Large values, and values about as large as those that travel within messages.

use fdbray::{put, settle};
use fdbray_tests::cluster::*;

const LIMIT: u64 = 120;
const INLINE: usize = 64 << 10;

fn sum(len: usize) -> u64 {
    bytes(len).iter().map(|b| u64::from(*b)).sum()
}

#[fdbray::test(cpus = 2)]
async fn a_hundred_megabytes_travel_both_ways() -> fdbray::Result<()> {
    const LEN: usize = 100_000_000;
    let made = within(LIMIT, "100 MB as a result", blob::remote(7, LEN)).await?;
    let back = within(LIMIT, "100 MB as an argument and a result", echo_blob::remote(&made)).await?;
    assert!(back.len() == LEN && back[..] == made[..] && back.iter().all(|b| *b == 7));
    Ok(())
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn large_values_pass_between_workers_without_the_driver_asking_for_them() -> fdbray::Result<()> {
    const LEN: usize = 2_000_000;
    let made: Vec<_> = (0..4).map(|_| bytes::remote(LEN)).collect();
    let echoed: Vec<_> = made.iter().map(echo::remote).collect();
    let weights = settle(echoed.iter().map(weigh::remote));
    for weight in within(LIMIT, "the weights", weights).await {
        assert_eq!(weight?, (LEN, sum(LEN)));
    }
    Ok(())
}

#[fdbray::test]
async fn values_around_the_inline_limit_travel_as_arguments_and_results() -> fdbray::Result<()> {
    for len in (INLINE - 12..INLINE + 12).chain([0, 1, 2 * INLINE, 1 << 20, (1 << 20) + 1]) {
        let value = bytes(len);
        assert!(within(LIMIT, "as a value", echo::remote(&value)).await? == value, "{len} bytes");
        assert!(
            within(LIMIT, "as a future", echo::remote(bytes::remote(len))).await? == value,
            "{len} bytes"
        );
        assert!(within(LIMIT, "as an object", echo::remote(put(&value)?)).await? == value, "{len} bytes");
    }
    Ok(())
}

#[fdbray::test(cpus = 2)]
async fn many_values_above_the_inline_limit_travel_at_once() {
    let values: Vec<_> = (0..200).map(|i| echo::remote(bytes(INLINE + i))).collect();
    for (i, value) in within(LIMIT, "all of them", settle(values)).await.into_iter().enumerate() {
        assert!(value.unwrap() == bytes(INLINE + i));
    }
}

#[fdbray::test]
async fn a_large_value_is_freed_when_nobody_holds_it() {
    const LEN: usize = 50_000_000;
    for _ in 0..40 {
        let made = within(LIMIT, "a large value", blob::remote(1, LEN)).await.expect("a large value");
        let kept = put(&made).expect("it can be put");
        assert_eq!(
            within(LIMIT, "the same back", echo_blob::remote(kept)).await.expect("the same").len(),
            LEN
        );
    }
    // All of them together would be more than 2 GB in each process.
    let held =
        [resident_here(), within(LIMIT, "the worker's memory", resident::remote()).await.expect("a number")];
    assert!(held.iter().all(|bytes| *bytes < 700_000_000), "resident bytes of driver and worker: {held:?}");
}
