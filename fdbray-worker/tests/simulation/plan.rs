//! Random programs: call graphs of which every future's value is known beforehand.
//!
//! A program is a tree of nodes, one for each call, each of which calls its children. The handles that a node has
//! are in registers: first those inside its arguments, then those inside the values of arguments that are futures, then
//! what its operations bring. Every call and every `put` is one logical future, whatever number of times it is attempted.

use super::{
    random::{Random, mix},
    writer::Writer,
};
use fdbray_worker::{options::Checkpoints, registry::Role};

/// A logical future.
pub type Lid = usize;
/// A handle that a running node has.
pub type Register = usize;

/// All programs of a world.
#[derive(Default, Debug)]
pub struct Plan {
    pub futures: Vec<Logical>,
    pub nodes: Vec<Node>,
    pub calls: Vec<CallOptions>,
}

#[derive(Debug)]
pub struct Logical {
    /// `None` for a `put`.
    pub node: Option<usize>,
    /// What is inside its value.
    pub inside: Vec<Lid>,
    pub sum: u64,
    pub pad: usize,
    /// It is an actor, and has no value.
    pub actor: bool,
    /// It ends only after what actors do of which this is the one made first; see `plan_actors`.
    pub lowest: Lid,
}

/// What a call asks for: one template of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOptions {
    /// In ten-thousandths.
    pub cpus: u64,
    pub disk: bool,
    /// A little of it, as actors do.
    pub shelf: bool,
    pub retries: u32,
    pub retry_errors: u32,
    pub sync: bool,
    /// No worker has so much.
    pub impossible: bool,
    pub role: Role,
    /// How often an actor is made again.
    pub restarts: u32,
    /// Of constructors and methods of lasting actors.
    pub checkpoints: Option<Checkpoints>,
}

impl CallOptions {
    /// Whether calls are sent again until they are answered, and answered once a checkpoint covers them.
    pub fn is_sure(&self) -> bool {
        matches!(self.checkpoints, Some(Checkpoints::Every(_))) && self.role.is_method()
    }

    /// Whether it changes a state that is saved, with which its answers are kept: no handles can be in either.
    pub fn is_kept(&self) -> bool {
        self.role == Role::Checkpoint || (self.checkpoints.is_some() && !matches!(self.role, Role::Shared(_)))
    }
}

#[derive(Debug)]
pub struct Node {
    pub lid: Lid,
    pub call: usize,
    /// The actor whose method it is.
    pub actor: Option<Lid>,
    pub deadline: Option<u64>,
    pub argument_pad: usize,
    /// Fails in attempts up to this one.
    pub fails: u32,
    /// By a panic.
    pub panics: bool,
    /// Logical futures inside its arguments, and among them.
    pub given: Vec<Lid>,
    pub futures: Vec<Lid>,
    pub ops: Vec<Op>,
    /// What is in its value; or what an actor keeps.
    pub returns: Vec<Register>,
    /// The lid of each register.
    pub registers: Vec<Lid>,
}

#[derive(Clone, Debug)]
pub enum Op {
    /// Passes time.
    Work(u64),
    Call {
        node: usize,
        futures: Vec<Register>,
        given: Vec<Register>,
        /// The actor that is called.
        on: Option<Register>,
    },
    Put {
        lid: Lid,
        given: Vec<Register>,
    },
    /// Waits; `fold`: an error ends the node, a value goes into its own and gives registers. For an actor: until it is there.
    Await {
        of: Register,
        fold: bool,
    },
    /// Waits until so many of these have ended.
    AwaitSome {
        of: Vec<Register>,
        count: usize,
    },
    Drop(Register),
    Cancel(Register),
    /// Ends an actor.
    Kill(Register),
    /// Leaves a handle to the process, which awaits it later.
    Keep(Register, u64),
}

