//! What waits to be run by actors that live here: calls come over lines, wait for their arguments, and go into the actor's
//! mailbox; some are taken back.
//!
//! Calls of one line come in the order sent, those of several as they arrive.

use super::{
    Core, Effects,
    grant::{Queued, Start},
    hosted::HostLine,
    message::{Message, TaskName},
};
use crate::id::{ObjectId, ProcessId};
use std::collections::BTreeMap;

impl Core {
    /// A call is of no use to its caller any more.
    pub(super) fn cancelled_on_line(&mut self, peer: ProcessId, task: TaskName, fx: &mut Effects) {
        let Some(line) = self.hosted.lines.get_mut(&task.lease).filter(|line| line.peer == peer) else {
            return;
        };
        let id = line.actor;
        if self.take_unstarted(id, task) {
            let (lease, numbers) = (task.lease, vec![task.number]);
            self.say(peer, &Message::NotStarted { lease, numbers, recalled: false }, fx);
            self.deliver_staged(task.lease);
        } else {
            fx.abort.push(task);
        }
    }

    /// Takes back a call that no thread has; whether it was one.
    pub(super) fn take_unstarted(&mut self, id: ObjectId, task: TaskName) -> bool {
        let staged = self.hosted.lines.get_mut(&task.lease).and_then(|line| line.staged.remove(&task.number));
        let mut unstarted =
            staged.is_some() || self.worker.fetching.remove(&(task.lease, task.number)).is_some();
        let Some(actor) = self.hosted.actors.get_mut(&id) else { return unstarted };
        let is_it = |(from, call): &(u32, Queued)| (*from, call.number) == (task.lease, task.number);
        if !unstarted && let Some(at) = actor.mailbox.iter().position(is_it) {
            unstarted = actor.mailbox.remove(at).is_some();
        }
        if let Some(lasting) = actor.lasting.as_mut().filter(|_| unstarted) {
            lasting.forget_call(task);
        }
        unstarted
    }

    /// Somebody wants to call an actor.
    pub(super) fn line_asked(&mut self, peer: ProcessId, request: u32, actor: ObjectId, fx: &mut Effects) {
        let Some(host) = self.hosted.actors.get_mut(&actor) else {
            return self.say(peer, &Message::LineRefused { request }, fx);
        };
        self.worker.next_lease += 1;
        let lease = self.worker.next_lease;
        host.lines.push(lease);
        let line = HostLine { peer, actor, staged: BTreeMap::new(), started: 0 };
        self.hosted.lines.insert(lease, line);
        self.say(peer, &Message::LeaseGrant { request, lease, slots: 1, mark: lease, more: false }, fx);
    }

    /// The caller needs its line no more.
    pub(super) fn line_returned(&mut self, peer: ProcessId, lease: u32) {
        if let Some(line) = self.hosted.lines.get(&lease).filter(|line| line.peer == peer) {
            let actor = line.actor;
            self.drop_line(lease);
            self.forget_answers_to(peer, actor);
        }
    }

    pub(super) fn drop_line(&mut self, lease: u32) {
        let Some(line) = self.hosted.lines.remove(&lease) else { return };
        if let Some(actor) = self.hosted.actors.get_mut(&line.actor) {
            actor.lines.retain(|l| *l != lease);
            actor.mailbox.retain(|(from, _)| *from != lease);
            if let Some(lasting) = &mut actor.lasting {
                lasting.forget_unstarted(lease, line.started);
            }
            // What was behind its calls may be first now.
            self.hosted.list(line.actor);
            self.worker.changed = true;
        }
        let waiting: Vec<_> =
            self.worker.fetching.range((lease, 0)..=(lease, u32::MAX)).map(|(key, _)| *key).collect();
        for key in waiting {
            self.worker.fetching.remove(&key);
        }
    }

    /// A call came whose arguments are here.
    pub(super) fn deliver(&mut self, lease: u32, call: Queued) {
        let first_fetching = self.first_fetching(lease);
        let Some(line) = self.hosted.lines.get_mut(&lease) else { return };
        if line.staged.is_empty() && call.number < first_fetching {
            let id = line.actor;
            if let Some(actor) = self.hosted.actors.get_mut(&id) {
                actor.mailbox.push_back((lease, call));
                if !actor.listed {
                    self.hosted.list(id);
                }
                self.worker.changed = true;
            }
        } else {
            line.staged.insert(call.number, call);
            self.deliver_staged(lease);
        }
    }

    /// Delivers what waited for the arguments of earlier calls, as far as those are here or have failed.
    pub(super) fn deliver_staged(&mut self, lease: u32) {
        let first_fetching = self.first_fetching(lease);
        let Some(line) = self.hosted.lines.get_mut(&lease) else { return };
        let id = line.actor;
        while let Some(next) = line.staged.first_entry().filter(|next| *next.key() < first_fetching) {
            let call = next.remove();
            if let Some(actor) = self.hosted.actors.get_mut(&id) {
                actor.mailbox.push_back((lease, call));
            }
        }
        self.hosted.list(id);
        self.worker.changed = true;
    }

    fn first_fetching(&self, lease: u32) -> u32 {
        let mut waiting = self.worker.fetching.range((lease, 0)..=(lease, u32::MAX));
        waiting.next().map_or(u32::MAX, |((_, number), _)| *number)
    }

    /// A thread gives back calls that it has not started.
    pub(super) fn give_back_calls(&mut self, lease: u32, unstarted: &mut Vec<Start>) {
        let Some(line) = self.hosted.lines.get_mut(&lease) else {
            return unstarted.drain(..).for_each(|start| self.forget_given_back(start));
        };
        let id = line.actor;
        if let Some(first) = unstarted.first() {
            line.started = line.started.min(first.task.number.saturating_sub(1));
        }
        if let Some(actor) = self.hosted.actors.get_mut(&id) {
            for start in unstarted.drain(..).rev() {
                actor.mailbox.push_front((lease, Queued::unstarted(start)));
            }
        }
        unstarted.clear();
        self.hosted.list(id);
        self.worker.changed = true;
    }

    /// The same of a call whose line is gone: nobody will start it.
    fn forget_given_back(&mut self, start: Start) {
        let Some((id, made_in)) = start.actor else { return };
        if let Some(actor) = self.hosted.actors.get_mut(&id).filter(|actor| actor.made_in == made_in)
            && let Some(lasting) = &mut actor.lasting
        {
            lasting.forget_call(start.task);
        }
    }
}
