//! Large bytes and numbers inside values: passed, returned, nested, borrowed, viewed, durable.

use fdbray::{Blob, Slab, put};
use fdbray_tests::cluster::*;

const LIMIT: u64 = 120;

/// Parts that travel beside a value, and parts that travel within it.
const LENGTHS: [usize; 3] = [10, 65_537, 1_000_000];

#[fdbray::test(workers = 2, cpus = 1)]
async fn structs_with_large_parts_are_passed_and_returned() -> fdbray::Result<()> {
    for len in LENGTHS {
        let made = scan(len);
        assert!(within(LIMIT, "as a value", same_scan::remote(&made)).await? == made, "{len}");
        let later = same_scan::remote(same_scan::remote(scan::remote(len)));
        assert!(within(LIMIT, "through three tasks", later).await? == made, "{len}");
        let kept = put(&made)?;
        assert!(within(LIMIT, "as an object", same_scan::remote(&kept)).await? == made, "{len}");
        assert!(within(LIMIT, "from here", kept).await? == made, "{len}");
    }
    Ok(())
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn structs_with_large_parts_are_nested_in_lists_and_futures() -> fdbray::Result<()> {
    for len in LENGTHS {
        let given = Album { here: vec![scan(len), scan(3), scan(len)], later: scan::remote(len + 1) };
        let all = within(LIMIT, "all of them", scans::remote(&given)).await?;
        assert!(all[..3] == given.here[..] && all[3] == scan(len + 1), "{len}");
        let returned = within(LIMIT, "an album", album::remote(len)).await?;
        assert!(returned.here == [scan(len)], "{len}");
        assert!(within(LIMIT, "its future", returned.later).await? == scan(len + 1), "{len}");
        let passed = within(LIMIT, "an album that is passed on", scans::remote(album::remote(len))).await?;
        assert!(passed == [scan(len), scan(len + 1)], "{len}");
    }
    Ok(())
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn borrowed_parameters_read_what_lends_them_in_any_form() -> fdbray::Result<()> {
    for len in LENGTHS {
        let (text, bytes, scan) = ("µ".repeat(len), vec![3_u8; len], scan(len));
        let numbers: Vec<f32> = slab(len).to_vec();
        let expected = sums(&text, &bytes, &numbers, &scan);
        let values = [
            measures::remote(&text, &bytes, &numbers, &scan),
            measures_later::remote(
                text.as_str(),
                Blob::from(bytes.clone()),
                Slab::from(numbers.clone()),
                &scan,
            ),
            measures::remote(put(&text)?, put(&bytes)?, put(&numbers)?, put(&scan)?),
            measures_later::remote(put(&text)?, filled::remote(len, 3), slab::remote(len), scan::remote(len)),
            measures::remote(
                text.clone(),
                Slab::from(bytes.clone()),
                slab::remote(len),
                same_scan::remote(&scan),
            ),
        ];
        for (n, value) in values.into_iter().enumerate() {
            assert_eq!(within(LIMIT, "a borrowing call", value).await?, expected, "{n} of {len}");
        }
    }
    Ok(())
}

#[fdbray::test]
async fn values_are_viewed_and_read_in_place() -> fdbray::Result<()> {
    for len in LENGTHS {
        let bytes = within(LIMIT, "bytes", filled::remote(len, 7).view()).await?;
        assert!(bytes.len() == len && bytes.iter().all(|b| *b == 7));
        let numbers = within(LIMIT, "numbers", slab::remote(len).view()).await?;
        assert_eq!(numbers[..], slab(len)[..]);
        let held = within(LIMIT, "a struct", scan::remote(len).in_place()).await?;
        let (read, expected): (ScanRef<'_>, _) = (held.read()?, scan(len));
        assert!(read.name == expected.name && read.points == expected.points, "{len}");
        assert!(read.raw == &expected.raw[..] && read.mask == &expected.mask[..], "{len}");
    }
    Ok(())
}

#[fdbray::test(workers = 2, cpus = 1)]
async fn lists_of_slabs_keep_their_order() -> fdbray::Result<()> {
    let slabs: Vec<_> = LENGTHS.into_iter().chain([65_536, 1, 0]).map(slab).collect();
    let expected: Vec<f32> = slabs.iter().flat_map(|s| s.to_vec()).collect();
    assert!(within(LIMIT, "all in one", joined::remote(slabs)).await?[..] == expected);
    Ok(())
}

#[fdbray::test(cpus = 2)]
async fn a_hundred_megabytes_are_written_in_place_and_returned() -> fdbray::Result<()> {
    const LEN: usize = 100_000_000;
    let made = within(LIMIT, "100 MB", filled::remote(LEN, 9)).await?;
    assert!(made.len() == LEN && made.iter().all(|b| *b == 9));
    Ok(())
}

#[fdbray::test]
async fn durable_calls_take_and_give_large_parts_too() -> fdbray::Result<()> {
    for len in [10, 70_000] {
        let made = scan::options().durable().remote(len);
        let same = same_scan::options().durable().remote(&made);
        assert!(within(LIMIT, "a durable struct", same).await? == scan(len), "{len}");
        let whole = scan::options().durable_value().remote(len);
        assert!(
            within(LIMIT, "as an argument of an ordinary call", same_scan::remote(whole)).await? == scan(len)
        );
        let owned = same_scan::options().durable().remote(scan::remote(len));
        assert!(within(LIMIT, "of one that a process owns", owned).await? == scan(len), "{len}");
        let (bytes, numbers) = (Blob::from(vec![3_u8; len]), slab(len));
        let expected = sums("text", &bytes, &numbers, &scan(len));
        let measured =
            measures::options().durable().remote("text", filled::remote(len, 3), slab::remote(len), &made);
        assert_eq!(within(LIMIT, "borrowed", measured).await?, expected, "{len}");
    }
    Ok(())
}
