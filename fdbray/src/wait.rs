//! Waiting for many futures at once.

use crate::{RemoteFuture, Result, future::Awaitable};
use fdbray_worker::{cell::WaitSet, runtime};
use futures_core::Stream;
use serde::de::DeserializeOwned;
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

/// Waits for the first `n` of `all` to end, in whatever way, and returns them and the rest, both in the order given.
///
/// With fewer than `n` it waits for all of them. Nothing is fetched: a value that is large stays where it is until it is
/// awaited. Cancelling the wait cancels no call.
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// # async fn f() {
/// let all = add::map((0..1000).map(|i| (i, 1)));
/// let (ready, rest) = fdbray::wait(all, 10).await;
/// assert_eq!((ready.len(), rest.len()), (10, 990));
/// # }
/// ```
pub fn wait<F: Awaitable>(all: impl IntoIterator<Item = F>, n: usize) -> Wait<F> {
    let futures: Vec<F> = all.into_iter().collect();
    let (ended, missing) = (vec![false; futures.len()], n.min(futures.len()));
    Wait { futures, ended, missing, set: WaitSet::new(), watched: 0 }
}

/// The future of [`wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<F: Awaitable> {
    futures: Vec<F>,
    /// Which of them are among the first.
    ended: Vec<bool>,
    /// How many more have to end.
    missing: usize,
    set: Arc<WaitSet>,
    /// How many of them the set watches, or has watched until they ended.
    watched: usize,
}

impl<F: Awaitable> Wait<F> {
    /// Counts what has ended among the watched, until there is enough.
    fn count(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.missing > 0 {
            let index = ready!(self.set.poll_next(cx)) as usize;
            if !mem::replace(&mut self.ended[index], true) {
                self.missing -= 1;
            }
        }
        Poll::Ready(())
    }

    /// Watches them all, a few at a time: enough may have ended already.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.missing > 0 && self.watched < self.futures.len() {
            let next = self.futures.len().min(self.watched + 64);
            for index in self.watched..next {
                self.futures[index].future().handle().watch(&self.set, index as u64);
            }
            self.watched = next;
            if self.count(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        self.count(cx)
    }

    fn unwatch(&mut self) {
        let watched = self.futures.iter().zip(&self.ended).take(mem::take(&mut self.watched));
        for (future, _) in watched.filter(|(_, ended)| !**ended) {
            future.future().handle().unwatch(&self.set);
        }
    }
}

impl<F: Awaitable> Future for Wait<F> {
    type Output = (Vec<F>, Vec<F>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        ready!(this.watch(cx));
        this.unwatch();
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for (future, ended) in mem::take(&mut this.futures).into_iter().zip(mem::take(&mut this.ended)) {
            if ended { first.push(future) } else { rest.push(future) }
        }
        Poll::Ready((first, rest))
    }
}

impl<F: Awaitable> Drop for Wait<F> {
    fn drop(&mut self) {
        self.unwatch();
    }
}

impl<F: Awaitable> fmt::Debug for Wait<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wait(for {} of {})", self.missing, self.futures.len())
    }
}

/// All results, in the order given: never fails as a whole.
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// # async fn f() -> fdbray::Result<()> {
/// let sums: Vec<fdbray::Result<i64>> = fdbray::settle(add::map((0..10).map(|i| (i, 1)))).await;
/// let total = sums.into_iter().sum::<fdbray::Result<i64>>()?;
/// # Ok(()) }
/// ```
pub fn settle<F: Awaitable<Value: DeserializeOwned>>(all: impl IntoIterator<Item = F>) -> Settle<F> {
    let futures: Vec<F> = all.into_iter().collect();
    Settle { results: Vec::new(), futures: futures.into_iter() }
}

/// The future of [`settle`].
#[must_use = "futures do nothing unless awaited"]
pub struct Settle<F: Awaitable> {
    results: Vec<Result<F::Value>>,
    /// Those without a result. Each handle goes as soon as its value is decoded.
    futures: vec::IntoIter<F>,
}

