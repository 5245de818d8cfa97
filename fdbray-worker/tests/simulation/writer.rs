//! A node that is being written: its registers, and what may be done with each.

use super::{
    plan::{Lid, Logical, Op, Register, fold},
    random::Random,
};

#[derive(Default)]
pub struct Writer {
    pub ops: Vec<Op>,
    pub registers: Vec<Lid>,
    pub live: Vec<bool>,
    pub doubtful: Vec<bool>,
    /// Which are actors.
    pub actors: Vec<bool>,
    /// [`Logical::lowest`] of each.
    lows: Vec<Lid>,
    pub sum: u64,
    /// It runs in an actor, of those around it the one made last: it waits only for what depends on later ones.
    pub floor: Lid,
    /// [`Logical::lowest`] of what it has waited for.
    pub lowest: Lid,
    /// The same of the arguments of its calls of actors, behind which later ones are held back.
    pub held: Lid,
}

impl Writer {
    pub fn new(sum: u64, floor: Lid) -> Self {
        Writer { sum, floor, lowest: Lid::MAX, held: Lid::MAX, ..Writer::default() }
    }

    pub fn register(&mut self, lid: Lid, futures: &[Logical]) {
        self.registers.push(lid);
        self.live.push(true);
        self.doubtful.push(false);
        self.actors.push(futures[lid].actor);
        self.lows.push(futures[lid].lowest);
    }

    pub fn register_inside(&mut self, lid: Lid, futures: &[Logical]) {
        futures[lid].inside.iter().for_each(|l| self.register(*l, futures));
    }

    pub fn waits_for(&mut self, lid: Lid, futures: &[Logical]) {
        self.lowest = self.lowest.min(futures[lid].lowest);
    }

    /// A handle that is passed on or awaited by value is gone; by reference it stays.
    pub fn move_away(&mut self, passed: &[Register], random: &mut Random) {
        for r in passed {
            if self.live[*r] && random.percent(50) {
                self.live[*r] = false;
                self.ops.push(Op::Drop(*r));
            }
        }
    }

    pub fn fold(&mut self, sum: u64) {
        self.sum = fold(self.sum, sum);
    }

    /// Up to `most` registers that have a handle.
    pub fn some(&self, most: u64, random: &mut Random) -> Vec<Register> {
        self.some_of(most, random, |_, _| true)
    }

    /// Those whose end can be waited for, and comes.
    pub fn some_ending(&self, most: u64, random: &mut Random) -> Vec<Register> {
        self.some_of(most, random, |w, r| !w.actors[r] && w.ends(r))
    }

    /// Whether the end of a future does not depend on what this node is part of.
    pub fn ends(&self, r: Register) -> bool {
        self.lows[r] > self.floor
    }

    pub fn some_of(
        &self,
        most: u64,
        random: &mut Random,
        which: impl Fn(&Self, Register) -> bool,
    ) -> Vec<Register> {
        let live: Vec<Register> = (0..self.live.len()).filter(|r| self.live[*r] && which(self, *r)).collect();
        if live.is_empty() {
            return live;
        }
        let count = if most == 1 { 1 } else { random.range(0, most) };
        // The newest are the likeliest.
        let pick =
            |random: &mut Random| live[live.len() - 1 - (random.scale(1, live.len() as u64) - 1) as usize];
        (0..count).map(|_| pick(random)).collect()
    }
}
