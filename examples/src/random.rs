//! Numbers by chance that are the same in each run: SplitMix64.

/// A source of them.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Sources with the same `seed` give the same numbers.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// From `-1` to `1`.
    pub fn symmetric(&mut self) -> f32 {
        (self.number() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// All numbers below `end` in some order.
    pub fn order(&mut self, end: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..end).collect();
        for last in (1..end).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_each_number_once() {
        let mut order = Random::new(1).order(100);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..100));
    }

    #[test]
    fn numbers_lie_where_they_should() {
        let mut random = Random::new(2);
        assert!((0..1_000).all(|_| random.below(7) < 7));
        let numbers: Vec<f32> = (0..1_000).map(|_| random.symmetric()).collect();
        assert!(numbers.iter().all(|n| (-1.0..=1.0).contains(n)));
        assert!(numbers.iter().any(|n| *n < -0.9) && numbers.iter().any(|n| *n > 0.9));
    }
}
