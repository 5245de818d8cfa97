//! Judges some of the others: whose beat stood still, and who has exited.

use super::super::exit::{Seen, exit, look};
use super::super::{Cause, Suspect, Tombstone, ring_successors};
use super::{BEAT_LIMIT, Membership};
use crate::id::ProcessId;
use std::collections::BTreeSet;
use tokio::time::timeout;

impl Membership {
    /// Peers, as far as they are members, and ring successors.
    pub(super) fn judged(&self) -> Vec<ProcessId> {
        // A clone, since `peers` is not ours and may look at the members too.
        let known = self.known.borrow().clone();
        let all = known.values().filter(|member| (self.judges)(member)).map(|member| member.id);
        let all: BTreeSet<ProcessId> = all.collect();
        let mut judged = ring_successors(self.me.id, all.iter().copied());
        judged.extend((self.peers)().into_iter().filter(|peer| all.contains(peer)));
        judged.sort_unstable();
        judged.dedup();
        judged
    }

    pub(super) async fn bury_silent(&mut self, suspect: Suspect) {
        let cause = Cause::Silent { beat: suspect.beat };
        self.bury(Tombstone { id: suspect.id, by: self.me.id, cause }).await;
    }

    pub(super) async fn bury_exited(&mut self) {
        for id in self.exited.clone() {
            if !self.bury(Tombstone { id, by: self.me.id, cause: Cause::Exited }).await {
                // The store is away; the next beat says so, and tries again.
                return;
            }
            self.exited.remove(&id);
        }
    }

    /// True if that is settled: it is no member any more, or beats after all.
    async fn bury(&mut self, tombstone: Tombstone) -> bool {
        let text = tombstone.to_string();
        match timeout(BEAT_LIMIT, self.members.bury(tombstone)).await {
            Ok(Ok(buried)) => {
                if buried {
                    tracing::warn!("{text}");
                }
                true
            }
            // Tried again with the next beat.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Waits for the exit of the judged processes on this host, and of no others.
    pub(super) fn wait_for_exits(&mut self) {
        let judged = self.judged();
        self.waiting.retain(|id, task| {
            let keep = judged.contains(id);
            if !keep {
                task.abort();
            }
            keep
        });
        for id in judged {
            if !self.waiting.contains_key(&id) {
                self.look_at(id);
            }
        }
    }

    pub(super) fn look_at_all(&mut self) {
        let ids: Vec<ProcessId> = self.known.borrow().keys().copied().collect();
        let judged = self.judged();
        for id in ids {
            let there = self.known.borrow().get(&id).map(|member| member.host.clone());
            // Those that a former life of the cluster left behind are found at once; the living need no descriptor.
            if judged.contains(&id) {
                self.look_at(id);
            } else if let Some(there) = there
                && matches!(look(&self.me.host, &there, self.members.one_machine()), Seen::Exited)
            {
                self.exited.insert(id);
            }
        }
    }

    /// Finds out whether a member has exited, or when it will.
    pub(super) fn look_at(&mut self, id: ProcessId) {
        let Some(there) = self.known.borrow().get(&id).map(|member| member.host.clone()) else { return };
        match look(&self.me.host, &there, self.members.one_machine()) {
            Seen::Unknown => {}
            Seen::Exited => {
                self.exited.insert(id);
            }
            Seen::Running(descriptor) if !self.waiting.contains_key(&id) => {
                let task = self.exits.spawn(async move {
                    exit(descriptor).await;
                    id
                });
                self.waiting.insert(id, task);
            }
            Seen::Running(_) => {}
        }
    }
}
