//! What a worker that has nothing to claim waits for: other shapes, and futures of those that fit it.

use super::AFTER_FAILURE;
use crate::control::{
    durable::{Durable, DurableError, ShapeId, fits},
    members::Capacity,
    store::Watch,
};
use futures_util::{FutureExt, future};
use rustc_hash::FxHashMap;
use std::task::Poll;

/// The watches of a worker. Those that have not fired go on from one round of claiming to the next.
#[derive(Default)]
pub(super) struct Lookout {
    /// The shapes that fit.
    pub(super) shapes: Vec<(ShapeId, Capacity)>,
    more_shapes: Option<Watch>,
    signals: FxHashMap<ShapeId, Watch>,
}

impl Lookout {
    /// Watches again what has fired. Returns whether anything had: then something may have become ready unseen.
    pub(super) async fn renew(
        &mut self,
        durable: &Durable,
        capacity: &Capacity,
    ) -> Result<bool, DurableError> {
        let mut renewed = false;
        if self.more_shapes.is_none() {
            let (shapes, more_shapes) = durable.shapes().await?;
            self.shapes = shapes.into_iter().filter(|(_, shape)| fits(capacity, shape)).collect();
            self.more_shapes = Some(more_shapes);
            self.signals.retain(|id, _| self.shapes.iter().any(|(shape, _)| shape == id));
            renewed = true;
        }
        for (id, _) in &self.shapes {
            if !self.signals.contains_key(id) {
                self.signals.insert(*id, durable.watch_shape(*id).await?);
                renewed = true;
            }
        }
        Ok(renewed)
    }

    /// Takes watches that begin where a claim found nothing more.
    pub(super) fn watch(&mut self, signals: Vec<(ShapeId, Watch)>) {
        self.signals.extend(signals);
    }

    /// Waits until a watch fires, or fails, which may mean as much. Those that fail at once, again and again, are looked at
    /// now and then.
    pub(super) async fn fired(&mut self) {
        let mut failed = false;
        future::poll_fn(|cx| {
            let before = (self.more_shapes.is_some(), self.signals.len());
            let mut waits = |watch: &mut Watch| match watch.poll_unpin(cx) {
                Poll::Pending => true,
                Poll::Ready(fired) => {
                    failed |= fired.is_err();
                    false
                }
            };
            self.more_shapes.take_if(|watch| !waits(watch));
            self.signals.retain(|_, watch| waits(watch));
            match before == (self.more_shapes.is_some(), self.signals.len()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        if failed {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::store::StoreError;
    use tokio::time::Instant;

    fn watch(fires: Result<(), StoreError>) -> Watch {
        Watch::new(future::ready(fires))
    }

    #[tokio::test(start_paused = true)]
    async fn watches_that_fail_at_once_are_not_looked_at_without_pause() {
        for (fires, waits) in [(Ok(()), false), (Err(StoreError::Conflict), true)] {
            let (began, mut lookout) = (Instant::now(), Lookout::default());
            lookout.more_shapes = Some(watch(fires));
            lookout.fired().await;
            assert!(lookout.more_shapes.is_none());
            // Of a time that passes only while all wait.
            assert_eq!(began.elapsed() >= AFTER_FAILURE, waits);
        }
    }
}
