//! Random programs with actors: made, called, stopped, killed, given to others.
//!
//! A method that waits for a call of its own actor would never end, and that is no fault of the core's. So actors are
//! ranked by when they were planned: what runs in one, directly or not, waits only for actors that were planned after
//! it. [`Logical::lowest`](super::plan::Logical) is the first actor that a future depends on.

use super::{
    plan::{CallOptions, Callee, Op, Plan, Register, Taste},
    random::Random,
    writer::Writer,
};
use fdbray_worker::registry::Role;

impl Plan {
    pub(super) fn actor_op(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        depth: usize,
        writer: &mut Writer,
        random: &mut Random,
    ) {
        let callable = |w: &Writer, r: Register| w.actors[r] && w.ends(r) && w.registers[r] > w.floor;
        let known = writer.some_of(1, random, callable);
        let dice = random.range(0, 99);
        match (known.first(), dice) {
            (Some(on), 0..=79) if *budget > 0 => {
                for _ in 0..random.scale(1, 8) {
                    // It may have been given away.
                    if writer.live[*on] {
                        self.call_actor(taste, budget, depth, *on, writer, random);
                    }
                }
            }
            (Some(of), 80..=87) => {
                writer.waits_for(writer.registers[*of], &self.futures);
                writer.ops.push(Op::Await { of: *of, fold: random.percent(80) });
            }
            (Some(on), 88..=89) if taste.cancels => {
                self.doubt(writer.registers[*on], writer);
                writer.ops.push(Op::Kill(*on));
            }
            (None, 0..=60) | (_, 90..) if *budget > 0 => {
                let call = self.pick(random, |call| call.role == Role::Constructor);
                let callee = Callee { call, actor: None, floor: writer.floor };
                self.call(taste, budget, depth, callee, None, (writer, random));
            }
            _ => {}
        }
    }

    fn call_actor(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        depth: usize,
        on: Register,
        writer: &mut Writer,
        random: &mut Random,
    ) {
        let stops = random.percent(2);
        let actor = writer.registers[on];
        let maker = self.futures[actor].node.map(|node| self.calls[self.nodes[node].call]);
        let checkpoints = maker.and_then(|maker| maker.checkpoints);
        if checkpoints.is_some() && random.percent(8) {
            return self.ask_for_checkpoint(taste, budget, on, writer, random);
        }
        let call = self.pick(random, |call| match call.role {
            Role::Stop => stops,
            Role::Checkpoint => false,
            role => role.is_method() && !stops && call.checkpoints == checkpoints,
        });
        let callee = Callee { call, actor: Some(actor), floor: writer.floor };
        let made = self.call(taste, budget, depth, callee, Some(on), (writer, random));
        let lid = writer.registers[made];
        if stops {
            self.doubt(actor, writer);
        }
        let node = self.futures[lid].node.map(|node| &self.nodes[node]);
        writer.doubtful[made] |= stops || node.is_some_and(|node| node.fails > 0);
    }

    /// A call of an actor, or of what makes one; gives the register of its future.
    fn call(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        depth: usize,
        callee: Callee,
        on: Option<Register>,
        (writer, random): (&mut Writer, &mut Random),
    ) -> Register {
        let with = random.percent(if taste.flat { 5 } else { 40 });
        let (futures, given) = match with {
            true => (writer.some_ending(2, random), writer.some(2, random)),
            false => (Vec::new(), Vec::new()),
        };
        let lids =
            |registers: &[Register]| registers.iter().map(|r| writer.registers[*r]).collect::<Vec<_>>();
        let arguments = (lids(&given), lids(&futures));
        if on.is_some() {
            writer.held = arguments.1.iter().fold(writer.held, |low, lid| low.min(self.futures[*lid].lowest));
        }
        let node = self.node(taste, budget, depth - 1, callee, arguments, random);
        let passed = [futures.clone(), given.clone()].concat();
        writer.ops.push(Op::Call { node, futures, given, on });
        writer.move_away(&passed, random);
        let lid = self.nodes[node].lid;
        if on.is_some() {
            self.futures[lid].lowest = self.futures[lid].lowest.min(writer.held);
        }
        writer.register(lid, &self.futures);
        writer.registers.len() - 1
    }

    /// What that gives is no value of a program: it is awaited, or not, and dropped.
    fn ask_for_checkpoint(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        on: Register,
        writer: &mut Writer,
        random: &mut Random,
    ) {
        let call = self.pick(random, |call| call.role == Role::Checkpoint);
        let actor = writer.registers[on];
        let callee = Callee { call, actor: Some(actor), floor: writer.floor };
        let node = self.node(taste, budget, 0, callee, (Vec::new(), Vec::new()), random);
        writer.ops.push(Op::Call { node, futures: Vec::new(), given: Vec::new(), on: Some(on) });
        writer.register(self.nodes[node].lid, &self.futures);
        let made = writer.registers.len() - 1;
        (writer.doubtful[made], writer.live[made]) = (true, false);
        if random.percent(50) && writer.ends(made) {
            writer.waits_for(writer.registers[made], &self.futures);
            writer.ops.push(Op::Await { of: made, fold: false });
        }
        writer.ops.push(Op::Drop(made));
    }

    fn pick(&self, random: &mut Random, which: impl Fn(&CallOptions) -> bool) -> usize {
        let fitting: Vec<usize> = (0..self.calls.len()).filter(|call| which(&self.calls[*call])).collect();
        random.pick(&fitting)
    }

    /// The actor ends: what was called before may not end well.
    fn doubt(&self, actor: usize, writer: &mut Writer) {
        for r in 0..writer.registers.len() {
            let node = self.futures[writer.registers[r]].node.map(|node| &self.nodes[node]);
            writer.doubtful[r] |= node.is_some_and(|node| node.actor == Some(actor));
        }
    }
}
