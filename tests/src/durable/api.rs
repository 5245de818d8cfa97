//! What one driver does with the whole API; each part asserts what it expects.

use super::{
    Pair, Refusal, add, add_here, fails_until, length, makes, makes_owned, notes, panics, refuses, sum,
    waits, waits_async, who_am_i, zeros,
};
use crate::crash::within;
use fdbray::{Error, prelude::*};
use std::time::Duration;

/// Longer than a record keeps, and than travels inline.
const LARGE: usize = 200_000;

/// Values small, large, and wholly in the store; passed on, and brought here.
pub(super) async fn values() -> fdbray::Result<()> {
    let three = add::remote(1, 2);
    three.submitted().await?;
    assert!(three.id().is_durable() && three.id().to_string().parse() == Ok(three.id()), "{}", three.id());
    assert_eq!((&three).await?, 3);
    assert_eq!((&three).await?, 3, "again");
    let kept = zeros::options().durable().remote(LARGE);
    let whole = zeros::options().durable_value().remote(LARGE + 1);
    let lengths = [
        length::options().durable().remote(&kept),
        length::options().durable().remote(&whole),
        length::remote(&kept),
        length::remote(&whole),
    ];
    for (n, future) in lengths.into_iter().enumerate() {
        assert_eq!(future.await?, LARGE + n % 2, "length {n}");
    }
    assert_eq!((&kept).await?, vec![0; LARGE]);
    assert_eq!((&whole).await?, vec![0; LARGE + 1]);
    // Arguments that do not fit into a record.
    assert_eq!(length::options().durable().remote(vec![1; LARGE]).await?, LARGE);
    let (id, attempt) = (who_am_i::options().durable().remote(), 1);
    assert_eq!((&id).await?, (id.id().to_string(), attempt), "a task knows its future");
    Ok(())
}

/// Durable futures, and others, as arguments: a chain, a fan-in, in structs, of ordinary calls.
pub(super) async fn arguments() -> fdbray::Result<()> {
    let mut link = add::remote(0, 1);
    for _ in 0..20 {
        link = add::remote(&link, 1);
    }
    assert_eq!((&link).await?, 21);
    assert_eq!(add_here::remote(&link, &link).await?, 42, "an ordinary call waits for a durable future");
    assert_eq!(add::remote(&link, &link).await?, 42, "one future twice");
    let mut layer: Vec<RemoteFuture<i64>> = (0..64).map(|n| add::remote(n, 0)).collect();
    while layer.len() > 1 {
        layer = layer.chunks(2).map(|two| add::remote(&two[0], &two[1])).collect();
    }
    assert_eq!((&layer[0]).await?, (0..64).sum());
    let here = add_here::remote(3, 4);
    assert_eq!(add::remote(&here, 10).await?, 17, "a future of this process is stored");
    let put = fdbray::put(&5_i64)?;
    assert_eq!(add::remote(&put, 10).await?, 15, "what was put is stored");
    let pair = Pair { left: add::remote(1, 1), right: link };
    assert_eq!(sum::options().durable().remote(&pair).await?, 23, "in a struct");
    assert_eq!(sum::remote(&pair).await?, 23, "in a struct of an ordinary call");
    let made = makes::options().durable().remote(7).await?;
    assert_eq!(made.left.await? + made.right.await?, 15, "in a result");
    let owned = Pair { left: add_here::remote(1, 1), right: add::remote(1, 1) };
    match sum::options().durable().remote(&owned).await {
        Err(Error::Encode { what, message, .. }) => {
            assert!(what.contains("argument 1") && what.contains("sum"), "{what}: {message}");
        }
        other => panic!("a future of a process in a durable value: {other:?}"),
    }
    match makes_owned::options().durable().remote().await {
        Err(Error::Encode { .. }) => Ok(()),
        other => panic!("a future of a process in a durable result: {other:?}"),
    }
}

