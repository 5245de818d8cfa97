//! The router: gathers sheets into batches, gives each to the replica that has least to do, and answers each caller.

use crate::{
    model::{ModelHandle, Reading},
    sheet::Tensor,
};
use fdbray::prelude::*;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// The actor. What is sent by reference and by value it gathers apart.
pub struct Router {
    by_reference: mpsc::UnboundedSender<Request<RemoteFuture<Tensor>>>,
    by_value: mpsc::UnboundedSender<Request<Tensor>>,
    replicas: Arc<[Replica]>,
}

#[actor]
impl Router {
    /// A batch has at most `size` sheets, and waits for more of them for at most this many milliseconds.
    pub async fn new(replicas: Vec<ModelHandle>, size: usize, millis: u64) -> Self {
        let replicas: Arc<[Replica]> = replicas.into_iter().map(Replica::new).collect();
        let (by_reference, references) = mpsc::unbounded_channel();
        let (by_value, values) = mpsc::unbounded_channel();
        let time = Duration::from_millis(millis);
        // Both end with the actor, which has what their callers ask through.
        tokio::spawn(route(references, size, time, replicas.clone()));
        tokio::spawn(route(values, size, time, replicas.clone()));
        Router { by_reference, by_value, replicas }
    }

    /// Reads a sheet of which only the handle passes through here: a parameter that is a future is not awaited.
    #[actor(concurrency = 1024)]
    pub async fn read(&self, sheet: RemoteFuture<Tensor>) -> fdbray::Result<Reading> {
        // Who is late with a sheet, or has none, keeps nobody else's batch. Nothing is fetched.
        fdbray::wait([&sheet], 1).await;
        ask(&self.by_reference, sheet).await
    }

    /// Reads a sheet that comes here, and goes on to a model.
    #[actor(concurrency = 1024)]
    pub async fn read_value(&self, sheet: Tensor) -> fdbray::Result<Reading> {
        ask(&self.by_value, sheet).await
    }

    /// How many batches have gone to the replicas, and how many sheets in them.
    pub fn routed(&self) -> (usize, usize) {
        let sum = |of: fn(&Replica) -> &AtomicUsize| self.replicas.iter().map(|r| of(r).load(Relaxed)).sum();
        (sum(|replica| &replica.batches), sum(|replica| &replica.sheets))
    }
}

/// A sheet, and who wants to know what is on it.
struct Request<S> {
    sheet: S,
    answer: oneshot::Sender<fdbray::Result<Reading>>,
}

async fn ask<S>(router: &mpsc::UnboundedSender<Request<S>>, sheet: S) -> fdbray::Result<Reading> {
    let (answer, answered) = oneshot::channel();
    let ended = || Error::application(std::io::Error::other("the router has lost the request"));
    router.send(Request { sheet, answer }).map_err(|_| ended())?;
    answered.await.map_err(|_| ended())?
}

/// A model, and what it has to do.
struct Replica {
    model: ModelHandle,
    /// Sheets that it has not answered.
    busy: AtomicUsize,
    /// In all.
    batches: AtomicUsize,
    sheets: AtomicUsize,
}

impl Replica {
    fn new(model: ModelHandle) -> Self {
        Replica { model, busy: 0.into(), batches: 0.into(), sheets: 0.into() }
    }
}

/// What is routed, and how a model reads a batch of it.
trait Routed: Send + Sized + 'static {
    fn read(model: &ModelHandle, batch: Vec<Self>) -> impl Future<Output = fdbray::Result<Answers>> + Send;
}

/// One for each sheet of a batch.
type Answers = Vec<fdbray::Result<Reading>>;

impl Routed for RemoteFuture<Tensor> {
    async fn read(model: &ModelHandle, batch: Vec<Self>) -> fdbray::Result<Answers> {
        model.read_there(batch).await
    }
}

impl Routed for Tensor {
    async fn read(model: &ModelHandle, batch: Vec<Self>) -> fdbray::Result<Answers> {
        Ok(model.read(batch).await?.into_iter().map(Ok).collect())
    }
}

/// Sends batch after batch to the replica that is least busy, until nobody can ask any more.
async fn route<S: Routed>(
    mut requests: mpsc::UnboundedReceiver<Request<S>>,
    size: usize,
    time: Duration,
    replicas: Arc<[Replica]>,
) {
    while let Some(batch) = gather(&mut requests, size, time).await {
        let Some(replica) = least_busy(&replicas) else { continue };
        replicas[replica].busy.fetch_add(batch.len(), Relaxed);
        tokio::spawn(answer(batch, replicas.clone(), replica));
    }
}

