//! Random programs: call graphs of which every future's value is known beforehand.
//!
//! A program is a tree of nodes, one for each call, each of which calls its children. The handles that a node has
//! are in registers: first those inside its arguments, then those inside the values of arguments that are futures, then
//! what its operations bring. Every call and every `put` is one logical future, whatever number of times it is attempted.

use super::random::{Random, mix};

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
}

/// What a call asks for: one template of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOptions {
    /// In ten-thousandths.
    pub cpus: u64,
    pub disk: bool,
    pub retries: u32,
    pub retry_errors: u32,
    pub sync: bool,
    /// No worker has so much.
    pub impossible: bool,
}

#[derive(Debug)]
pub struct Node {
    pub lid: Lid,
    pub call: usize,
    pub deadline: Option<u64>,
    pub argument_pad: usize,
    /// Fails in attempts up to this one.
    pub fails: u32,
    /// Logical futures inside its arguments, and among them.
    pub given: Vec<Lid>,
    pub futures: Vec<Lid>,
    pub ops: Vec<Op>,
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
    },
    Put {
        lid: Lid,
        given: Vec<Register>,
    },
    /// Waits; `fold`: an error ends the node, a value goes into its own and gives registers.
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
    /// Leaves a handle to the process, which awaits it later.
    Keep(Register, u64),
}

/// What programs are made of in one world.
#[derive(Clone, Debug)]
pub struct Taste {
    pub nodes: usize,
    pub depth: usize,
    pub calls: Vec<CallOptions>,
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
        self.calls.clone_from(&taste.calls);
        let mut budget = taste.nodes;
        self.node(taste, &mut budget, taste.depth, (Vec::new(), Vec::new()), random)
    }

    fn node(
        &mut self,
        taste: &Taste,
        budget: &mut usize,
        depth: usize,
        (given, futures): (Vec<Lid>, Vec<Lid>),
        random: &mut Random,
    ) -> usize {
        *budget = budget.saturating_sub(1);
        let lid = self.futures.len();
        self.futures.push(Logical { node: None, inside: Vec::new(), sum: 0, pad: 0 });
        let mut writer = Writer { sum: mix(lid as u64 + 1), ..Writer::default() };
        given.iter().for_each(|l| writer.register(*l));
        for future in &futures {
            writer.fold(self.futures[*future].sum);
            self.futures[*future].inside.clone().into_iter().for_each(|l| writer.register(l));
        }
        writer.ops.push(Op::Work(random.scale(1_000, taste.work)));
        // What it was given outlives it sometimes.
        for r in writer.some(2, random) {
            if writer.live[r] && random.percent(30) {
                writer.live[r] = false;
                writer.ops.push(Op::Keep(r, random.scale(10_000, 500_000_000)));
            }
        }
        if depth > 0 {
            let ops = if depth == taste.depth { 4 + taste.nodes / 2 } else { random.range(0, 10) as usize };
            for _ in 0..ops {
                self.op(taste, budget, depth, &mut writer, random);
            }
        }
        // A node that returns handles it was given passes them on.
        let returns = if random.percent(30) { writer.some(2, random) } else { Vec::new() };
        let pad = self.pad(taste, random);
        let index = self.nodes.len();
        self.futures[lid] = Logical {
            node: Some(index),
            inside: returns.iter().map(|r| writer.registers[*r]).collect(),
            sum: writer.sum,
            pad,
        };
        let call = random.index(taste.calls.len());
        let tries = taste.calls[call].retry_errors;
        let fails = match taste.failures && random.percent(8) {
            true if random.percent(50) => u32::MAX,
            true => random.range(1, u64::from(tries) + 1) as u32,
            false => 0,
        };
        self.nodes.push(Node {
            lid,
            call,
            deadline: (taste.deadlines && random.percent(6)).then(|| random.scale(100_000, 400_000_000)),
            argument_pad: if random.percent(5) { taste.inline * 2 } else { random.range(0, 40) as usize },
            fails,
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
        let dice = if taste.flat { random.range(0, 45) } else { random.range(0, 99) };
        match dice {
            0..=39 if *budget > 0 => {
                let (futures, given) = match random.percent(if taste.flat { 5 } else { 50 }) {
                    true => (writer.some(2, random), writer.some(2, random)),
                    false => (Vec::new(), Vec::new()),
                };
                let lids = |registers: &[Register]| registers.iter().map(|r| writer.registers[*r]).collect();
                let arguments = (lids(&given), lids(&futures));
                let node = self.node(taste, budget, depth - 1, arguments, random);
                let passed = [futures.clone(), given.clone()].concat();
                writer.ops.push(Op::Call { node, futures, given });
                writer.move_away(&passed, random);
                writer.register(self.nodes[node].lid);
            }
            40..=47 => {
                let given = writer.some(2, random);
                let lid = self.futures.len();
                let inside = given.iter().map(|r| writer.registers[*r]).collect();
                let pad = self.pad(taste, random);
                self.futures.push(Logical { node: None, inside, sum: mix(lid as u64 + 1), pad });
                writer.ops.push(Op::Put { lid, given: given.clone() });
                writer.move_away(&given, random);
                writer.register(lid);
            }
            48..=69 => {
                for of in writer.some(1, random) {
                    let fold = !writer.doubtful[of] && random.percent(90);
                    writer.ops.push(Op::Await { of, fold });
                    if fold {
                        let lid = writer.registers[of];
                        writer.fold(self.futures[lid].sum);
                        self.futures[lid].inside.clone().into_iter().for_each(|l| writer.register(l));
                        writer.move_away(&[of], random);
                    }
                }
            }
            70..=75 => {
                let of = writer.some(6, random);
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
                for r in writer.some(1, random) {
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

    fn pad(&self, taste: &Taste, random: &mut Random) -> usize {
        match taste.large && random.percent(20) {
            true => taste.inline + random.range(0, taste.inline as u64) as usize,
            false => random.range(0, 24) as usize,
        }
    }
}

/// A node that is being written.
#[derive(Default)]
struct Writer {
    ops: Vec<Op>,
    registers: Vec<Lid>,
    live: Vec<bool>,
    doubtful: Vec<bool>,
    sum: u64,
}

impl Writer {
    fn register(&mut self, lid: Lid) {
        self.registers.push(lid);
        self.live.push(true);
        self.doubtful.push(false);
    }

    /// A handle that is passed on or awaited by value is gone; by reference it stays.
    fn move_away(&mut self, passed: &[Register], random: &mut Random) {
        for r in passed {
            if self.live[*r] && random.percent(50) {
                self.live[*r] = false;
                self.ops.push(Op::Drop(*r));
            }
        }
    }

    fn fold(&mut self, sum: u64) {
        self.sum = fold(self.sum, sum);
    }

    /// Up to `most` registers that have a handle.
    fn some(&self, most: u64, random: &mut Random) -> Vec<Register> {
        let live: Vec<Register> = (0..self.live.len()).filter(|r| self.live[*r]).collect();
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

/// How a value goes into the next.
pub fn fold(sum: u64, value: u64) -> u64 {
    mix(sum.rotate_left(7) ^ value)
}
