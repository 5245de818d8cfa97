//! Used pages against a set of them.

use super::super::{offsets::PAGE, pages::Used};
use super::Random;
use std::{collections::BTreeSet, ops::Range};

#[test]
fn used_parts_are_those_that_were_marked_and_not_cleared() {
    let mut random = Random(7);
    let mut used = Used::default();
    let mut model = BTreeSet::new();
    let pages = |bytes: &Range<u64>| bytes.start / PAGE..bytes.end.div_ceil(PAGE);
    for _ in 0..5000 {
        let start = random.below(400 * PAGE);
        let bytes = start..start + random.scale(200 * PAGE);
        match random.below(3) {
            0 => {
                used.mark(bytes.clone());
                model.extend(pages(&bytes));
            }
            1 => {
                let whole = start / PAGE * PAGE..bytes.end.next_multiple_of(PAGE);
                used.clear(whole.clone());
                model.retain(|page| !pages(&whole).contains(page));
            }
            _ => {
                let parts = used.within(bytes.clone());
                assert!(parts.iter().all(|part| part.start < part.end), "{parts:?}");
                assert!(parts.windows(2).all(|two| two[0].end < two[1].start), "{parts:?} are merged");
                for page in pages(&bytes) {
                    let within = (page * PAGE).max(bytes.start)..((page + 1) * PAGE).min(bytes.end);
                    let found = parts.iter().any(|part| part.start <= within.start && within.end <= part.end);
                    let touched = parts.iter().any(|part| part.start < within.end && within.start < part.end);
                    assert_eq!(
                        (found, touched),
                        (model.contains(&page), model.contains(&page)),
                        "page {page}"
                    );
                }
            }
        }
    }
}