/// The next batch: complete, or as large as it is `time` after it was begun. `None` when nobody can ask any more.
async fn gather<T>(requests: &mut mpsc::UnboundedReceiver<T>, size: usize, time: Duration) -> Option<Vec<T>> {
    let mut batch = vec![requests.recv().await?];
    let until = Instant::now() + time;
    while batch.len() < size
        && let Ok(Some(request)) = timeout_at(until, requests.recv()).await
    {
        batch.push(request);
    }
    Some(batch)
}

fn least_busy(replicas: &[Replica]) -> Option<usize> {
    (0..replicas.len()).min_by_key(|n| replicas[*n].busy.load(Relaxed))
}

/// Has a batch read, and tells each caller what is on its sheet, or why nobody knows.
async fn answer<S: Routed>(batch: Vec<Request<S>>, replicas: Arc<[Replica]>, replica: usize) {
    let Replica { model, busy, batches, sheets } = &replicas[replica];
    let (batch, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(|r| (r.sheet, r.answer)).unzip();
    let answers = S::read(model, batch).await;
    let count = callers.len();
    busy.fetch_sub(count, Relaxed);
    batches.fetch_add(1, Relaxed);
    sheets.fetch_add(count, Relaxed);
    let answers = answers.unwrap_or_else(|error| vec![Err(error); count]);
    for (caller, answer) in callers.into_iter().zip(answers) {
        // One that was cancelled meanwhile does not want it any more.
        let _ = caller.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Model, train},
        sheet::{PictureError, preprocess, scan},
    };
    use fdbray_examples::digits::Digits;

    const SOON: Duration = Duration::from_millis(1);
    /// No test takes that long.
    const NEVER: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn a_batch_that_is_complete_waits_for_nobody() {
        let (sender, mut requests) = mpsc::unbounded_channel();
        (0..10).for_each(|n| sender.send(n).unwrap());
        assert_eq!(gather(&mut requests, 4, NEVER).await, Some(vec![0, 1, 2, 3]));
        assert_eq!(gather(&mut requests, 4, NEVER).await, Some(vec![4, 5, 6, 7]));
        // These two wait for more.
        assert!(tokio::time::timeout(SOON, gather(&mut requests, 4, NEVER)).await.is_err());
    }

    #[tokio::test]
    async fn one_that_is_not_goes_when_its_time_is_over() {
        let (sender, mut requests) = mpsc::unbounded_channel();
        (0..2).for_each(|n| sender.send(n).unwrap());
        assert_eq!(gather(&mut requests, 4, SOON).await, Some(vec![0, 1]));
    }

    #[tokio::test]
    async fn the_last_goes_when_nobody_can_ask_any_more() {
        let (sender, mut requests) = mpsc::unbounded_channel();
        sender.send(0).unwrap();
        drop(sender);
        assert_eq!(gather(&mut requests, 4, NEVER).await, Some(vec![0]));
        assert_eq!(gather(&mut requests, 4, NEVER).await, None);
    }

    #[fdbray::test(workers = 2, cpus = 1)]
    async fn each_caller_gets_the_answer_to_its_own_sheet() {
        let (_, held_out) = Digits::load();
        let scans = scan(&held_out, 8).unwrap();
        let parameters = train::remote(3);
        let replicas: Vec<_> = (0..2).map(|_| Model::remote(&parameters)).collect();
        // Batches of three that wait for their last sheet: nine by reference, one of them broken, and six by value.
        let router = Router::remote(&replicas, 3, 3_600_000);
        let pictures: Vec<_> = scans.iter().map(|scan| preprocess::remote(&scan.png)).collect();
        let broken = router.read(preprocess::remote(b"no picture"));
        let read: Vec<_> = pictures.iter().map(|picture| router.read(picture.clone())).collect();
        let read_value: Vec<_> = pictures[..6].iter().map(|picture| router.read_value(picture)).collect();

        let error = broken.await.unwrap_err();
        assert!(matches!(&error, Error::Application(e) if e.is::<PictureError>()), "{error:?}");
        let alone = fdbray::settle(read_value).await;
        for (n, reading) in fdbray::settle(read).await.into_iter().enumerate() {
            let reading = reading.unwrap();
            let right =
                reading.iter().zip(&scans[n].digits).filter(|(read, written)| read == written).count();
            assert!(right * 2 > reading.len(), "sheet {n}: only {right} are right");
            assert!(alone.get(n).is_none_or(|alone| *alone.as_ref().unwrap() == reading), "sheet {n}");
        }
        assert_eq!(router.routed().await.unwrap(), (5, 15));
    }

    #[fdbray::test(workers = 1, cpus = 1)]
    async fn who_asks_when_there_is_no_model_is_told_so() {
        let router = Router::remote(Vec::new(), 1, 1);
        assert!(matches!(router.read_value(Tensor::default()).await, Err(Error::Application(_))));
    }
}
