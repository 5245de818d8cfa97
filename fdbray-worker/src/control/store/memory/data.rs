//! All versions of the data that somebody may still read, and what was written between them.

use crate::control::store::{KeyValue, Range};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::oneshot;

/// From (included) and to (excluded).
pub(super) type Span = (Vec<u8>, Vec<u8>);

/// A key's values by version, oldest first; none where it was removed.
type Versions = Vec<(u64, Option<Vec<u8>>)>;

#[derive(Default)]
pub(super) struct Data {
    /// The version of the newest commit.
    version: u64,
    keys: BTreeMap<Vec<u8>, Versions>,
    /// What each commit wrote, oldest first; only those that a reader below may conflict with.
    commits: VecDeque<(u64, Vec<Span>)>,
    /// Versions that open transactions read, with how many do.
    readers: BTreeMap<u64, usize>,
    watches: Vec<Watching>,
}

pub(super) struct Watching {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) fire: oneshot::Sender<()>,
}

impl Data {
    /// Begins to read the newest version.
    pub(super) fn open(&mut self) -> u64 {
        *self.readers.entry(self.version).or_default() += 1;
        self.version
    }

    /// Ends to read a version, and forgets what nobody can read any more.
    pub(super) fn close(&mut self, version: u64) {
        if let Some(readers) = self.readers.get_mut(&version) {
            *readers -= 1;
            if *readers == 0 {
                self.readers.remove(&version);
            }
        }
        let oldest = self.oldest();
        while self.commits.front().is_some_and(|(version, _)| *version <= oldest) {
            self.commits.pop_front();
        }
    }

    pub(super) fn get(&self, key: &[u8], at: u64) -> Option<Vec<u8>> {
        value_at(self.keys.get(key)?, at).cloned()
    }

    pub(super) fn range<'a>(&'a self, range: &Range, at: u64) -> impl Iterator<Item = KeyValue> + 'a {
        // An inverted range is empty; `BTreeMap` would panic.
        let end = range.end.clone().max(range.begin.clone());
        self.keys
            .range(range.begin.clone()..end)
            .filter_map(move |(key, values)| Some((key.clone(), value_at(values, at)?.clone())))
    }

    /// Whether a commit after `version` wrote into one of the spans.
    pub(super) fn conflicts(&self, version: u64, reads: &[Span]) -> bool {
        let later = self.commits.iter().rev().take_while(|(commit, _)| *commit > version);
        later.flat_map(|(_, written)| written).any(|written| reads.iter().any(|read| overlap(read, written)))
    }

    /// The version that the next commit will have.
    pub(super) fn next_version(&self) -> u64 {
        self.version + 1
    }

    /// Makes the next version.
    pub(super) fn commit(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>, written: Vec<Span>) {
        self.version += 1;
        let oldest = self.oldest();
        for (key, value) in changes {
            let values = self.keys.entry(key.clone()).or_default();
            values.push((self.version, value));
            let unread = values.iter().rposition(|(version, _)| *version <= oldest).unwrap_or(0);
            values.drain(..unread);
            if matches!(&values[..], [(_, None)]) {
                self.keys.remove(&key);
            }
        }
        self.commits.push_back((self.version, written));
        self.fire();
    }

    pub(super) fn watch(&mut self, watching: Watching) {
        self.watches.push(watching);
        self.fire();
    }

    /// How many versions and commits are kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.keys.values().map(Vec::len).sum::<usize>() + self.commits.len()
    }

    fn fire(&mut self) {
        let Data { watches, keys, version, .. } = self;
        for watching in watches.extract_if(.., |watching| {
            let value = keys.get(&watching.key).and_then(|values| value_at(values, *version));
            watching.fire.is_closed() || value != watching.value.as_ref()
        }) {
            // Nobody waits any more if this fails.
            let _ = watching.fire.send(());
        }
    }

    fn oldest(&self) -> u64 {
        self.readers.keys().next().copied().unwrap_or(self.version)
    }
}

fn value_at(values: &[(u64, Option<Vec<u8>>)], at: u64) -> Option<&Vec<u8>> {
    values.iter().rev().find(|(version, _)| *version <= at)?.1.as_ref()
}

fn overlap((begin, end): &Span, (other_begin, other_end): &Span) -> bool {
    begin < other_end && other_begin < end
}
