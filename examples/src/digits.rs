//! A real data set: 1,797 digits that 43 people wrote by hand, 8 by 8 pixels each.
//!
//! It is the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning
//! Repository), which the crate `smartcore` ships.

use smartcore::dataset::digits;

/// Pixels on a side of a digit.
pub const SIDE: usize = 8;
/// Pixels of a digit.
pub const PIXELS: usize = SIDE * SIDE;
/// How many different digits there are.
pub const CLASSES: usize = 10;

/// Digits and what they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Digits {
    /// [`PIXELS`] of each, row by row, one digit after another: 0 is paper, 1 is ink.
    pub images: Vec<f32>,
    /// Which digit each is.
    pub labels: Vec<u8>,
}

impl Digits {
    /// Those to learn from, and the last fifth, which is to tell how well that went.
    pub fn load() -> (Digits, Digits) {
        let all = digits::load_dataset();
        let images = all.data.iter().map(|sixteenths| sixteenths / 16.0);
        let mut learned =
            Digits { images: images.collect(), labels: all.target.iter().map(|n| *n as u8).collect() };
        let held_out = learned.split_off(all.num_samples - all.num_samples / 5);
        (learned, held_out)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn image(&self, n: usize) -> &[f32] {
        &self.images[n * PIXELS..(n + 1) * PIXELS]
    }

    /// These of them, in this order.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn pick(&self, which: &[usize]) -> Digits {
        Digits {
            images: which.iter().flat_map(|n| self.image(*n)).copied().collect(),
            labels: which.iter().map(|n| self.labels[*n]).collect(),
        }
    }

    fn split_off(&mut self, at: usize) -> Digits {
        Digits { images: self.images.split_off(at * PIXELS), labels: self.labels.split_off(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_there_and_none_is_in_both_parts() {
        let (learned, held_out) = Digits::load();
        assert_eq!((learned.len(), held_out.len()), (1_438, 359));
        for part in [&learned, &held_out] {
            assert_eq!(part.images.len(), part.len() * PIXELS);
            assert!(part.images.iter().all(|ink| (0.0..=1.0).contains(ink)));
            assert!((0..CLASSES as u8).all(|digit| part.labels.contains(&digit)));
        }
    }

    #[test]
    fn a_pick_has_the_digits_asked_for() {
        let (learned, _) = Digits::load();
        let two = learned.pick(&[7, 3]);
        assert_eq!(two.labels, [learned.labels[7], learned.labels[3]]);
        assert_eq!([two.image(0), two.image(1)], [learned.image(7), learned.image(3)]);
    }
}
