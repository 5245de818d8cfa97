//! What the program `objects_app` does: more than shared memory holds, on disks of all kinds. Sizes are given in MiB, by the
//! variables of the test.

use super::{empty_here, empty_there, let_go, pid, within};
use fdbray::{Blob, Error, RemoteFuture, StoreStats, put, remote, store_stats};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Instant,
};

const MIB: usize = 1 << 20;

/// Plays the scenario that is named first.
///
/// # Panics
/// If something is not as it should be.
pub async fn play(words: &[&str]) -> fdbray::Result<()> {
    match words {
        ["twice"] => twice().await,
        ["held"] => held().await,
        ["async"] => from_async_code().await,
        ["until-full"] => until_full(true).await,
        ["until-group-full"] => until_full(false).await,
        ["gone", dir] => gone(dir).await,
        ["damaged", how] => damaged(how).await,
        ["too-long"] => too_long().await,
        ["many-and-one"] => many_and_one().await,
        ["spill-and-wait"] => spill_and_wait().await,
        _ => super::pulling::play(words).await,
    }
}

/// Bytes that tell objects and places in them apart.
pub(super) fn bytes(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 977 + number * 31) as u8).collect()
}

pub(super) fn is_right(number: usize, seen: &[u8], len: usize) -> bool {
    seen.len() == len && seen.iter().enumerate().all(|(at, byte)| *byte == (at / 977 + number * 31) as u8)
}

/// Such bytes from a task, written where they are read. Says that it ran.
#[remote]
pub(super) fn made(number: usize, len: usize) -> fdbray::Result<Blob> {
    if let Some(runs) = std::env::var_os("OBJECTS_RUNS") {
        writeln!(OpenOptions::new().append(true).create(true).open(runs)?, "{number}")?;
    }
    let mut memory = fdbray::buffer(len)?;
    memory.copy_from_slice(&bytes(number, len));
    Ok(memory.seal())
}

/// Whether they are.
#[remote]
pub(super) fn checked(number: usize, seen: &[u8], len: usize) -> bool {
    is_right(number, seen, len)
}