impl<F: Awaitable<Value: DeserializeOwned>> Future for Settle<F> {
    type Output = Vec<Result<F::Value>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.results.capacity() == 0 {
            // All are wanted from the start, so that values that are elsewhere come side by side. After that the
            // first that is missing is the only one that has to wake this task.
            this.results.reserve(this.futures.len());
            this.futures.as_slice().iter().for_each(|f| runtime::want(f.future().handle()));
        }
        while let Some(first) = this.futures.as_slice().first() {
            let result = ready!(first.future().poll_ref(cx));
            this.results.push(result);
            this.futures.next();
        }
        Poll::Ready(mem::take(&mut this.results))
    }
}

// The results are moved out, never pinned.
impl<F: Awaitable> Unpin for Settle<F> {}

impl<F: Awaitable> fmt::Debug for Settle<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settle({} left)", self.futures.len())
    }
}

/// A stream of results in the order in which the calls end.
///
/// ```no_run
/// # use fdbray::prelude::*;
/// use futures_util::StreamExt;
/// # #[remote] fn add(x: i64, y: i64) -> i64 { x + y }
/// # async fn f() -> fdbray::Result<()> {
/// let mut done = fdbray::as_completed(add::map((0..1000).map(|i| (i, 1))));
/// while let Some(sum) = done.next().await {
///     println!("{}", sum?);
/// }
/// # Ok(()) }
/// ```
pub fn as_completed<F: Awaitable<Value: DeserializeOwned>>(
    all: impl IntoIterator<Item = F>,
) -> AsCompleted<F::Value> {
    let futures: Vec<_> = all.into_iter().map(|f| Some(f.future().clone())).collect();
    let set = WaitSet::new();
    for (index, future) in futures.iter().flatten().enumerate() {
        future.handle().watch(&set, index as u64);
    }
    AsCompleted { left: futures.len(), futures, fetching: Vec::new(), set }
}

/// The stream of [`as_completed`].
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<T> {
    /// Those whose results were not given out yet.
    futures: Vec<Option<RemoteFuture<T>>>,
    left: usize,
    set: Arc<WaitSet>,
    /// Those that ended, while their values are brought here.
    fetching: Vec<usize>,
}

/// How many large values are brought here at once, beyond those that were given out.
const FETCHES: usize = 16;

impl<T: DeserializeOwned> AsCompleted<T> {
    fn poll_value(&mut self, at: usize, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let index = self.fetching[at];
        // A token comes once for each future, and the future goes with its result.
        let future =
            self.futures[index].as_ref().expect("the future of a token is there until its result is");
        let result = ready!(future.poll_ref(cx));
        self.futures[index] = None;
        self.fetching.swap_remove(at);
        self.left -= 1;
        Poll::Ready(result)
    }
}

