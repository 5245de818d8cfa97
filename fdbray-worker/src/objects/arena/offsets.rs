//! Which part of the arena is whose: address-ordered best fit, on offsets alone.
//!
//! The method is best fit, among equals the lowest address, with neighbours merged at once: the one that fragments least
//! in P. R. Wilson, M. S. Johnstone, M. Neely, D. Boles, "Dynamic Storage Allocation: A Survey and Critical Review" (1995),
//! and M. S. Johnstone, P. R. Wilson, "The Memory Fragmentation Problem: Solved?" (1998). What the tags at the boundaries
//! of a block are there is one ordered map of *tiles* here, which cover all offsets without a gap:
//!
//! | tile | what |
//! |---|---|
//! | cold | has no memory: it must be reserved before it is used. Begins and ends at an extent |
//! | free | reserved and nobody's |
//! | taken | a block, or a part that is just being reserved or given back |
//!
//! No memory is touched here: it could run under Miri, and does run against a model (`tests/offsets.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Memory is reserved and given back in multiples of this many bytes.
pub(super) const EXTENT: u64 = 256 << 10;
/// Every block begins at a multiple of this and takes one.
pub(super) const ALIGN: u64 = 64;
/// Larger blocks begin at a multiple of this and take one.
pub(super) const PAGE: u64 = 4096;
/// What a larger block is.
pub(super) const PAGED_FROM: u64 = 1 << 20;

/// What a block of some length takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) len: u64,
    pub(super) align: u64,
}

impl Shape {
    /// None where no number could say it.
    pub(super) fn of(len: u64) -> Option<Self> {
        let align = if len < PAGED_FROM { ALIGN } else { PAGE };
        // A block of no bytes has a place too, so that it has a location.
        Some(Shape { len: len.max(1).checked_next_multiple_of(align)?, align })
    }
}

/// All tiles.
pub(super) struct Offsets {
    tiles: BTreeMap<u64, Tile>,
    /// The free ones by length, then address.
    free: BTreeSet<(u64, u64)>,
    cold: BTreeSet<u64>,
    free_bytes: u64,
    cold_bytes: u64,
    all: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    len: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cold,
    Free,
    Taken,
}

/// A tile, taken, with parts that have no memory yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// The whole.
    pub(super) tile: Range<u64>,
    /// What is to be reserved, in ascending order.
    pub(super) cold: Vec<Range<u64>>,
}

impl Offsets {
    /// Offsets below `all`, a multiple of [`EXTENT`]: all cold.
    pub(super) fn new(all: u64) -> Self {
        let mut offsets = Offsets {
            tiles: BTreeMap::new(),
            free: BTreeSet::new(),
            cold: BTreeSet::new(),
            free_bytes: 0,
            cold_bytes: 0,
            all,
        };
        offsets.put(0, all, Kind::Cold);
        offsets
    }

    /// Takes what needs no reserving. None if there is none of that length.
    pub(super) fn take(&mut self, shape: Shape) -> Option<u64> {
        let fits =
            |&&(len, start): &&(u64, u64)| start.next_multiple_of(shape.align) + shape.len <= start + len;
        // Where alignment is coarse the best ones may not fit; one that is longer by a page always does.
        let best = self.free.range((shape.len, 0)..).take(TRIES);
        let sure = self.free.range((shape.len + shape.align, 0)..).take(1);
        let &(len, start) = best.chain(sure).find(fits)?;
        let at = start.next_multiple_of(shape.align);
        self.carve(start, len, at..at + shape.len);
        Some(at)
    }