/// What programs are made of in one world.
#[derive(Clone, Debug)]
pub struct Taste {
    pub nodes: usize,
    pub depth: usize,
    pub calls: Vec<CallOptions>,
    /// Constructors and methods; empty where there are no actors.
    pub actors: Vec<CallOptions>,
    pub inline: usize,
    /// The longest that one step takes.
    pub work: u64,
    pub cancels: bool,
    pub deadlines: bool,
    pub failures: bool,
    pub large: bool,
    /// Almost only many calls without more.
    pub flat: bool,
}

impl Plan {
    /// Adds one main program, and gives its node.
    pub fn grow(&mut self, taste: &Taste, random: &mut Random) -> usize {
        self.calls = [&taste.calls[..], &taste.actors[..]].concat();
        let mut budget = taste.nodes;
        let callee = Callee::function(taste, random);
        self.node(taste, &mut budget, taste.depth, callee, (Vec::new(), Vec::new()), random)
    }

    pub(super) fn node(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        depth: usize,
        Callee { call, actor, floor }: Callee,
        (given, futures): (Vec<Lid>, Vec<Lid>),
        random: &mut Random,
    ) -> usize {
        *budget = budget.saturating_sub(1);
        let lid = self.futures.len();
        self.futures.push(Logical::default());
        let role = self.calls[call].role;
        let floor = match role {
            Role::Constructor => lid,
            _ => actor.map_or(floor, |actor| actor.max(floor)),
        };
        let mut writer = Writer::new(mix(lid as u64 + 1), floor);
        given.iter().for_each(|l| writer.register(*l, &self.futures));
        for future in &futures {
            writer.fold(self.futures[*future].sum);
            writer.waits_for(*future, &self.futures);
            writer.register_inside(*future, &self.futures);
        }
        writer.ops.push(Op::Work(random.scale(1_000, taste.work)));
        // What it was given outlives it sometimes.
        for r in writer.some(2, random) {
            if writer.live[r] && random.percent(30) {
                writer.live[r] = false;
                writer.ops.push(Op::Keep(r, random.scale(10_000, 500_000_000)));
            }
        }
        if depth > 0 && role != Role::Checkpoint {
            let ops = if depth == taste.depth { 4 + taste.nodes / 2 } else { random.range(0, 10) as usize };
            for _ in 0..ops {
                self.op(taste, budget, depth, &mut writer, random);
            }
        }
        // A node that returns handles it was given passes them on.
        let kept = self.calls[call].is_kept();
        let returns = if random.percent(30) && !kept { writer.some(2, random) } else { Vec::new() };
        let index = self.nodes.len();
        let makes = role == Role::Constructor;
        let inside = returns.iter().filter(|_| !makes).map(|r| writer.registers[*r]).collect();
        let pad = if makes { 0 } else { self.pad(taste, random) };
        let lowest = actor.map_or(Lid::MAX, |actor| actor.min(self.futures[actor].lowest)).min(writer.lowest);
        self.futures[lid] = Logical { node: Some(index), inside, sum: writer.sum, pad, actor: makes, lowest };
        let tries = self.calls[call].retry_errors;
        let fails = match taste.failures && random.percent(8) {
            true if random.percent(50) => u32::MAX,
            true => random.range(1, u64::from(tries) + 1) as u32,
            false => 0,
        };
        self.nodes.push(Node {
            lid,
            call,
            actor,
            deadline: (taste.deadlines && random.percent(6)).then(|| random.scale(100_000, 400_000_000)),
            argument_pad: if random.percent(5) { taste.inline * 2 } else { random.range(0, 40) as usize },
            fails,
            panics: fails > 0 && role.is_method() && random.percent(60),
            given,
            futures,
            ops: writer.ops,
            returns,
            registers: writer.registers,
        });
        index
    }