impl<T: DeserializeOwned> Stream for AsCompleted<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        for at in 0..this.fetching.len() {
            if let Poll::Ready(result) = this.poll_value(at, cx) {
                return Poll::Ready(Some(result));
            }
        }
        while this.fetching.len() < FETCHES {
            let index = ready!(this.set.poll_next(cx));
            this.fetching.push(index as usize);
            if let Poll::Ready(result) = this.poll_value(this.fetching.len() - 1, cx) {
                return Poll::Ready(Some(result));
            }
        }
        Poll::Pending
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> Drop for AsCompleted<T> {
    fn drop(&mut self) {
        for future in self.futures.iter().flatten() {
            future.handle().unwatch(&self.set);
        }
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsCompleted({} left)", self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, encoding::encode};
    use fdbray_worker::{
        cell::{Cell, Outcome},
        runtime::unowned,
    };
    use futures_util::{StreamExt, future::poll_immediate};
    use std::{pin::pin, task::Waker};

    /// A future and what ends it.
    fn future() -> (RemoteFuture<u64>, Arc<Cell>) {
        let (handle, cell) = unowned();
        (RemoteFuture::new(handle, None), cell)
    }

    fn futures(n: usize) -> (Vec<RemoteFuture<u64>>, Vec<Arc<Cell>>) {
        (0..n).map(|_| future()).unzip()
    }

    fn end(cell: &Cell, value: u64) {
        cell.settle(Outcome::Value(encode(&value).unwrap().payload)).wake();
    }

    fn fail(cell: &Cell) {
        cell.settle(Outcome::Failed(Arc::new(Error::Shutdown))).wake();
    }

    fn ids(futures: &[impl Awaitable]) -> Vec<String> {
        futures.iter().map(|f| f.future().id().to_string()).collect()
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn wait_gives_the_first_n_and_the_rest_in_the_order_given() {
        let (all, cells) = futures(1000);
        let before = ids(&all);
        end(&cells[700], 0);
        let mut wait = pin!(wait(all, 3));
        assert!(poll(wait.as_mut()).is_pending());
        fail(&cells[5]);
        assert!(poll(wait.as_mut()).is_pending());
        end(&cells[900], 0);
        let Poll::Ready((first, rest)) = poll(wait) else { panic!("three have ended") };
        assert_eq!(ids(&first), [5, 700, 900].map(|i: usize| before[i].clone()));
        assert_eq!(rest.len(), 997);
        assert!(ids(&rest).is_sorted_by_key(|id| before.iter().position(|b| b == id)));
        assert!(cells[0].settle(Outcome::Stored { len: 0 }).is_empty(), "somebody still waits for the rest");
    }

    #[test]
    fn wait_counts_what_ended_before_and_takes_no_more_than_n() {
        let (all, cells) = futures(4);
        cells.iter().for_each(|cell| end(cell, 1));
        let Poll::Ready((first, rest)) = poll(pin!(wait(&all, 2))) else { panic!("all have ended") };
        assert_eq!((ids(&first), ids(&rest)), (ids(&all[..2]), ids(&all[2..])));
        for n in [4, 5] {
            let Poll::Ready((first, rest)) = poll(pin!(wait(&all, n))) else { panic!("all have ended") };
            assert_eq!((first.len(), rest.len()), (4, 0));
        }
        assert!(poll(pin!(wait(Vec::<RemoteFuture<u8>>::new(), 1))).is_ready());
    }

    #[test]
    fn wait_counts_a_future_that_is_given_twice_twice() {
        let (future, cell) = future();
        let mut wait = pin!(wait([future.clone(), future], 2));
        assert!(poll(wait.as_mut()).is_pending());
        end(&cell, 1);
        assert!(poll(wait).is_ready());
    }

    #[test]
    fn a_wait_that_is_dropped_leaves_nobody_waiting() {
        let (all, cells) = futures(2);
        assert!(poll(pin!(wait(&all, 1))).is_pending());
        drop(as_completed(&all));
        assert!(cells.iter().all(|cell| cell.settle(Outcome::Stored { len: 0 }).is_empty()));
    }

    #[tokio::test]
    async fn as_completed_gives_results_in_the_order_in_which_they_end() {
        let (all, cells) = futures(40);
        let mut done = as_completed(all);
        for i in [7, 3, 39] {
            end(&cells[i], i as u64);
        }
        fail(&cells[0]);
        for i in [7, 3, 39] {
            assert_eq!(done.next().await.unwrap().unwrap(), i);
        }
        assert!(matches!(done.next().await, Some(Err(Error::Shutdown))));
        assert!(poll_immediate(done.next()).await.is_none());
        (1..39).filter(|i| ![3, 7].contains(i)).for_each(|i| end(&cells[i], i as u64));
        assert_eq!(done.size_hint(), (36, Some(36)));
        assert_eq!(done.count().await, 36);
    }

    #[tokio::test]
    async fn as_completed_fetches_what_is_stored_elsewhere_side_by_side_and_within_bounds() {
        let (all, cells) = futures(100);
        let mut done = as_completed(all);
        cells.iter().for_each(|cell| cell.settle(Outcome::Stored { len: 1 }).wake());
        assert!(poll_immediate(done.next()).await.is_none());
        assert_eq!(done.fetching.len(), FETCHES);
        cells.iter().enumerate().for_each(|(i, cell)| end(cell, i as u64));
        assert_eq!(done.count().await, 100);
    }

    #[tokio::test]
    async fn settle_gives_each_result_in_the_order_given() {
        let (all, cells) = futures(3);
        end(&cells[2], 2);
        let mut settled = settle(&all);
        assert!(poll(Pin::new(&mut settled)).is_pending());
        fail(&cells[1]);
        end(&cells[0], 0);
        let settled = settled.await;
        assert!(matches!(settled[..], [Ok(0), Err(Error::Shutdown), Ok(2)]));
        assert!(settle(Vec::<RemoteFuture<u8>>::new()).await.is_empty());
    }
}
