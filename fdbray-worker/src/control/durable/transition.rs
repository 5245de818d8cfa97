//! The durable futures of one cluster, and how every transition runs: one unit of work in one transaction.

use super::encoding;
use super::error::DurableError;
use super::keys::Keys;
use super::work::{Ahead, Work};
use super::{FORMAT, FutureId};
use crate::control::members::Members;
use crate::control::store::{Store, Transaction};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The durable futures of one cluster, in the store. A cheap clone.
#[derive(Clone)]
pub struct Durable {
    pub(super) store: Store,
    pub(super) keys: Keys,
    members: Members,
}

/// What says which fdbray wrote the durable futures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    format: u64,
    written_by: String,
}

pub(super) type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, DurableError>> + Send + 'a>>;

impl Durable {
    /// The durable futures of the cluster of that name, whose format is checked, or written if there are none.
    pub async fn open(store: Store, cluster: &str) -> Result<Durable, DurableError> {
        let durable =
            Durable { members: Members::new(store.clone(), cluster), store, keys: Keys::new(cluster) };
        let (key, cluster) = (durable.keys.format(), cluster.to_owned());
        let check = durable.store.transact_idempotent(move |tx| {
            let (key, cluster) = (key.clone(), cluster.clone());
            async move {
                let Some(value) = tx.get(&key).await? else {
                    let format = Format { format: FORMAT, written_by: env!("CARGO_PKG_VERSION").into() };
                    return Ok(tx.set(&key, encoding::encode("format", &format)?)?);
                };
                let Format { format, written_by } = encoding::decode(key.as_ref(), &value)?;
                match format == FORMAT {
                    true => Ok(()),
                    false => Err(DurableError::OtherFormat { cluster, format, written_by }),
                }
            }
        });
        check.await?;
        Ok(durable)
    }

    /// Runs a transition: a body that may run again after it took effect, so it must find out whether it did.
    pub(super) async fn transition<T, F>(&self, body: F) -> Result<T, DurableError>
    where
        F: for<'a> Fn(&'a mut Work) -> Step<'a, T> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.transition_with(Ahead::default(), body).await
    }

    /// The same, of a body that will need what is to be read `ahead`.
    pub(super) async fn transition_with<T, F>(&self, ahead: Ahead, body: F) -> Result<T, DurableError>
    where
        F: for<'a> Fn(&'a mut Work) -> Step<'a, T> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (keys, members) = (self.keys.clone(), self.members.clone());
        let (ahead, body) = (Arc::new(ahead), Arc::new(body));
        let run = self.store.transact_idempotent(move |tx| {
            let (keys, members, ahead, body) = (keys.clone(), members.clone(), ahead.clone(), body.clone());
            async move {
                let mut work = Work::begin(tx, keys, members, &ahead).await?;
                let value = body(&mut work).await?;
                Ok::<_, DurableError>((value, work.finish().await?))
            }
        });
        let (value, unspread) = run.await?;
        // The transition has taken effect. Whoever moves the clock goes on with what is left if this cannot.
        for id in unspread {
            if let Err(error) = self.spread(id).await {
                tracing::debug!(%error, %id, "those that wait for a future will be told later");
            }
        }
        Ok(value)
    }

    /// Tells those that wait for a future of its end, in as many transactions as that needs.
    pub(super) async fn spread(&self, id: FutureId) -> Result<(), DurableError> {
        let mut unspread = vec![id];
        while let Some(id) = unspread.pop() {
            let (keys, members) = (self.keys.clone(), self.members.clone());
            let run = self.store.transact_idempotent(move |tx| {
                let (keys, members) = (keys.clone(), members.clone());
                async move {
                    let mut work = Work::begin(tx, keys, members, &Ahead::default()).await?;
                    work.spread(id).await?;
                    work.finish().await
                }
            });
            unspread.extend(run.await?);
        }
        Ok(())
    }

    /// Runs a body that only reads.
    pub(super) async fn look<T, F>(&self, body: F) -> Result<T, DurableError>
    where
        F: for<'a> Fn(&'a Transaction, &'a Keys) -> Step<'a, T> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (keys, body) = (self.keys.clone(), Arc::new(body));
        let run = self.store.read(move |tx| {
            let (keys, body) = (keys.clone(), body.clone());
            async move { body(&tx, &keys).await }
        });
        run.await
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }
}
