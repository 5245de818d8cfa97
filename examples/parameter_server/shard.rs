//! A shard: the actor that has some of the parameters.

use fdbray::prelude::*;
use fdbray_examples::network;
use serde::{Deserialize, Serialize};

/// Some of the parameters, and how often they have been changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The parameters.
    pub parameters: Slab<f32>,
    /// Steps that have been taken.
    pub steps: u64,
}

/// What one worker found: a slope for each shard. They stay where they were computed, and each shard fetches its own.
pub type Slopes = Vec<RemoteFuture<Slab<f32>>>;

/// The actor.
pub struct Shard {
    parameters: Vec<f32>,
    rate: f32,
    steps: u64,
    /// Steps that were taken between a pull and its push, summed over all pushes.
    stale: u64,
}

#[actor]
impl Shard {
    /// `rate` is how far one step goes, as a multiple of the slope.
    pub fn new(parameters: Vec<f32>, rate: f32) -> Self {
        Shard { parameters, rate, steps: 0, stale: 0 }
    }

    /// As they are now. A caller sees what it has pushed before.
    pub fn pull(&self) -> Part {
        Part { parameters: Slab::from(&self.parameters[..]), steps: self.steps }
    }

    /// Asynchronous: takes a step as soon as one worker has a slope, though others may have taken some since that worker
    /// pulled, when there were `steps`.
    pub fn push(&mut self, slope: &[f32], steps: u64) {
        self.stale += self.steps - steps;
        network::descend(&mut self.parameters, slope, self.rate);
        self.steps += 1;
    }

    /// Synchronous: one step for the slopes of all workers, of each the one for shard `n`. Waits for them, so that they
    /// may be passed before they are there; who pulls meanwhile waits for this step.
    pub async fn step(&mut self, n: usize, workers: Vec<RemoteFuture<Slopes>>) -> fdbray::Result<()> {
        let found = fdbray::settle(workers).await.into_iter().collect::<fdbray::Result<Vec<_>>>()?;
        let slopes = fdbray::settle(found.iter().map(|slopes| &slopes[n])).await;
        // All or none, so that one that is lost leaves the parameters as they were.
        let slopes = slopes.into_iter().collect::<fdbray::Result<Vec<_>>>()?;
        for slope in &slopes {
            network::descend(&mut self.parameters, slope, self.rate / slopes.len() as f32);
        }
        self.steps += 1;
        Ok(())
    }

    /// How many steps others had taken, on average, when one was taken.
    pub fn staleness(&self) -> f64 {
        self.stale as f64 / self.steps.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_push_is_a_step_and_its_age_is_counted() {
        let mut shard = Shard::new(vec![1.0, 2.0], 0.5);
        assert_eq!(shard.pull(), Part { parameters: Slab::from(vec![1.0, 2.0]), steps: 0 });
        shard.push(&[2.0, 0.0], 0);
        shard.push(&[0.0, 4.0], 0);
        assert_eq!(shard.pull(), Part { parameters: Slab::from(vec![0.0, 0.0]), steps: 2 });
        assert_eq!(shard.staleness(), 0.5);
    }

    fn found(slopes: &[Slab<f32>]) -> fdbray::Result<RemoteFuture<Slopes>> {
        fdbray::put(&slopes.iter().map(fdbray::put).collect::<fdbray::Result<Slopes>>()?)
    }

    #[fdbray::test(workers = 1, cpus = 1)]
    async fn a_step_goes_down_the_mean_of_its_own_slopes_and_who_pulls_waits_for_it() {
        let shard = Shard::remote(vec![1.0], 1.0);
        let other = Slab::from(vec![100.0]);
        let workers = [-2.0, 4.0].map(|slope| found(&[other.clone(), Slab::from(vec![slope])]).unwrap());
        let (step, after) = (shard.step(1, workers.to_vec()), shard.pull());
        assert_eq!(after.await.unwrap(), Part { parameters: Slab::from(vec![0.0]), steps: 1 });
        step.await.unwrap();
    }

    #[remote]
    fn lost() -> fdbray::Result<Slopes> {
        Err(Error::application(std::io::Error::other("out of digits")))
    }

    #[fdbray::test(workers = 1, cpus = 1)]
    async fn without_the_slopes_of_one_worker_there_is_no_step() {
        let shard = Shard::remote(vec![1.0], 1.0);
        let workers = vec![found(&[Slab::from(vec![1.0])]).unwrap(), lost::remote()];
        let error = shard.step(0, workers).await.unwrap_err();
        assert!(matches!(&error, Error::Application(_)), "{error:?}");
        assert_eq!(shard.pull().await.unwrap(), Part { parameters: Slab::from(vec![1.0]), steps: 0 });
    }
}
