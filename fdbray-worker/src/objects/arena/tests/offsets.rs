//! Offsets against a model: an array that says of each unit whose it is.

use super::super::offsets::{ALIGN, EXTENT, Growth, Offsets, PAGE, PAGED_FROM, Shape};
use super::Random;
use std::ops::Range;

const EXTENTS: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Cold,
    Free,
    Taken(u64),
}

/// Of each [`ALIGN`] bytes, whose they are.
struct Model(Vec<Of>);

impl Model {
    fn units(range: &Range<u64>) -> Range<usize> {
        (range.start / ALIGN) as usize..(range.end / ALIGN) as usize
    }

    fn set(&mut self, range: Range<u64>, to: Of, was: impl Fn(Of) -> bool) {
        for unit in &mut self.0[Model::units(&range)] {
            assert!(was(*unit), "{range:?} had a part {unit:?} and became {to:?}");
            *unit = to;
        }
    }

    fn bytes(&self, is: Of) -> u64 {
        self.0.iter().filter(|&&unit| unit == is).count() as u64 * ALIGN
    }

    /// Whether a block fits somewhere, where `usable` parts may be used.
    fn fits(&self, shape: Shape, usable: impl Fn(Of) -> bool) -> bool {
        let mut run = 0;
        let mut start = 0;
        self.0.iter().enumerate().any(|(at, &unit)| {
            if !usable(unit) {
                run = 0;
                return false;
            }
            if run == 0 {
                start = at as u64 * ALIGN;
            }
            run += ALIGN;
            start.next_multiple_of(shape.align) + shape.len <= start + run
        })
    }
}

fn shape(len: u64) -> Shape {
    Shape::of(len).unwrap()
}

/// One seed's life: blocks are taken, memory is reserved, refused, given back, in any order.
fn live(seed: u64, steps: usize) {
    let mut random = Random(seed);
    let all = EXTENTS * EXTENT;
    let mut offsets = Offsets::new(all);
    let mut model = Model(vec![Of::Cold; (all / ALIGN) as usize]);
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for step in 0..steps {
        let number = step as u64;
        match random.below(100) {
            0..55 => {
                let shape = shape(random.scale(3 * PAGED_FROM));
                if let Some(at) = offsets.take(shape) {
                    assert_eq!(at % shape.align, 0);
                    model.set(at..at + shape.len, Of::Taken(number), |was| was == Of::Free);
                    taken.push((at, shape.len));
                } else {
                    let least =
                        if shape.align == ALIGN { shape } else { Shape { len: shape.len + PAGE, ..shape } };
                    assert!(!model.fits(least, |of| of == Of::Free), "seed {seed}: {shape:?} had room");
                    grow(&mut offsets, &mut model, &mut taken, shape, &mut random, number);
                }
            }
            55..95 if !taken.is_empty() => {
                let (at, len) = taken.swap_remove(random.below(taken.len() as u64) as usize);
                assert_eq!(offsets.around(at + random.below(len)), Some(at..at + len));
                assert_eq!(offsets.release(at), len);
                model.set(at..at + len, Of::Free, |was| matches!(was, Of::Taken(_)));
            }
            _ => {
                let most = random.scale(4 * EXTENT);
                let Some(idle) = offsets.take_idle(most) else { continue };
                assert!(idle.start % EXTENT == 0 && idle.end - idle.start <= most.next_multiple_of(EXTENT));
                model.set(idle.clone(), Of::Cold, |was| was == Of::Free);
                assert_eq!(offsets.chill(idle.start), idle.end - idle.start);
            }
        }
        offsets.check();
        if step % 8 > 0 {
            continue;
        }
        assert_eq!(offsets.free(), model.bytes(Of::Free), "seed {seed}");
        assert_eq!(offsets.reserved(), all - model.bytes(Of::Cold), "seed {seed}");
        let some = random.below(all / EXTENT) * EXTENT;
        let cold = model.0[Model::units(&(some..some + EXTENT))].contains(&Of::Cold);
        assert_eq!(offsets.is_reserved(some..some + EXTENT), !cold, "seed {seed}");
    }
    for (at, _) in taken {
        offsets.release(at);
    }
    offsets.check();
    assert_eq!(offsets.free(), offsets.reserved());
}