    /// Takes a tile where the least memory has to be reserved for it, and up to `spare` bytes more behind it. The
    /// caller reserves, then calls [`Offsets::split`] or [`Offsets::undo`]. None if there is no such gap.
    pub(super) fn grow(&mut self, shape: Shape, spare: u64) -> Option<Growth> {
        let gaps = self.cold.iter().filter_map(|&cold| self.gap(cold, shape));
        let (_, at) = gaps.min()?;
        let (before, first) = self.tiles.range(..=at).next_back().map(|(&start, &tile)| (start, tile))?;
        if before < at {
            // The front of a free tile stays free.
            self.cut(before);
            self.put(before, at - before, first.kind);
            self.put(at, first.len - (at - before), first.kind);
        }
        let mut growth = Growth { tile: at..at, cold: Vec::new() };
        while growth.tile.end < at + shape.len {
            let start = growth.tile.end;
            let tile = self.cut(start)?;
            let wanted = at + shape.len - start;
            let len = match tile.kind {
                Kind::Cold => tile.len.min((wanted + spare).next_multiple_of(EXTENT)),
                _ => tile.len.min(wanted),
            };
            if len < tile.len {
                self.put(start + len, tile.len - len, tile.kind);
            }
            if tile.kind == Kind::Cold {
                growth.cold.push(start..start + len);
            }
            growth.tile.end = start + len;
        }
        self.put(at, growth.tile.end - at, Kind::Taken);
        Some(growth)
    }

    /// After reserving: leaves the first `len` bytes of the tile taken; the rest is free.
    pub(super) fn split(&mut self, growth: &Growth, len: u64) {
        let Range { start, end } = growth.tile;
        if end - start > len {
            self.cut(start);
            self.put(start, len, Kind::Taken);
            self.put(start + len, end - start - len, Kind::Taken);
            self.release(start + len);
        }
    }

    /// Where reserving failed: all is as it was before.
    pub(super) fn undo(&mut self, growth: &Growth) {
        self.cut(growth.tile.start);
        let mut at = growth.tile.start;
        let end = growth.tile.end..growth.tile.end;
        for cold in growth.cold.iter().chain([&end]) {
            for (part, kind) in [(at..cold.start, Kind::Free), (cold.clone(), Kind::Cold)] {
                if part.start < part.end {
                    self.put(part.start, part.end - part.start, Kind::Taken);
                    self.settle(part.start, kind);
                }
            }
            at = cold.end;
        }
    }

    /// Gives back a taken tile: it is free. Returns its length, 0 if it is not one.
    pub(super) fn release(&mut self, start: u64) -> u64 {
        self.settle(start, Kind::Free)
    }

    /// Gives back a taken tile whose memory is gone.
    pub(super) fn chill(&mut self, start: u64) -> u64 {
        self.settle(start, Kind::Cold)
    }

    /// Takes whole free extents, up to `most` bytes rounded up, so that their memory can be given back: those at the
    /// end of the longest free tile.
    pub(super) fn take_idle(&mut self, most: u64) -> Option<Range<u64>> {
        let longest = self.free.iter().rev().take_while(|&&(len, _)| len >= EXTENT);
        let (len, start, extents) = longest.copied().find_map(|(len, start)| {
            let extents = start.next_multiple_of(EXTENT)..(start + len) / EXTENT * EXTENT;
            (extents.start < extents.end).then_some((len, start, extents))
        })?;
        let whole = extents.end - extents.start;
        let taken = extents.end - whole.min(most.max(1).checked_next_multiple_of(EXTENT)?)..extents.end;
        self.carve(start, len, taken.clone());
        Some(taken)
    }

    /// The taken tile around an offset.
    pub(super) fn around(&self, offset: u64) -> Option<Range<u64>> {
        let (&start, tile) = self.tiles.range(..=offset).next_back()?;
        (tile.kind == Kind::Taken && offset < start + tile.len).then(|| start..start + tile.len)
    }

    /// Whether all of a range has memory.
    pub(super) fn is_reserved(&self, range: Range<u64>) -> bool {
        let last = self.cold.range(..range.end).next_back();
        last.and_then(|start| Some(start + self.tiles.get(start)?.len)).is_none_or(|end| end <= range.start)
    }

    /// Bytes that have memory, and those on which it is being reserved.
    pub(super) fn reserved(&self) -> u64 {
        self.all - self.cold_bytes
    }

    /// Bytes that have memory and are nobody's.
    pub(super) fn free(&self) -> u64 {
        self.free_bytes
    }

    /// The longest free tile.
    pub(super) fn longest(&self) -> u64 {
        self.free.last().map_or(0, |&(len, _)| len)
    }