/// Errors of functions, panics, retries, and what depends on them.
pub(super) async fn errors(file: &str) -> fdbray::Result<()> {
    let refused = refuses::options().durable().remote(7);
    let after = add_after(&refused);
    match refused.await {
        Err(Error::Application(error)) => {
            assert_eq!(error.to_string(), "refused with code 7");
            assert_eq!(error.downcast::<Refusal>().ok(), Some(Refusal { code: 7 }));
        }
        other => panic!("{other:?}"),
    }
    match after.await {
        Err(error @ Error::Application(_)) => assert!(error.passed()[0].ends_with("after"), "{error}"),
        other => panic!("{other:?}"),
    }
    match panics::options().durable().remote("oh dear").await {
        Err(Error::Panicked { message, .. }) => assert_eq!(message, "oh dear"),
        other => panic!("{other:?}"),
    }
    let third = fails_until::options().durable().retry_errors(2).remote(file, 1, 2);
    assert_eq!(third.await?, 3, "the third attempt succeeds");
    match fails_until::options().durable().retry_errors(1).remote(file, 2, 9).await {
        Err(Error::Application(error)) => assert_eq!(error.downcast::<Refusal>()?.code, 2, "the last one"),
        other => panic!("{other:?}"),
    }
    match fails_until::options().durable().retries(9).remote(file, 3, 9).await {
        Err(Error::Application(error)) => assert_eq!(error.downcast::<Refusal>()?.code, 1, "not retried"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

fn add_after(refused: &RemoteFuture<i32>) -> RemoteFuture<i32> {
    super::after::options().durable().remote(refused)
}

/// Keys: the same future for the same call, refused for another.
pub(super) async fn keys() -> fdbray::Result<()> {
    let first = add::options().durable_as("k").remote(1, 2);
    let second = add::options().durable_as("k").remote(1, 2);
    assert_eq!((&first).await? + (&second).await?, 6);
    assert_eq!(first.id(), second.id());
    assert_eq!(add::remote(&second, 10).await?, 13, "as an argument too");
    let third = add::options().durable_as("k").remote(1, 2);
    assert_eq!(add::remote(&third, 10).await?, 13, "before this process knows which future it is");
    for other in [
        add::options().durable_as("k").remote(2, 2),
        super::subtract::options().durable_as("k").remote(1, 2),
        add::options().durable_as("").remote(1, 2),
    ] {
        assert!(matches!(other.submitted().await, Err(Error::Control { .. })));
        assert!(matches!(other.await, Err(Error::Control { .. })));
    }
    let again = RemoteFuture::<i64>::attach("k").await?;
    assert_eq!((again.id(), again.await?), (first.id(), 3));
    match RemoteFuture::<String>::attach("k").await {
        Err(Error::Control { message, .. }) => assert!(message.contains("another type"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(RemoteFuture::<i64>::attach("no such key").await.is_err());
    let (id, argument) = (first.id().to_string(), add::remote(&first, 1));
    assert_eq!(argument.await?, 4);
    first.release().await?;
    for gone in ["k", &id] {
        within(10, "a released future goes", async {
            while RemoteFuture::<i64>::attach(gone).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    assert_eq!(add::options().durable_as("k").remote(5, 5).await?, 10, "the key is free again");
    let here = add_here::remote(1, 2);
    assert!(here.submitted().await.is_err(), "a future of this process is not submitted");
    Ok(())
}

/// Cancelling what runs, waits and has ended; deadlines.
pub(super) async fn ends(dir: &str) -> fdbray::Result<()> {
    let (file, never) = (format!("{dir}/ends"), format!("{dir}/never"));
    let running = waits_async::options().durable().remote(&file, 1, &never);
    let dependent = notes::options().durable().remote(&file, &running, 0);
    within(20, "a call starts", async {
        while super::notes_in(file.as_ref()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    running.cancel();
    assert!(matches!(within(10, "a cancelled call ends", &running).await, Err(Error::Cancelled { .. })));
    assert!(matches!(within(10, "its dependent ends", dependent).await, Err(Error::Cancelled { .. })));
    let done = add::remote(1, 1);
    (&done).await?;
    done.cancel();
    assert_eq!(done.await?, 2, "what has ended stays");
    let unschedulable = add::options().resource("tpu", 1).remote(1, 1);
    unschedulable.submitted().await?;
    unschedulable.cancel();
    assert!(matches!(
        within(10, "an unclaimed call is cancelled", unschedulable).await,
        Err(Error::Cancelled { .. })
    ));
    let early = add::options().resource("tpu", 1).remote(1, 1);
    early.cancel();
    assert!(matches!(within(10, "a call is cancelled at once", early).await, Err(Error::Cancelled { .. })));
    let late = add::options().resource("tpu", 1).deadline(Duration::from_secs(1)).remote(1, 1);
    let slow = waits::options().durable().deadline(Duration::from_secs(1)).remote(&file, 2, &never);
    assert!(matches!(
        within(20, "the deadline of a call that never starts", late).await,
        Err(Error::DeadlineExceeded { .. })
    ));
    assert!(matches!(
        within(20, "the deadline of a call that runs", slow).await,
        Err(Error::DeadlineExceeded { .. })
    ));
    std::fs::write(never, "").map_err(Error::from)?;
    Ok(())
}

/// What the store does not take.
pub(super) async fn limits() -> fdbray::Result<()> {
    let small = add::remote(1, 2);
    let large = length::options().durable().remote(vec![1; (64 << 20) + 1]);
    let other = add::remote(2, 2);
    match within(60, "arguments over the limit are refused", large.submitted()).await {
        Err(Error::Encode { what, message, .. }) => {
            assert!(what.contains("length") && message.contains("67108864"), "{what}: {message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(large.await.is_err());
    assert_eq!(small.await? + other.await?, 7, "its neighbours are not refused with it");
    match within(60, "a value over the limit", zeros::options().durable_value().remote((64 << 20) + 1)).await
    {
        Err(Error::Encode { what, .. }) => assert!(what.contains("zeros"), "{what}"),
        Err(other) => panic!("{other}"),
        Ok(value) => panic!("{} bytes", value.len()),
    }
    Ok(())
}
