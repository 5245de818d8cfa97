//! Values of others that were fetched for tasks, kept for a moment: the next tasks often want the same.

use super::{Core, Effects, Nanos};
use crate::{id::ObjectId, payload::Payload};
use std::collections::{BTreeMap, VecDeque};

/// How long a value is kept after a task last wanted it. Its owner may have freed it meanwhile.
const IDLE: Nanos = 100_000_000;

/// The values.
#[derive(Default)]
pub(super) struct Copies {
    values: BTreeMap<ObjectId, Copy>,
    /// Each once, by when it is looked at next: not before that can it have been idle for long enough.
    looks: VecDeque<(Nanos, ObjectId)>,
}

struct Copy {
    value: Payload,
    used: Nanos,
}

impl Copies {
    pub fn add(&mut self, id: ObjectId, value: Payload, now: Nanos) {
        if self.values.insert(id, Copy { value, used: now }).is_none() {
            self.looks.push_back((now + IDLE, id));
        }
    }

    /// The value, which is wanted once more.
    pub fn get(&mut self, id: ObjectId, now: Nanos) -> Option<Payload> {
        let copy = self.values.get_mut(&id)?;
        copy.used = now;
        Some(copy.value.clone())
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Gives up what nobody has wanted for a while.
    fn drop_idle(&mut self, now: Nanos, drops: &mut Vec<Payload>) {
        while let Some((_, id)) = self.looks.pop_front_if(|(at, _)| *at <= now) {
            match self.values.get(&id).map(|copy| copy.used + IDLE) {
                Some(again) if again > now => self.looks.push_back((again, id)),
                _ => drops.extend(self.values.remove(&id).map(|copy| copy.value)),
            }
        }
    }

    /// Gives up everything.
    pub fn clear(&mut self, drops: &mut Vec<Payload>) {
        self.looks.clear();
        drops.extend(std::mem::take(&mut self.values).into_values().map(|copy| copy.value));
    }
}

impl Core {
    pub(super) fn drop_idle_copies(&mut self, fx: &mut Effects) {
        self.objects.copies.drop_idle(self.now, &mut fx.drops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ProcessId;

    #[test]
    fn a_copy_stays_as_long_as_it_is_wanted_again_and_again() {
        let owner = ProcessId::new(1).unwrap();
        let ids = [1, 2].map(|seq| ObjectId { owner, seq });
        let (mut copies, mut drops) = (Copies::default(), Vec::new());
        ids.iter().for_each(|id| copies.add(*id, Payload::copy_from(&[id.seq as u8]), 0));
        for now in (1..10).map(|n| n * IDLE / 2) {
            assert!(copies.get(ids[0], now).is_some());
            copies.drop_idle(now, &mut drops);
            assert_eq!(copies.get(ids[1], 0).is_none(), now >= IDLE);
        }
        copies.drop_idle(10 * IDLE, &mut drops);
        assert_eq!((copies.is_empty(), copies.looks.len(), drops.len()), (true, 0, 2));
    }
}