/// The same with several at once, as tasks of the worker's own.
#[remote]
async fn passes_own_on(count: usize, len: usize) -> fdbray::Result<bool> {
    let own: Vec<_> = (0..count).map(|number| made::remote(number, len)).collect();
    let put: fdbray::Result<Vec<_>> = (0..count).map(|n| put(&Blob::from(bytes(count + n, len)))).collect();
    for (number, future) in own.into_iter().chain(put?).enumerate() {
        if !checked::remote(number, &future, len).await? || !is_right(number, &future.await?, len) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[remote(cpus = 0)]
pub(super) fn stats() -> (u64, u64, u64, u64) {
    let StoreStats { blocks, spilled_objects, spilled_ever, restored_ever, .. } = store_stats();
    (blocks, spilled_objects, spilled_ever, restored_ever)
}

pub(super) async fn nothing_is_left() {
    empty_here().await;
    empty_there().await;
    let (mut last, mut looks) = (u64::MAX, 0);
    // As long as it becomes less: many small pieces take a while to go.
    while looks < 200 {
        let there = stats::remote().await.expect("the worker answers");
        let left = store_stats().spilled_objects + there.1;
        if left == 0 {
            assert_eq!(store_stats().spilled, 0);
            return;
        }
        looks = if left < last { 0 } else { looks + 1 };
        last = left;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("something is left on disk: {}", store_stats());
}

/// Twice what the memory holds, here and at the worker; all of it is read, by whoever does not have it and by who has.
async fn twice() -> fdbray::Result<()> {
    const LEN: usize = 3 * MIB + 5;
    let limit = store_stats().limit as usize;
    let count = 2 * limit / LEN;
    let puts: Vec<_> = (0..count).map(|n| put(&Blob::from(bytes(n, LEN)))).collect::<Result<_, _>>()?;
    assert!(store_stats().spilled > (limit / 2) as u64, "{}", store_stats());
    assert!(store_stats().peak_reserved <= limit as u64, "{}", store_stats());
    let results: Vec<_> = (0..count).map(|n| made::remote(n, LEN)).collect();
    for (number, value) in puts.iter().chain(&results).enumerate() {
        let right = within(60, "a task reads it", checked::remote(number % count, value, LEN)).await?;
        assert!(right, "a task reads object {number}");
    }
    for (number, value) in puts.into_iter().chain(results).enumerate() {
        let seen = within(60, "it is read", value).await?;
        assert!(is_right(number % count, &seen, LEN), "object {number} is read");
    }
    let (_, _, spilled, restored) = stats::remote().await?;
    assert!(spilled > 0 && restored > 0 && store_stats().restored_ever > 0, "{spilled} {restored}");
    assert!(within(120, "the worker does the same", passes_own_on::remote(count / 2 + 1, LEN)).await?);
    nothing_is_left().await;
    Ok(())
}

/// What is viewed stays where it is; the rest goes.
async fn held() -> fdbray::Result<()> {
    const LEN: usize = 4 * MIB;
    let limit = store_stats().limit as usize;
    let first = put(&Blob::from(bytes(0, LEN)))?;
    let blob = (&first).await?;
    let there = put(&Blob::from(bytes(1, LEN)))?;
    super::hold::remote(1, &there).await?;
    let memory = super::memory_of(&blob);
    let more: Vec<_> =
        (2..2 * limit / LEN).map(|n| put(&Blob::from(bytes(n, LEN)))).collect::<Result<_, _>>()?;
    assert!(store_stats().spilled_objects > 2, "{}", store_stats());
    assert!(is_right(0, &blob, LEN) && super::memory_of(&blob) == memory);
    assert_eq!(blob.as_ptr(), (&first).await?.as_ptr(), "it is where it was");
    let sum: u64 = bytes(1, LEN).iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(let_go::remote(1).await?, Some(sum), "changed under its reader");
    assert!(checked::remote(0, &first, LEN).await? && checked::remote(1, &there, LEN).await?);
    drop((first, blob, there, more));
    nothing_is_left().await;
    Ok(())
}

/// Many tasks of one thread, and async remote functions, put and wait for room.
async fn from_async_code() -> fdbray::Result<()> {
    const LEN: usize = MIB;
    let limit = store_stats().limit as usize;
    let count = 2 * limit / LEN;
    let tasks: Vec<_> = (0..count)
        .map(|number| async move {
            let value = put(&Blob::from(bytes(number, LEN)))?;
            tokio::task::yield_now().await;
            let again = (&value).await?;
            assert!(is_right(number, &again, LEN));
            drop(again);
            Ok::<_, Error>(value)
        })
        .collect();
    let values = within(120, "all are put", futures::future::try_join_all(tasks)).await?;
    assert_eq!(values.len(), count);
    let inside: Vec<_> = (0..4).map(|_| passes_own_on::remote(count / 4, LEN)).collect();
    for right in inside {
        assert!(within(120, "async tasks put", right).await?);
    }
    drop(values);
    nothing_is_left().await;
    Ok(())
}

/// Puts until there is no room on disk either, says why, and looks whether what was put before is there. `own_limit`: that
/// is what the memory is full by.
async fn until_full(own_limit: bool) -> fdbray::Result<()> {
    const LEN: usize = 2 * MIB;
    let mut kept: Vec<RemoteFuture<Blob>> = Vec::new();
    let why = loop {
        assert!(kept.len() < 1000, "it never becomes full: {}", store_stats());
        match put(&Blob::from(bytes(kept.len(), LEN))) {
            Ok(value) => kept.push(value),
            Err(why @ Error::StoreFull { .. }) => break why,
            Err(other) => return Err(other),
        }
    };
    let StoreStats { limit, .. } = store_stats();
    assert!(!own_limit || kept.len() >= limit as usize / LEN - 1, "{} fitted", kept.len());
    println!("spilled {}", store_stats().spilled);
    println!("full: {why}");
    // What did not fit must be as it was, not lost in between.
    for (number, value) in kept.iter().enumerate() {
        let seen = within(60, "it is read", value).await?;
        assert!(is_right(number, &seen, LEN), "object {number}");
    }
    kept.truncate(1);
    // Freed by the ticker, a moment later: `put` waits for that.
    let again = put(&Blob::from(bytes(7, LEN)))?;
    assert!(is_right(7, &again.await?, LEN));
    drop(kept);
    nothing_is_left().await;
    Ok(())
}

/// The directory goes away in the middle.
async fn gone(dir: &str) -> fdbray::Result<()> {
    const LEN: usize = 2 * MIB;
    let limit = store_stats().limit as usize;
    let mut kept = Vec::new();
    for number in 0..3 * limit / LEN {
        kept.push(put(&Blob::from(bytes(number, LEN)))?);
        if store_stats().spilled_objects == 3 {
            // Another try finds it gone already.
            let _ = fs::remove_dir(dir);
        }
    }
    for (number, value) in kept.into_iter().enumerate() {
        assert!(is_right(number, &value.await?, LEN), "object {number}");
    }
    nothing_is_left().await;
    Ok(())
}

/// Files of spilled values that a process has open: they have no names any more.
fn spill_files(of: u32) -> Vec<PathBuf> {
    let dir = std::env::var("FDBRAY_SPILL_DIR").expect("the test says where");
    let all = fs::read_dir(format!("/proc/{of}/fd")).expect("its descriptors").flatten();
    let mut files: Vec<_> = all.map(|entry| entry.path()).collect();
    files.retain(|path| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with(&dir)));
    files
}

fn damage(of: u32, how: &str) {
    let files = spill_files(of);
    assert!(!files.is_empty(), "process {of} has spilled nothing");
    for path in files {
        let file: File = OpenOptions::new().write(true).open(path).expect("a file that is open elsewhere");
        match how {
            "truncated" => file.set_len(0).expect("it can be cut"),
            _ => {
                // One bit of each page.
                let len = file.metadata().expect("its length").len();
                for at in (0..len).step_by(4096) {
                    file.write_all_at(b"#", at + 1000).expect("it can be written");
                }
            }
        }
    }
}

/// A file is damaged behind the back of who wrote it: results are computed again, and what was put is lost.
async fn damaged(how: &str) -> fdbray::Result<()> {
    const LEN: usize = 4 * MIB;
    let count = 2 * store_stats().limit as usize / LEN;
    let results: Vec<_> = (0..count).map(|n| made::remote(n, LEN)).collect();
    for future in &results {
        let set = fdbray::wait([future], 1).await;
        drop(set);
    }
    let (_, spilled, ..) = stats::remote().await?;
    assert!(spilled > 0, "nothing was spilled");
    damage(pid::remote().await?, how);
    for (number, future) in results.into_iter().enumerate() {
        let seen = within(60, "it is computed again", future).await?;
        assert!(is_right(number, &seen, LEN), "object {number}");
    }
    let puts: Vec<_> = (0..count).map(|n| put(&Blob::from(bytes(n, LEN)))).collect::<Result<_, _>>()?;
    damage(std::process::id(), how);
    let mut lost = 0;
    for (number, future) in puts.iter().enumerate() {
        match within(60, "it ends", future).await {
            Ok(seen) => assert!(is_right(number, &seen, LEN), "object {number}"),
            Err(Error::ObjectLost { why, .. }) => {
                assert!(why.contains("cannot read it any more"), "{why}");
                // Who asks again, or elsewhere, hears the same.
                assert!(matches!(future.await, Err(Error::ObjectLost { .. })));
                let elsewhere = checked::remote(number, future, LEN).await;
                assert!(matches!(elsewhere, Err(Error::ObjectLost { .. })), "{elsewhere:?}");
                lost += 1;
            }
            Err(other) => return Err(other),
        }
    }
    assert!(lost > 0 && lost < count, "{lost} of {count} are lost");
    drop(puts);
    nothing_is_left().await;
    Ok(())
}

/// What can never have room is refused at once.
async fn too_long() -> fdbray::Result<()> {
    let limit = store_stats().limit as usize;
    let began = Instant::now();
    let here = put(&Blob::from(vec![1; limit + 1])).map(drop);
    let buffer = fdbray::buffer(limit + 1).map(drop);
    let there = made::remote(1, limit + 1).await.map(drop);
    println!("after {} ms", began.elapsed().as_millis());
    for refused in [here, buffer, there] {
        let Err(Error::StoreFull { message, .. }) = refused else { panic!("{refused:?}") };
        assert!(message.contains("split it, or raise the limit"), "{message}");
        assert!(message.contains(&format!("{} bytes are wanted", limit + 1)), "{message}");
    }
    nothing_is_left().await;
    Ok(())
}

/// Many small objects and one that needs nearly all of the memory.
async fn many_and_one() -> fdbray::Result<()> {
    const LEN: usize = 5000;
    const COUNT: usize = 100_000;
    let limit = store_stats().limit as usize;
    assert!(COUNT * LEN > limit + limit / 2, "they are to be more than fit");
    let small: Vec<_> = (0..COUNT).map(|n| put(&bytes(n, LEN))).collect::<Result<_, _>>()?;
    assert!(store_stats().spilled_objects > 1000, "{}", store_stats());
    let huge_len = limit - limit / 8;
    let huge = put(&Blob::from(bytes(1, huge_len)))?;
    for (number, value) in small.iter().enumerate().step_by(499) {
        assert!(is_right(number, &within(60, "a small one", value).await?, LEN), "object {number}");
    }
    assert!(within(60, "the huge one", checked::remote(1, &huge, huge_len)).await?);
    assert!(is_right(1, &within(60, "the huge one", &huge).await?, huge_len));
    drop((small, huge));
    nothing_is_left().await;
    Ok(())
}

/// Spills, says so, and waits for its end.
async fn spill_and_wait() -> fdbray::Result<()> {
    const LEN: usize = 2 * MIB;
    let limit = store_stats().limit as usize;
    let kept: Vec<_> =
        (0..2 * limit / LEN).map(|n| put(&Blob::from(bytes(n, LEN)))).collect::<Result<_, _>>()?;
    println!("spilled {}", store_stats().spilled);
    std::future::pending::<()>().await;
    drop(kept);
    Ok(())
}
