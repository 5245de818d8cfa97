//! Whether compressing pays for a link: what the link takes, against what compressing takes and saves.

use std::time::{Duration, Instant};

/// What a connection has been seen to take.
#[derive(Debug)]
pub(super) struct Pace {
    /// Never compress, however slow it is: both ends are on one host.
    local: bool,
    /// When the socket was last full, and how many bytes it had taken by then. Between two such moments it has taken
    /// from us as much as the network has taken from it.
    full: Option<(Instant, u64)>,
    /// Bytes that it has taken in all.
    taken: u64,
    /// Bytes per second, of the last while.
    rate: Option<f64>,
}

/// What a sample came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub raw: usize,
    pub packed: usize,
    pub took: Duration,
}

impl Pace {
    pub fn new(local: bool) -> Self {
        Pace { local, full: None, taken: 0, rate: None }
    }

    /// The socket has taken `bytes` more.
    pub fn took(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    /// The socket takes no more at present.
    pub fn full(&mut self, now: Instant) {
        let Some((since, before)) = self.full else {
            self.full = Some((now, self.taken));
            return;
        };
        let (bytes, time) = (self.taken - before, now.saturating_duration_since(since));
        if bytes >= ENOUGH && !time.is_zero() {
            let rate = bytes as f64 / time.as_secs_f64();
            self.rate = Some(self.rate.map_or(rate, |before| (before + rate) / 2.0));
            self.full = Some((now, self.taken));
        }
    }

    /// There is nothing to send for a while: what follows says nothing about the network.
    pub fn idle(&mut self) {
        self.full = None;
    }

    /// Whether there is any use in a sample: the network is known to be what sending waits for.
    pub fn is_slow(&self) -> bool {
        !self.local && self.rate.is_some_and(|rate| rate < FAST)
    }

    /// Whether data like this is through earlier when it is compressed first.
    pub fn pays(&self, sample: Sample) -> bool {
        let Some(rate) = self.rate.filter(|_| self.is_slow()) else { return false };
        let plain = sample.raw as f64 / rate;
        let packed = sample.took.as_secs_f64() + sample.packed as f64 / rate;
        packed < plain * WORTH
    }
}

/// Bytes between two looks at the rate.
const ENOUGH: u64 = 1 << 20;

/// No sample is taken on a link that takes so many bytes per second: compressing is slower than that.
const FAST: f64 = 1.5e9;

/// Compressing is to save so much of the time, since it costs both ends work.
const WORTH: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that takes so many bytes per second, all the time.
    fn link(rate: u64) -> Pace {
        let (mut pace, start) = (Pace::new(false), Instant::now());
        for n in 0..10 {
            pace.full(start + Duration::from_millis(100 * n));
            pace.took(rate / 10);
        }
        pace
    }

    fn sample(packed: usize, micros: u64) -> Sample {
        Sample { raw: 100_000, packed, took: Duration::from_micros(micros) }
    }

    #[test]
    fn compressing_pays_on_a_slow_link_for_data_that_shrinks() {
        // 800 us for the sample as it is.
        let gigabit = link(125_000_000);
        assert!(gigabit.pays(sample(50_000, 200)));
        assert!(!gigabit.pays(sample(99_000, 200)), "it does not shrink");
        assert!(!gigabit.pays(sample(50_000, 500)), "compressing takes longer than it saves");
        // 80 us.
        assert!(!link(1_250_000_000).pays(sample(50_000, 200)));
    }

    #[test]
    fn nothing_is_compressed_on_a_link_that_was_never_full_or_too_short_to_tell() {
        let mut pace = Pace::new(false);
        pace.took(1 << 40);
        assert!(!pace.is_slow() && !pace.pays(sample(1, 0)));
        let start = Instant::now();
        pace.full(start);
        pace.took(ENOUGH);
        pace.idle();
        pace.full(start + Duration::from_secs(100));
        assert!(!pace.is_slow(), "the time in between was idle");
    }

    #[test]
    fn nothing_is_compressed_within_a_host() {
        let pace = Pace { local: true, ..link(1000) };
        assert!(!pace.is_slow() && !pace.pays(sample(1, 0)));
    }
}
