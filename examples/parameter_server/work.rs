//! What workers do: slopes of the loss for batches of digits.

use crate::shard::{Part, ShardHandle, Slopes};
use fdbray::prelude::*;
use fdbray_examples::{
    digits::{Digits, PIXELS},
    network::{self, Gradient},
    random::Random,
};

/// Digits of a batch.
pub const BATCH: usize = 16;

/// Synchronous: the slopes for one batch, at parameters that may not be there yet.
#[remote]
pub fn find(
    parts: Vec<RemoteFuture<Part>>,
    images: &[f32],
    labels: &[u8],
    batch: Vec<usize>,
) -> fdbray::Result<Slopes> {
    let parts = parts.iter().map(RemoteFuture::wait).collect::<fdbray::Result<Vec<_>>>()?;
    let Gradient { slope, .. } = network::gradient(&joined(&parts), &pick(images, labels, &batch));
    split(&slope, &parts).map(|slope| fdbray::put(&Slab::from(slope))).collect()
}

/// Asynchronous: goes through batches at its own pace.
#[remote]
pub fn descend(
    shards: Vec<ShardHandle>,
    images: &[f32],
    labels: &[u8],
    batches: Vec<Vec<usize>>,
) -> fdbray::Result<()> {
    let mut pushed = Vec::new();
    for batch in &batches {
        // All are asked before the first is waited for.
        let parts: Vec<_> = shards.iter().map(ShardHandle::pull).collect();
        let parts = parts.iter().map(RemoteFuture::wait).collect::<fdbray::Result<Vec<_>>>()?;
        let Gradient { slope, .. } = network::gradient(&joined(&parts), &pick(images, labels, batch));
        // Not waited for: the next pull comes after these.
        let slopes = shards.iter().zip(&parts).zip(split(&slope, &parts));
        pushed = slopes.map(|((shard, part), slope)| shard.push(slope, part.steps)).collect();
    }
    // The last ones are, for who looks at the parameters when this has ended.
    pushed.iter().try_for_each(RemoteFuture::wait)
}

/// The batches of an epoch: all digits, in an order of its own, dealt out to so many workers.
pub fn deal(digits: usize, workers: usize, epoch: usize) -> Vec<Vec<Vec<usize>>> {
    let order = Random::new(epoch as u64).order(digits);
    let of = |worker| order.iter().copied().skip(worker).step_by(workers).collect::<Vec<_>>();
    (0..workers).map(|worker| of(worker).chunks(BATCH).map(<[usize]>::to_vec).collect()).collect()
}

/// The parameters that are in these parts.
pub fn joined(parts: &[Part]) -> Vec<f32> {
    parts.iter().flat_map(|part| part.parameters.iter()).copied().collect()
}

/// A slope, as the parameters are split.
fn split<'a>(mut slope: &'a [f32], parts: &'a [Part]) -> impl Iterator<Item = &'a [f32]> {
    parts.iter().map(move |part| {
        let (own, rest) = slope.split_at(part.parameters.len());
        slope = rest;
        own
    })
}

fn pick(images: &[f32], labels: &[u8], batch: &[usize]) -> Digits {
    Digits {
        images: batch.iter().flat_map(|n| &images[n * PIXELS..][..PIXELS]).copied().collect(),
        labels: batch.iter().map(|n| labels[*n]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_digit_is_dealt_to_one_worker_in_another_order_each_epoch() {
        let first = deal(1_438, 4, 0);
        assert_eq!(first.len(), 4);
        assert!(first.iter().flatten().all(|batch| batch.len() <= BATCH));
        assert!(first.iter().all(|batches| batches.len() == first[0].len()));
        let mut all = first.concat().concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1_438));
        assert_ne!(first, deal(1_438, 4, 1));
    }

    #[test]
    fn a_slope_is_split_as_the_parameters_are() {
        let part = |parameters: &[f32]| Part { parameters: Slab::from(parameters), steps: 0 };
        let parts = [part(&[1.0, 2.0]), part(&[]), part(&[3.0])];
        assert_eq!(joined(&parts), [1.0, 2.0, 3.0]);
        assert!(split(&[4.0, 5.0, 6.0], &parts).eq([&[4.0, 5.0][..], &[], &[6.0]]));
    }
}
