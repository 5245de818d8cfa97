//! A value whose blocks nobody holds but this: it can leave the memory, and nobody would miss it.
//!
//! Bytes that were made of a block hold it together, however many clones and parts there are of them, and cannot be
//! counted. So whoever wants to know gives its own up: what it parks becomes the blocks themselves, and if these have no other
//! holders then, there are no views of the value, no pins, no tasks that have it as an argument, and no sends.

use super::{Arena, Block, keep::SMALL, located::Form};
use crate::payload::Payload;
use bytes::Bytes;

/// Such a value. Clones are held by who writes it down, and count as holders too.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    form: Form,
    /// The first is the head, or all there is.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// Not in the arena, because it is small.
    Here(Bytes),
    At {
        block: Block,
        from: usize,
        len: usize,
    },
}

impl Parked {
    /// Parks `value`, of which the caller holds no other clone.
    ///
    /// # Errors
    /// Gives it back when a large piece of it is not in `arena`, or somebody else holds one.
    pub(super) fn of(value: Payload, arena: &Arena) -> Result<Self, Payload> {
        let piece = |bytes: &Bytes| {
            if bytes.len() <= SMALL {
                // It may be a part of a block.
                return Some(Piece::Here(Bytes::copy_from_slice(bytes)));
            }
            let location = arena.locate(bytes)?;
            let block = arena.block(location).ok()?;
            let from = (location.offset.0 - block.location().offset.0) as usize;
            Some(Piece::At { block, from, len: bytes.len() })
        };
        let head = value.head_bytes();
        let pieces = std::iter::once(&head).chain(value.buffers()).map(piece).collect::<Option<Vec<_>>>();
        let Some(pieces) = pieces else { return Err(value) };
        let parked = Parked { form: Form::of(&value), pieces };
        drop((value, head));
        if parked.is_alone() { Ok(parked) } else { Err(parked.value()) }
    }

    /// Parks what is not in an arena.
    pub(super) fn simulated(value: &Payload) -> Self {
        let pieces = std::iter::once(value.head_bytes()).chain(value.buffers().iter().cloned());
        Parked { form: Form::of(value), pieces: pieces.map(Piece::Here).collect() }
    }

    /// The value again. It holds the blocks by itself.
    pub(super) fn value(&self) -> Payload {
        let mut pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Here(bytes) => bytes.clone(),
            Piece::At { block, from, len } => Bytes::from(block.clone()).slice(*from..from + len),
        });
        let head = pieces.next().unwrap_or_default();
        // It has no more pieces than the value had that it was made of.
        self.form.assemble(head, pieces.collect()).unwrap_or_else(|| Payload::copy_from(b""))
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Whether there are blocks, and no holders of any but this.
    fn is_alone(&self) -> bool {
        let mut blocks: Vec<&Block> = self.pieces.iter().filter_map(Piece::block).collect();
        blocks.sort_unstable_by_key(|block| block.location().offset);
        let alone = |same: &[&Block]| same[0].holders() == same.len();
        !blocks.is_empty() && blocks.chunk_by(|a, b| a.location() == b.location()).all(alone)
    }
}

impl Piece {
    fn block(&self) -> Option<&Block> {
        match self {
            Piece::Here(_) => None,
            Piece::At { block, .. } => Some(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Options;

    fn arena() -> Arena {
        Arena::new(Options { limit: 4 << 20, reserve: 0, low_water: 0, background: false })
    }

    fn kept(arena: &Arena) -> Payload {
        let buffers =
            vec![Bytes::from(vec![1; 70_000]), Bytes::from(vec![2; 10]), Bytes::from(vec![3; 80_000])];
        arena.keep(&Payload::in_parts(Bytes::from_static(b"head"), buffers)).unwrap()
    }

    #[test]
    fn what_nobody_else_holds_can_be_parked_and_comes_back() {
        let arena = arena();
        for value in [kept(&arena), arena.keep(&Payload::Described(vec![4; 100_000].into())).unwrap()] {
            let (bytes, described) = (value.contiguous().to_vec(), value.is_described());
            let parked = Parked::of(value, &arena).unwrap();
            let value = parked.value();
            assert_eq!((value.contiguous().to_vec(), value.is_described()), (bytes, described));
            drop((value, parked));
        }
        assert_eq!(arena.stats().blocks, 0);
    }

    #[test]
    fn what_somebody_holds_is_not_parked_however_small_a_part_it_is() {
        let arena = arena();
        type Hold = fn(&Payload) -> Box<dyn std::any::Any>;
        let holders: [Hold; 4] = [
            |value| Box::new(value.clone()),
            |value| Box::new(value.buffers()[0].slice(..1)),
            |value| Box::new(value.buffers()[2].clone()),
            |value| Box::new(value.flat_parts()),
        ];
        for hold in holders {
            let value = kept(&arena);
            let held = hold(&value);
            let value = Parked::of(value, &arena).unwrap_err();
            assert_eq!(value.contiguous(), kept(&arena).contiguous());
            drop(held);
            assert!(Parked::of(value, &arena).is_ok());
        }
        assert_eq!(arena.stats().blocks, 0);
    }

    #[test]
    fn pieces_of_one_block_are_counted_together() {
        let arena = arena();
        let whole = kept(&arena).contiguous();
        let mut block = arena.allocate(whole.len()).unwrap();
        block.copy_from_slice(&whole);
        let value = Payload::from_flat(block.seal().into()).unwrap();
        let parked = Parked::of(value, &arena).unwrap();
        assert_eq!(parked.value().contiguous(), whole);
    }

    #[test]
    fn what_is_not_in_the_arena_is_not_parked() {
        let elsewhere = Payload::Shared(vec![1; 100_000].into());
        assert!(Parked::of(elsewhere, &arena()).is_err());
        assert!(Parked::of(Payload::copy_from(b"small"), &arena()).is_err());
    }
}