    fn op(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        depth: usize,
        writer: &mut Writer,
        random: &mut Random,
    ) {
        if !taste.actors.is_empty() && random.percent(30) {
            return self.actor_op(taste, budget, depth, writer, random);
        }
        let dice = if taste.flat { random.range(0, 45) } else { random.range(0, 99) };
        match dice {
            0..=39 if *budget > 0 => {
                let (futures, mut given) = match random.percent(if taste.flat { 5 } else { 50 }) {
                    true => (writer.some_ending(2, random), writer.some(2, random)),
                    false => (Vec::new(), Vec::new()),
                };
                // So that actors are called from several processes.
                if !taste.actors.is_empty() && random.percent(40) {
                    given.extend(writer.some_of(1, random, |w, r| w.actors[r]));
                }
                let lids = |registers: &[Register]| registers.iter().map(|r| writer.registers[*r]).collect();
                let arguments = (lids(&given), lids(&futures));
                let callee = Callee { floor: writer.floor, ..Callee::function(taste, random) };
                let node = self.node(taste, budget, depth - 1, callee, arguments, random);
                let passed = [futures.clone(), given.clone()].concat();
                writer.ops.push(Op::Call { node, futures, given, on: None });
                writer.move_away(&passed, random);
                writer.register(self.nodes[node].lid, &self.futures);
            }
            40..=47 => {
                let given = writer.some(2, random);
                let lid = self.futures.len();
                let inside = given.iter().map(|r| writer.registers[*r]).collect();
                let pad = self.pad(taste, random);
                let put = Logical { inside, sum: mix(lid as u64 + 1), pad, ..Logical::default() };
                self.futures.push(put);
                writer.ops.push(Op::Put { lid, given: given.clone() });
                writer.move_away(&given, random);
                writer.register(lid, &self.futures);
            }
            48..=69 => {
                for of in writer.some_ending(1, random) {
                    let fold = !writer.doubtful[of] && random.percent(90);
                    writer.ops.push(Op::Await { of, fold });
                    let lid = writer.registers[of];
                    writer.waits_for(lid, &self.futures);
                    if fold {
                        writer.fold(self.futures[lid].sum);
                        writer.register_inside(lid, &self.futures);
                        writer.move_away(&[of], random);
                    }
                }
            }
            70..=75 => {
                let of = writer.some_ending(6, random);
                of.iter().for_each(|r| writer.waits_for(writer.registers[*r], &self.futures));
                let count = if of.is_empty() { 0 } else { random.range(1, of.len() as u64) as usize };
                writer.ops.push(Op::AwaitSome { of, count });
            }
            76..=83 => {
                for r in writer.some(1, random) {
                    writer.live[r] = false;
                    writer.ops.push(Op::Drop(r));
                }
            }
            84..=89 if taste.cancels => {
                for r in writer.some_of(1, random, |w, r| !w.actors[r]) {
                    writer.doubtful[r] = true;
                    writer.ops.push(Op::Cancel(r));
                }
            }
            84..=92 => {
                for r in writer.some(1, random) {
                    writer.live[r] = false;
                    writer.ops.push(Op::Keep(r, random.scale(10_000, 500_000_000)));
                }
            }
            _ => writer.ops.push(Op::Work(random.scale(1_000, taste.work))),
        }
    }

    pub(super) fn pad(&self, taste: &Taste, random: &mut Random) -> usize {
        match taste.large && random.percent(20) {
            true => taste.inline + random.range(0, taste.inline as u64) as usize,
            false => random.range(0, 24) as usize,
        }
    }
}

/// What is called.
pub(super) struct Callee {
    pub call: usize,
    pub actor: Option<Lid>,
    /// See [`Writer::floor`].
    pub floor: Lid,
}

impl Callee {
    fn function(taste: &Taste, random: &mut Random) -> Self {
        Callee { call: random.index(taste.calls.len()), actor: None, floor: 0 }
    }
}

impl Default for Logical {
    fn default() -> Self {
        Logical { node: None, inside: Vec::new(), sum: 0, pad: 0, actor: false, lowest: Lid::MAX }
    }
}

/// How a value goes into the next.
pub fn fold(sum: u64, value: u64) -> u64 {
    mix(sum.rotate_left(7) ^ value)
}
