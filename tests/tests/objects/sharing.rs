//! Handing over within a host: no copy, no leak, whoever dies.

use fdbray::{Blob, Slab, put, store_stats};
use fdbray_tests::objects::*;

const LIMIT: u64 = 60;
const LEN: usize = 10_000_000;

#[fdbray::test(workers = 1, cpus = 1)]
async fn a_result_is_read_where_its_task_wrote_it() -> fdbray::Result<()> {
    for in_place in [true, false] {
        let made = if in_place { produced::remote(LEN, 3) } else { copied::remote(LEN, 3) };
        let blob: Blob = within(LIMIT, "the result", made).await?;
        assert!(blob.len() == LEN && blob.iter().all(|byte| *byte == 3));
        let memory = memory_of(&blob);
        assert!(memory.starts_with("r--s") && memory.contains("memfd:"), "{memory}");
        assert_eq!(store_stats().blocks, 0, "copied here");
        drop(blob);
        empty_there().await;
    }
    Ok(())
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn an_argument_is_read_where_its_caller_put_it() -> fdbray::Result<()> {
    let bytes = put(&Blob::from(vec![2; LEN]))?;
    assert_eq!(store_stats().blocks, 1);
    let sum = 2 * LEN as u64;
    let all = looked_at::map((0..20).map(|_| &bytes));
    for looked in all {
        let (seen, memory) = within(LIMIT, "a look", looked).await?;
        assert_eq!(seen, sum);
        assert!(memory.starts_with("r--s") && memory.contains("memfd:"), "{memory}");
    }
    drop(bytes);
    // By value too: it becomes an object on the way.
    let (seen, memory) = within(LIMIT, "a look", looked_at::remote(Slab::from(vec![2_u8; LEN]))).await?;
    assert!(seen == sum && memory.contains("memfd:"), "{memory}");
    empty_here().await;
    assert_eq!(in_store::remote().await?, (0, 0), "copied there");
    Ok(())
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn what_is_passed_on_is_an_object_of_its_own() -> fdbray::Result<()> {
    let bytes = put(&Blob::from(vec![5; LEN]))?;
    let again = within(LIMIT, "it comes back", passed_on::remote(&bytes)).await?;
    drop(bytes);
    empty_here().await;
    assert!(again.iter().all(|byte| *byte == 5));
    drop(again);
    empty_there().await;
    Ok(())
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn bytes_stay_as_long_as_a_view_does() -> fdbray::Result<()> {
    let future = produced::remote(LEN, 7);
    let blob = within(LIMIT, "the result", &future).await?;
    let part = blob.slice(LEN / 2..LEN / 2 + 10);
    drop((future, blob));
    // Others come and go meanwhile, in the same memory.
    for n in 0..5 {
        let other = within(LIMIT, "another", produced::remote(LEN, n)).await?;
        assert!(other.iter().all(|byte| *byte == n));
    }
    assert_eq!(part[..], [7; 10]);
    assert_eq!(in_store::remote().await?.1, LEN as u64, "the others' are left");
    drop(part);
    empty_there().await;
    Ok(())
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn what_a_killed_reader_had_is_free_again() -> fdbray::Result<()> {
    let bytes = put(&Blob::from(vec![9; LEN]))?;
    within(LIMIT, "it is held", hold::remote(1, &bytes)).await?;
    drop(bytes);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(store_stats().blocks, 1, "freed while it is read");
    let worker = pid::remote().await?;
    fdbray_tests::crash::send(worker, rustix::process::Signal::KILL);
    empty_here().await;
    Ok(())
}

#[test]
fn who_leaves_the_cluster_keeps_what_it_views() {
    let cluster = Cluster::embedded(env!("CARGO_BIN_EXE_crash_app"));
    let _worker = cluster.worker(&["--cpus", "1"]);
    let mut driver = cluster.driver(&["leaves-with-a-view", "8388608"]);
    driver.says(60, "viewed");
    // Whoever comes next has the worker make others, in whatever memory is free.
    cluster.driver(&["large", "1", "8388608"]).succeeds(60);
    driver.says(60, "the same");
    driver.succeeds(10);
}

#[fdbray::test(workers = 1, cpus = 1)]
async fn views_of_a_killed_writer_stay_what_they_were() -> fdbray::Result<()> {
    let blob = within(LIMIT, "the result", produced::options().retries(0).remote(LEN, 4)).await?;
    let worker = pid::remote().await?;
    fdbray_tests::crash::send(worker, rustix::process::Signal::KILL);
    // Another one comes in its place.
    let other = within(LIMIT, "another worker", produced::remote(LEN, 6)).await?;
    assert!(blob.iter().all(|byte| *byte == 4) && other.iter().all(|byte| *byte == 6));
    Ok(())
}
