//! What the program `objects_app` does with a worker on another host: values are pulled from where they were spilled, and to
//! where the memory is full.

use super::{
    hold, let_go,
    spilling::{bytes, checked, is_right, made, nothing_is_left, stats},
    within,
};
use fdbray::{Blob, Error, RemoteFuture, put, store_stats};

/// Of which the small memories of these tests hold two.
const LEN: usize = 6 << 20;

/// Plays the scenario that is named first.
///
/// # Panics
/// If something is not as it should be.
pub(super) async fn play(words: &[&str]) -> fdbray::Result<()> {
    match words {
        ["pull-spilled"] => spilled_there().await,
        ["pull-into-full"] => into_full().await,
        ["pull-without-room"] => without_room().await,
        _ => panic!("there is no scenario {words:?}"),
    }
}

fn puts(numbers: std::ops::Range<usize>) -> fdbray::Result<Vec<RemoteFuture<Blob>>> {
    numbers.map(|number| put(&Blob::from(bytes(number, LEN)))).collect()
}

/// The worker has written most of what it keeps to its disk.
async fn spilled_there() -> fdbray::Result<()> {
    let values: Vec<_> = (0..8).map(|number| made::remote(number, LEN)).collect();
    for value in &values {
        drop(within(60, "it is made", fdbray::wait([value], 1)).await);
    }
    let (_, spilled, ..) = stats::remote().await?;
    assert!(spilled >= 5, "{spilled} of 8 are spilled");
    // Two at once, of which the worker has room for one.
    for (number, values) in values.chunks(2).enumerate() {
        let seen = within(60, "both arrive", fdbray::settle(values)).await;
        for (of, seen) in seen.into_iter().enumerate() {
            assert!(is_right(2 * number + of, &seen?, LEN), "object {}", 2 * number + of);
        }
    }
    let (_, _, _, restored) = stats::remote().await?;
    assert!(restored >= 5, "{restored} came back");
    drop(values);
    nothing_is_left().await;
    Ok(())
}

/// What is pulled finds the memory full of what can be written to disk, here and there.
async fn into_full() -> fdbray::Result<()> {
    let own = puts(0..4)?;
    let there: Vec<_> = (4..8).map(|number| made::remote(number, LEN)).collect();
    for (number, value) in (4..).zip(there) {
        let seen = within(60, "it arrives here", value).await?;
        assert!(is_right(number, &seen, LEN), "object {number}");
    }
    assert!(store_stats().spilled_ever >= 3, "{}", store_stats());
    let kept: Vec<_> = (8..11).map(|number| made::remote(number, LEN)).collect();
    for (number, value) in own.iter().enumerate() {
        assert!(
            within(60, "it arrives there", checked::remote(number, value, LEN)).await?,
            "object {number}"
        );
    }
    let (_, _, spilled, _) = stats::remote().await?;
    assert!(spilled > 0, "the worker spilled nothing");
    for (number, value) in (8..).zip(kept).chain(own.into_iter().enumerate()) {
        assert!(is_right(number, &within(60, "it is there", value).await?, LEN), "object {number}");
    }
    nothing_is_left().await;
    Ok(())
}

/// Nothing can be written to a disk: copies that nobody uses make room, and what is in use is in the way.
async fn without_room() -> fdbray::Result<()> {
    let limit = store_stats().limit as usize;
    let own = puts(0..limit / LEN)?;
    for (number, value) in own.iter().enumerate() {
        assert!(
            within(60, "it arrives there", checked::remote(number, value, LEN)).await?,
            "object {number}"
        );
    }
    // The worker, whose memory is the smaller one.
    for (number, value) in own.iter().take(2).enumerate() {
        within(60, "it is held there", hold::remote(number as u64, value)).await?;
    }
    is_full(within(60, "it is refused there", checked::remote(3, &own[3], LEN)).await);
    for number in 0..2 {
        assert!(let_go::remote(number).await?.is_some());
    }
    let again = within(60, "there is room there", checked::remote(3, &own[3], LEN)).await;
    assert!(again?, "object 3");
    // This process.
    is_full(within(60, "it is refused here", made::remote(1, LEN)).await);
    drop(own);
    assert!(is_right(1, &within(60, "there is room here", made::remote(1, LEN)).await?, LEN));
    nothing_is_left().await;
    Ok(())
}

fn is_full<T: std::fmt::Debug>(ended: fdbray::Result<T>) {
    let Err(Error::StoreFull { message, .. }) = ended else { panic!("{ended:?}") };
    for said in ["bytes are wanted", "reached its limit", "objects hold"] {
        assert!(message.contains(said), "{message}");
    }
}