fn grow(
    offsets: &mut Offsets,
    model: &mut Model,
    taken: &mut Vec<(u64, u64)>,
    shape: Shape,
    random: &mut Random,
    number: u64,
) {
    let before = (offsets.free(), offsets.reserved());
    let Some(growth) = offsets.grow(shape, random.below(3) * EXTENT) else {
        let room = Shape { len: shape.len + PAGE, ..shape };
        assert!(!model.fits(room, |of| of == Of::Free || of == Of::Cold), "{shape:?} had a gap");
        return;
    };
    let Growth { tile, cold } = &growth;
    assert!(tile.start % shape.align == 0 && tile.end - tile.start >= shape.len);
    for extents in cold {
        assert!(extents.start >= tile.start && extents.end <= tile.end && extents.start % EXTENT == 0);
    }
    if random.below(4) == 0 {
        offsets.undo(&growth);
        assert_eq!((offsets.free(), offsets.reserved()), before, "undoing leaves all as it was");
        return;
    }
    for extents in cold {
        model.set(extents.clone(), Of::Free, |was| was == Of::Cold);
    }
    model.set(tile.start..tile.start + shape.len, Of::Taken(number), |was| was == Of::Free);
    offsets.split(&growth, shape.len);
    taken.push((tile.start, shape.len));
}

#[test]
fn whatever_is_taken_and_given_back_every_byte_is_one_tiles() {
    for seed in 0..12 {
        live(seed, 300);
    }
}

#[test]
fn the_best_fit_is_taken_and_of_equals_the_lowest() {
    let mut offsets = Offsets::new(EXTENTS * EXTENT);
    let growth = offsets.grow(shape(4 * EXTENT), 0).unwrap();
    offsets.split(&growth, 64 * 10);
    let small = |offsets: &mut Offsets, len| offsets.take(shape(len)).unwrap();
    // Holes of 2, 1 and 1 units, each before a block that stays.
    let holes = [128, 64, 64].map(|len| (small(&mut offsets, len), small(&mut offsets, 64)));
    for (hole, _) in holes {
        offsets.release(hole);
    }
    assert_eq!(small(&mut offsets, 64), holes[1].0);
    assert_eq!(small(&mut offsets, 1), holes[2].0);
    assert_eq!(small(&mut offsets, 65), holes[0].0);
}

#[test]
fn a_gap_with_memory_in_it_is_preferred_to_one_without() {
    let mut offsets = Offsets::new(EXTENTS * EXTENT);
    let whole = offsets.grow(shape(8 * EXTENT), 0).unwrap();
    offsets.split(&whole, 8 * EXTENT);
    offsets.release(whole.tile.start);
    let first = offsets.take(shape(2 * EXTENT)).unwrap();
    // The last extents lose their memory; those between keep theirs.
    assert_eq!(offsets.take_idle(EXTENT), Some(7 * EXTENT..8 * EXTENT));
    offsets.chill(7 * EXTENT);
    let growth = offsets.grow(shape(6 * EXTENT), 0).unwrap();
    assert_eq!((first, growth.tile), (0, 2 * EXTENT..8 * EXTENT));
    assert_eq!((growth.cold.len(), &growth.cold[0]), (1, &(7 * EXTENT..8 * EXTENT)));
}

#[test]
fn shapes_say_what_a_length_takes() {
    assert_eq!(shape(0), Shape { len: ALIGN, align: ALIGN });
    assert_eq!(shape(65), Shape { len: 128, align: ALIGN });
    assert_eq!(shape(PAGED_FROM - 1), Shape { len: PAGED_FROM, align: ALIGN });
    assert_eq!(shape(PAGED_FROM + 1), Shape { len: PAGED_FROM + PAGE, align: PAGE });
    assert_eq!(Shape::of(u64::MAX), None);
}
