//! Shapes: what attempts hold, under a number of their own, so that workers look only after what they can run.

use super::encoding;
use super::error::DurableError;
use super::work::Work;
use crate::control::members::Capacity;
use crate::control::store::{Range, Transaction};
use crate::registry::StableHasher;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::hash::Hasher;

/// A shape's number: the FNV-1a hash of `cpus/gpus/memory`, followed by `/name=amount` for each named resource in
/// order, all in the units of [`Capacity`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeId(pub u64);

/// The record of a shape that ready futures have, or had lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShapeRecord {
    pub(super) shape: Capacity,
}

impl ShapeId {
    /// The number of a shape, whose named resources may be in any order.
    pub fn of(shape: &Capacity) -> Self {
        let mut hash = StableHasher::default();
        let mut named: Vec<_> = shape.named.iter().filter(|(_, amount)| *amount > 0).collect();
        named.sort();
        // Hashing cannot fail.
        let _ = write!(hash, "{}/{}/{}", shape.cpus, shape.gpus, shape.memory);
        for (name, amount) in named {
            let _ = write!(hash, "/{name}={amount}");
        }
        ShapeId(hash.finish())
    }
}

impl fmt::Debug for ShapeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shape {:016x}", self.0)
    }
}

impl Work {
    /// Makes sure that those who look after shapes know this one, and wakes them.
    pub(super) async fn announce(&self, shape: &Capacity) -> Result<(), DurableError> {
        let id = ShapeId::of(shape);
        // A read that conflicts: who removes the shape has seen that nothing of it is ready.
        if !self.knows_shape(id) && self.tx.get(self.keys.shape(id)).await?.is_none() {
            let record = ShapeRecord { shape: shape.clone() };
            self.tx.set(self.keys.shape(id), encoding::encode("shape", &record)?)?;
            self.tx.add(self.keys.shapes_changed(), 1)?;
        }
        self.tx.add(self.keys.signal(id), 1)?;
        Ok(())
    }
}

/// All shapes that have a record.
pub(super) async fn all(
    tx: &Transaction,
    keys: &super::keys::Keys,
) -> Result<Vec<(ShapeId, Capacity)>, DurableError> {
    let mut shapes = Vec::new();
    for (key, value) in tx.range(Range::children(&keys.shapes())).await? {
        let record: ShapeRecord = encoding::decode(&key, &value)?;
        let number = keys.rest(&key).first().and_then(|number| number.as_u64());
        shapes.extend(number.map(|number| (ShapeId(number), record.shape)));
    }
    Ok(shapes)
}

/// Whether an attempt of this shape fits into what a worker has.
pub fn fits(capacity: &Capacity, shape: &Capacity) -> bool {
    lacks(capacity, shape).is_empty()
}

/// What of `shape` a worker can never give, for a person; empty when it fits.
pub fn lacks(capacity: &Capacity, shape: &Capacity) -> String {
    const ONE: f64 = 10_000.0;
    let mut said = Vec::new();
    for (name, have, need) in [("cpus", capacity.cpus, shape.cpus), ("gpus", capacity.gpus, shape.gpus)] {
        if need > have {
            said.push(format!("has {} of {} {name}", have as f64 / ONE, need as f64 / ONE));
        }
    }
    if shape.memory > capacity.memory {
        said.push(format!("has {} of {} bytes of memory", capacity.memory, shape.memory));
    }
    for (name, need) in &shape.named {
        let have = capacity.named.iter().find(|(other, _)| other == name).map_or(0, |(_, amount)| *amount);
        if *need > have {
            said.push(format!("has {} of {} {name}", have as f64 / ONE, *need as f64 / ONE));
        }
    }
    said.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_one_number_in_any_order_and_says_what_is_lacking() {
        let named = |names: &[(&str, u64)]| Capacity {
            cpus: 10_000,
            named: names.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect(),
            ..Capacity::default()
        };
        let shape = named(&[("a", 1), ("b", 20_000)]);
        assert_eq!(ShapeId::of(&shape), ShapeId::of(&named(&[("b", 20_000), ("a", 1), ("c", 0)])));
        assert_ne!(ShapeId::of(&shape), ShapeId::of(&named(&[("a", 2), ("b", 20_000)])));
        assert_eq!(lacks(&named(&[("a", 1)]), &shape), "has 0 of 2 b");
        assert!(fits(&shape, &shape));
    }
}
