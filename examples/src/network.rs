//! A network of two layers that tells handwritten digits apart, and how it learns: plain arithmetic on one list of
//! numbers.
//!
//! Its parameters are one list so that they can be kept in parts, wherever those are. First comes, for each hidden unit, a
//! weight for each pixel; then for each digit a weight for each hidden unit; then the biases of both.

use crate::digits::{CLASSES, Digits, PIXELS};
use crate::random::Random;

/// Hidden units.
pub const HIDDEN: usize = 128;
/// The length of the list.
pub const PARAMETERS: usize = HIDDEN * PIXELS + CLASSES * HIDDEN + HIDDEN + CLASSES;

/// Which way the loss rises, and how large it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// By parameter.
    pub slope: Vec<f32>,
    /// The mean over the digits, in nats.
    pub loss: f32,
}

/// A network that has learned nothing.
pub fn initial(seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut parameters = vec![0.0; PARAMETERS];
    let (first, second, ..) = parts_mut(&mut parameters);
    first.fill_with(|| random.symmetric() * (3.0 / PIXELS as f32).sqrt());
    second.fill_with(|| random.symmetric() * (3.0 / HIDDEN as f32).sqrt());
    parameters
}

/// Which digit the image shows, as the network sees it.
pub fn read(parameters: &[f32], image: &[f32]) -> u8 {
    best(&forward(parameters, image).1)
}

/// How the parameters should change for these digits.
pub fn gradient(parameters: &[f32], digits: &Digits) -> Gradient {
    let mut slope = vec![0.0; PARAMETERS];
    let mut loss = 0.0;
    let (_, weights, ..) = parts(parameters);
    let (first, second, first_bias, second_bias) = parts_mut(&mut slope);
    let share = 1.0 / digits.len().max(1) as f32;
    for (image, label) in digits.images.chunks_exact(PIXELS).zip(&digits.labels) {
        let (hidden, scores) = forward(parameters, image);
        let mut wrong = likelihoods(scores);
        loss -= wrong[usize::from(*label)].max(f32::MIN_POSITIVE).ln() * share;
        wrong[usize::from(*label)] -= 1.0;
        let mut back = [0.0; HIDDEN];
        for (digit, wrong) in wrong.into_iter().enumerate() {
            let wrong = wrong * share;
            second_bias[digit] += wrong;
            add(&mut back, wrong, &weights[digit * HIDDEN..][..HIDDEN]);
            add(&mut second[digit * HIDDEN..][..HIDDEN], wrong, &hidden);
        }
        for (unit, back) in back.into_iter().enumerate().filter(|(unit, _)| hidden[*unit] > 0.0) {
            first_bias[unit] += back;
            add(&mut first[unit * PIXELS..][..PIXELS], back, image);
        }
    }
    Gradient { slope, loss }
}

/// Takes a step down: `rate` times the slope. Also for a part of the parameters and the same part of the slope.
pub fn descend(parameters: &mut [f32], slope: &[f32], rate: f32) {
    add(parameters, -rate, slope);
}

/// The mean loss, in nats, and which share of the digits is read right.
pub fn judge(parameters: &[f32], digits: &Digits) -> (f32, f32) {
    let (mut loss, mut right) = (0.0, 0);
    for (image, label) in digits.images.chunks_exact(PIXELS).zip(&digits.labels) {
        let (_, scores) = forward(parameters, image);
        loss -= likelihoods(scores)[usize::from(*label)].max(f32::MIN_POSITIVE).ln();
        right += usize::from(best(&scores) == *label);
    }
    let count = digits.len().max(1) as f32;
    (loss / count, right as f32 / count)
}

/// What the hidden units say of an image, and the scores of the digits.
fn forward(parameters: &[f32], image: &[f32]) -> ([f32; HIDDEN], [f32; CLASSES]) {
    let (first, second, first_bias, second_bias) = parts(parameters);
    let mut hidden = [0.0; HIDDEN];
    for ((unit, weights), bias) in hidden.iter_mut().zip(first.chunks_exact(PIXELS)).zip(first_bias) {
        *unit = (dot(weights, image) + bias).max(0.0);
    }
    let mut scores = [0.0; CLASSES];
    for ((score, weights), bias) in scores.iter_mut().zip(second.chunks_exact(HIDDEN)).zip(second_bias) {
        *score = dot(weights, &hidden) + bias;
    }
    (hidden, scores)
}

fn best(scores: &[f32]) -> u8 {
    let best = scores.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(digit, _)| digit as u8)
}

/// Softmax.
fn likelihoods(scores: [f32; CLASSES]) -> [f32; CLASSES] {
    let most = scores.into_iter().fold(f32::MIN, f32::max);
    let powers = scores.map(|score| (score - most).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|power| power / sum)
}

/// In eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for n in 0..8 {
            sums[n] += a[n] * b[n];
        }
    }
    sums.iter().sum()
}

fn add(to: &mut [f32], times: f32, what: &[f32]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += times * what;
    }
}

/// Both layers' weights, then both layers' biases.
fn parts(parameters: &[f32]) -> (&[f32], &[f32], &[f32], &[f32]) {
    let (first, rest) = parameters.split_at(HIDDEN * PIXELS);
    let (second, rest) = rest.split_at(CLASSES * HIDDEN);
    let (first_bias, second_bias) = rest.split_at(HIDDEN);
    (first, second, first_bias, second_bias)
}

fn parts_mut(parameters: &mut [f32]) -> (&mut [f32], &mut [f32], &mut [f32], &mut [f32]) {
    let (first, rest) = parameters.split_at_mut(HIDDEN * PIXELS);
    let (second, rest) = rest.split_at_mut(CLASSES * HIDDEN);
    let (first_bias, second_bias) = rest.split_at_mut(HIDDEN);
    (first, second, first_bias, second_bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_what_small_steps_find() {
        let (digits, _) = Digits::load();
        let digits = digits.pick(&[0, 1, 2]);
        let parameters = initial(3);
        let Gradient { slope, loss } = gradient(&parameters, &digits);
        assert!((loss - judge(&parameters, &digits).0).abs() < 1e-5);
        let step = 1e-2;
        let biases = [HIDDEN * PIXELS + CLASSES * HIDDEN, PARAMETERS - 1];
        for n in (20..PARAMETERS).step_by(97).chain(biases) {
            let at = |by: f32| {
                let mut moved = parameters.clone();
                moved[n] += by;
                judge(&moved, &digits).0
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            assert!((found - slope[n]).abs() < 1e-3, "parameter {n}: {found} and {}", slope[n]);
        }
        assert!(slope.iter().any(|slope| slope.abs() > 1e-2));
    }

    #[test]
    fn it_learns_to_read_digits_that_it_has_not_seen() {
        let (learned, held_out) = Digits::load();
        let mut parameters = initial(4);
        let (untrained, guessed) = judge(&parameters, &held_out);
        assert!(guessed < 0.3, "{guessed} without learning");
        let mut random = Random::new(5);
        for _ in 0..5 {
            for batch in random.order(learned.len()).chunks(16) {
                let Gradient { slope, .. } = gradient(&parameters, &learned.pick(batch));
                descend(&mut parameters, &slope, 0.2);
            }
        }
        let (loss, right) = judge(&parameters, &held_out);
        assert!(right > 0.85 && loss < untrained / 3.0, "{right} of them, with a loss of {loss}");
    }
}
