//! What the store has, seen by a test.

use crate::crash::{Cluster, eventually};
use fdbray::ClusterUrl;
use fdbray_worker::{
    control::{
        durable::{Durable, DurableError, Filter, FutureId, Record, Stage},
        members::Members,
        store::{Key, Store, StoreError},
    },
    id::ProcessId,
};
use futures::executor::block_on;
use std::collections::BTreeSet;

/// The durable futures of a test's cluster, through a connection of the test's own.
pub struct Look {
    durable: Durable,
    members: Members,
    store: Store,
    cluster: String,
}

impl Look {
    /// Into the store of `cluster`.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn at(cluster: &Cluster) -> Self {
        let url: ClusterUrl = cluster.url().parse().unwrap_or_else(|e| panic!("{e}"));
        let store = Store::open(&url).unwrap_or_else(|e| panic!("{e}"));
        let members = Members::new(store.clone(), &url.cluster);
        let durable = block_on(Durable::open(store.clone(), &url.cluster)).unwrap_or_else(|e| panic!("{e}"));
        Look { durable, members, store, cluster: url.cluster }
    }

    /// All records, those of one submitter in the order of their numbers.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn records(&self) -> Vec<Record> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.retried(|durable| durable.list(Filter::default(), after, 500));
            all.extend(page.futures);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// The one future that has this key.
    ///
    /// # Panics
    /// If there is none.
    pub fn by_key(&self, key: &str) -> Record {
        let found = self.records().into_iter().find(|record| record.spec.key.as_deref() == Some(key));
        found.unwrap_or_else(|| panic!("no durable future has the key {key:?}"))
    }

    /// Rewrites the version in the record of a future, as a program that has that version would have written it. Gives
    /// the version that it had.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn set_version(&self, id: FutureId, version: u8) -> u8 {
        let root = Key::new().str("fdbray").str(&self.cluster).str("durable").str("future");
        let key = root.u64(id.process.get()).u64(id.seq);
        let write = self.store.transact(move |tx| {
            let key = key.clone();
            async move {
                let mut record = tx.get(&key).await?.unwrap_or_else(|| panic!("there is no record of {id}"));
                // The first field of a map: its name, then a small number.
                let at = record
                    .windows(2)
                    .position(|name| name == [0xa1, b'v'])
                    .unwrap_or_else(|| panic!("{record:?}"));
                let before = std::mem::replace(&mut record[at + 2], version);
                tx.set(&key, record)?;
                Ok::<_, StoreError>(before)
            }
        });
        block_on(write).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Cancels a future and removes it, as quickly as that goes.
    pub fn cancel_and_release(&self, id: FutureId) {
        self.retried(|durable| durable.cancel(id));
        self.retried(|durable| durable.release(vec![id]));
    }

    /// How many futures are that far.
    pub fn count(&self, stage: Stage) -> usize {
        self.records().iter().filter(|record| record.state.stage() == stage).count()
    }

    /// Waits until so many futures are that far.
    ///
    /// # Panics
    /// If that does not happen within `seconds`.
    pub fn until(&self, seconds: u64, stage: Stage, count: usize) {
        let what = format!("{count} durable futures are {stage:?}");
        eventually(seconds, &what, || (self.count(stage) == count).then_some(()));
    }

    /// The members.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn members(&self) -> BTreeSet<ProcessId> {
        let (members, _) = block_on(self.members.list()).unwrap_or_else(|e| panic!("{e}"));
        members.into_iter().map(|member| member.id).collect()
    }

    /// The clock.
    pub fn now(&self) -> u64 {
        self.retried(Durable::now)
    }

    /// Asserts that everything in the store agrees.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        let report = self.retried(Durable::check);
        assert!(report.clean(), "{}", report.summary());
    }

    /// Asserts that everything in the store agrees, that nothing is left of the dead once that is cleared up, and that
    /// nothing at all is left when every future has been released. All of them must have ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn leaves_nothing(&self) {
        self.check();
        eventually(20, "what the dead left is cleared up", || {
            let left = self.retried(Durable::left_behind);
            for dead in &left {
                self.retried(|durable| durable.recover(*dead));
            }
            left.is_empty().then_some(())
        });
        eventually(90, "all futures are gone", || {
            let left: Vec<FutureId> = self.records().iter().map(|record| record.id).collect();
            for some in left.chunks(200) {
                self.retried(|durable| durable.release(some.to_vec()));
            }
            left.is_empty().then_some(())
        });
        let report = self.retried(Durable::check);
        assert!(report.clean(), "{}", report.summary());
        assert_eq!(report.futures, [0; 6], "futures by stage");
    }

    /// Under load a transaction may fail for a moment.
    fn retried<'a, T, R>(&'a self, mut attempt: impl FnMut(&'a Durable) -> R) -> T
    where
        R: Future<Output = Result<T, DurableError>> + 'a,
    {
        eventually(30, "the store answers", || match block_on(attempt(&self.durable)) {
            Ok(value) => Some(value),
            Err(error) if error.retryable() => None,
            Err(error) => panic!("{error}"),
        })
    }
}