    /// Where a block could be put that uses the cold tile at `cold`, and how much memory has to be reserved for it.
    fn gap(&self, cold: u64, shape: Shape) -> Option<(u64, u64)> {
        let before = self.tiles.range(..cold).next_back().filter(|(_, tile)| tile.kind == Kind::Free);
        let at = before.map_or(cold, |(&start, _)| start).next_multiple_of(shape.align);
        let end = at.checked_add(shape.len)?;
        let mut bytes = 0;
        // What lies before `cold` is free.
        for (&start, tile) in self.tiles.range(cold..) {
            match tile.kind {
                Kind::Taken => return None,
                Kind::Cold => bytes += tile.len.min(end.saturating_sub(start)),
                Kind::Free => {}
            }
            if end <= start + tile.len {
                return Some((bytes, at));
            }
        }
        None
    }

    /// Takes a part of a free tile.
    fn carve(&mut self, start: u64, len: u64, part: Range<u64>) {
        self.leave(start, Tile { len, kind: Kind::Free });
        if start < part.start {
            self.put(start, part.start - start, Kind::Free);
        }
        if part.end < start + len {
            self.put(part.end, start + len - part.end, Kind::Free);
        }
        self.put(part.start, part.end - part.start, Kind::Taken);
    }

    /// Makes a taken tile one of `kind`, together with its neighbours of that kind.
    fn settle(&mut self, start: u64, kind: Kind) -> u64 {
        let mut until = self.tiles.range(..=start).rev();
        let Some((_, &Tile { len, kind: Kind::Taken })) = until.next().filter(|tile| *tile.0 == start) else {
            return 0;
        };
        let before = until.next().filter(|(_, tile)| tile.kind == kind).map(|(&at, &tile)| (at, tile));
        let (mut from, mut to) = (start, start + len);
        if let Some((at, tile)) = before {
            self.leave(at, tile);
            self.tiles.remove(&start);
            from = at;
        }
        if self.tiles.get(&to).is_some_and(|after| after.kind == kind) {
            to += self.cut(to).map_or(0, |after| after.len);
        }
        self.put(from, to - from, kind);
        len
    }

    /// Adds a tile, or changes the one that is there, which has [left](Offsets::leave) its index.
    fn put(&mut self, start: u64, len: u64, kind: Kind) {
        self.tiles.insert(start, Tile { len, kind });
        match kind {
            Kind::Cold => {
                self.cold.insert(start);
                self.cold_bytes += len;
            }
            Kind::Free => {
                self.free.insert((len, start));
                self.free_bytes += len;
            }
            Kind::Taken => {}
        }
    }

    /// Removes a tile.
    fn cut(&mut self, start: u64) -> Option<Tile> {
        let tile = self.tiles.remove(&start)?;
        self.leave(start, tile);
        Some(tile)
    }

    /// Removes a tile from what its kind is indexed by.
    fn leave(&mut self, start: u64, tile: Tile) {
        match tile.kind {
            Kind::Cold => {
                self.cold.remove(&start);
                self.cold_bytes -= tile.len;
            }
            Kind::Free => {
                self.free.remove(&(tile.len, start));
                self.free_bytes -= tile.len;
            }
            Kind::Taken => {}
        }
    }

    /// What must hold at any moment.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut at = 0;
        let mut before = Kind::Taken;
        for (&start, tile) in &self.tiles {
            assert_eq!(start, at, "tiles cover everything once");
            assert!(tile.len > 0 && start % ALIGN == 0);
            assert!(tile.kind == Kind::Taken || tile.kind != before, "neighbours are merged at {start}");
            assert!(tile.kind != Kind::Cold || (start % EXTENT == 0 && tile.len % EXTENT == 0));
            assert_eq!(self.free.contains(&(tile.len, start)), tile.kind == Kind::Free);
            assert_eq!(self.cold.contains(&start), tile.kind == Kind::Cold);
            at += tile.len;
            before = tile.kind;
        }
        assert_eq!(at, self.all);
        let of = |kind| self.tiles.values().filter(move |tile| tile.kind == kind);
        assert_eq!(self.free_bytes, of(Kind::Free).map(|tile| tile.len).sum::<u64>());
        assert_eq!(self.cold_bytes, of(Kind::Cold).map(|tile| tile.len).sum::<u64>());
        assert_eq!((self.free.len(), self.cold.len()), (of(Kind::Free).count(), of(Kind::Cold).count()));
    }
}

/// How many of the best are tried for one that fits with its alignment.
const TRIES: usize = 8;
