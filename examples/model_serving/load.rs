//! Clients: each sends a sheet, waits for the answer, compares it and sends the next; and what they measure.

use crate::{
    router::RouterHandle,
    sheet::{Scan, preprocess},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How sheets come to the models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// As futures: nobody but the model reads them.
    ByReference,
    /// As values, which the router gets and sends on.
    ByValue,
}

/// What the clients have seen together.
#[derive(Debug, Default)]
pub struct Measured {
    /// Of each request, from the picture to the digits. Sorted.
    pub latencies: Vec<Duration>,
    /// How long they all took.
    pub took: Duration,
    /// Digits that were read as they were written, and all digits.
    pub right: usize,
    pub digits: usize,
}

impl Measured {
    pub fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// What so many per cent of the requests took at most.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(at - 1).copied().unwrap_or_default()
    }
}

/// So many clients send sheets for this time.
pub async fn load(
    router: &RouterHandle,
    scans: &Arc<Vec<Scan>>,
    way: Way,
    clients: usize,
    time: Duration,
) -> fdbray::Result<Measured> {
    let started = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|first| tokio::spawn(client(router.clone(), scans.clone(), way, first, started + time)))
        .collect();
    let mut all = Measured::default();
    for client in clients {
        let Measured { latencies, right, digits, .. } =
            client.await.map_err(fdbray::Error::application)??;
        all.latencies.extend(latencies);
        all.right += right;
        all.digits += digits;
    }
    all.took = started.elapsed();
    all.latencies.sort_unstable();
    Ok(all)
}

async fn client(
    router: RouterHandle,
    scans: Arc<Vec<Scan>>,
    way: Way,
    first: usize,
    until: Instant,
) -> fdbray::Result<Measured> {
    let mut seen = Measured::default();
    for scan in scans.iter().cycle().skip(first) {
        let started = Instant::now();
        if started >= until {
            break;
        }
        // Not awaited: in both cases the tensor goes from the worker that makes it to where it is wanted. The same code,
        // and the type of the router's parameter says who wants it.
        let sheet = preprocess::remote(&scan.png);
        let reading = match way {
            Way::ByReference => router.read(sheet),
            Way::ByValue => router.read_value(sheet),
        };
        let reading = reading.await?;
        seen.latencies.push(started.elapsed());
        seen.right += reading.iter().zip(&scan.digits).filter(|(read, written)| read == written).count();
        seen.digits += scan.digits.len();
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_what_so_many_took_at_most() {
        let latencies = (1..=200).map(Duration::from_millis).collect();
        let measured = Measured { latencies, took: Duration::from_secs(2), ..Measured::default() };
        let millis = [0, 1, 50, 99, 100].map(|percent| measured.percentile(percent).as_millis());
        assert_eq!(millis, [1, 2, 100, 198, 200]);
        assert_eq!(measured.throughput(), 100.0);
        assert_eq!(Measured::default().percentile(50), Duration::ZERO);
    }
}
