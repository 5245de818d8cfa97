//! The world of a seed: how many processes, how large, on which network, with which faults and programs.

use super::{
    plan::{CallOptions, Taste},
    random::Random,
};
use fdbray_worker::{
    core::{
        MILLISECOND, Nanos,
        shape::{ONE, Resources},
    },
    options::Checkpoints,
    registry::Role,
};

#[derive(Debug)]
pub struct Scenario {
    pub drivers: usize,
    /// Whether drivers execute, too.
    pub driver_capacity: Option<Resources>,
    pub workers: Vec<Resources>,
    /// So many of a hundred pairs talk over TCP, where a broken connection is resumed.
    pub tcp: u64,
    /// The shortest and longest way of a frame.
    pub delay: (Nanos, Nanos),
    pub inline: usize,
    pub max_pending_bytes: u64,
    /// What is moved to a worker though another has it.
    pub locality: u64,
    pub mains: usize,
    pub taste: Taste,
    /// Of a hundred events, those at which a process sets a value aside; of a hundred that come back, those that are lost.
    pub spills: u64,
    pub damaged: u64,
    /// Of a hundred checkpoints, those that cannot be saved.
    pub unsaved: u64,
    pub faults: Faults,
}

/// What goes wrong, until `until`.
#[derive(Debug, Default)]
pub struct Faults {
    pub until: Nanos,
    pub crashes: usize,
    pub driver_crashes: bool,
    pub pauses: usize,
    /// Connections cut; those over TCP are resumed.
    pub cuts: usize,
    /// Of a hundred cuts over TCP, those that end the session.
    pub parts: u64,
    pub late: usize,
    /// Workers that are asked to leave.
    pub drains: usize,
    /// The last worker can never be dialled.
    pub shunned: bool,
    /// A driver ends its runtime before its programs do.
    pub driver_ends: bool,
    /// Of a hundred dials and of a hundred fetches, those that fail.
    pub refused: u64,
    pub failed_fetches: u64,
    /// Of a hundred dead workers, those whose start marks can be read.
    pub marks: u64,
}

impl Scenario {
    pub fn new(random: &mut Random) -> Self {
        let mut workers: Vec<Resources> =
            (0..random.range(1, 4)).map(|_| resources(random.range(1, 4), random.percent(30))).collect();
        // At least one can run anything that is not impossible.
        workers[0] = resources(random.range(2, 4), true);
        let mut faults = faults(random);
        faults.shunned = workers.len() > 1 && random.percent(8);
        faults.driver_ends = random.percent(8);
        if random.percent(2) {
            // Nobody to run anything.
            workers.clear();
            faults = Faults { until: MILLISECOND, ..Faults::default() };
        }
        let inline = random.pick(&[64, 256, 4096]);
        Scenario {
            drivers: if random.percent(20) { 2 } else { 1 },
            driver_capacity: (!workers.is_empty() && random.percent(15))
                .then(|| resources(random.range(1, 2), false)),
            workers,
            tcp: random.pick(&[0, 0, 50, 100, 100]),
            delay: random.pick(&[
                (5_000, 20_000),
                (5_000, 500_000),
                (100_000, 5_000_000),
                (1_000, 40_000_000),
            ]),
            inline,
            max_pending_bytes: if random.percent(6) { random.range(1_000, 8_000) } else { 1 << 30 },
            locality: random.pick(&[0, 500, 1 << 30]),
            mains: random.range(1, 6) as usize,
            taste: taste(inline, random),
            spills: random.pick(&[0, 0, 2, 30]),
            unsaved: random.pick(&[0, 0, 0, 5]),
            damaged: if faults.failed_fetches > 0 { random.pick(&[0, 5]) } else { 0 },
            faults,
        }
    }

    /// Whether calls may be refused for want of room.
    pub fn tight(&self) -> bool {
        self.max_pending_bytes < 1 << 30
    }
}

/// What actors hold for life, and tasks do not need: one that waits gives its slot back, and might never have it again.
pub const SHELF: &str = "shelf";

pub fn resources(cpus: u64, disk: bool) -> Resources {
    // Everywhere there is more room for actors than there are actors.
    let mut named = vec![(SHELF.to_owned(), ONE)];
    if disk {
        named.insert(0, ("disk".to_owned(), 2 * ONE));
    }
    Resources { cpus: cpus * ONE, named, ..Resources::default() }
}

fn faults(random: &mut Random) -> Faults {
    let until = random.pick(&[50, 300, 1_500, 5_000]) * MILLISECOND;
    let calm = Faults { until, marks: 100, ..Faults::default() };
    match random.range(0, 9) {
        0 => calm,
        1 => Faults { pauses: random.range(1, 4) as usize, late: random.range(0, 2) as usize, ..calm },
        2 => Faults { cuts: random.range(1, 20) as usize, late: random.range(0, 1) as usize, ..calm },
        3..=5 => Faults {
            crashes: random.range(1, 8) as usize,
            late: random.range(0, 2) as usize,
            drains: random.pick(&[0, 0, 0, 2]),
            marks: random.pick(&[0, 50, 100]),
            driver_crashes: random.percent(30),
            ..calm
        },
        _ => Faults {
            crashes: random.range(0, 8) as usize,
            driver_crashes: random.percent(50),
            pauses: random.range(0, 3) as usize,
            cuts: random.range(0, 20) as usize,
            parts: random.pick(&[0, 50, 100]),
            late: random.range(0, 2) as usize,
            drains: random.pick(&[0, 0, 1, 3]),
            refused: random.pick(&[0, 20, 60]),
            failed_fetches: random.pick(&[0, 10, 50, 100]),
            marks: random.pick(&[0, 50, 100]),
            ..calm
        },
    }
}

fn taste(inline: usize, random: &mut Random) -> Taste {
    let retries = random.pick(&[3, 100, 100]);
    let mut calls = Vec::new();
    for _ in 0..random.range(1, 4) {
        calls.push(CallOptions {
            cpus: random.pick(&[ONE, ONE, ONE, ONE / 2, ONE / 10, 2 * ONE, 0]),
            disk: random.percent(15),
            shelf: false,
            retries: if random.percent(15) { 0 } else { retries },
            retry_errors: if random.percent(30) { 3 } else { 0 },
            sync: random.percent(50),
            impossible: false,
            role: Role::Function,
            restarts: 0,
            checkpoints: None,
        });
    }
    if random.percent(4) {
        calls.push(CallOptions { impossible: true, cpus: 1_000 * ONE, ..calls[0] });
    }
    let actors = if random.percent(60) { actors(random) } else { Vec::new() };
    let flat = random.percent(15);
    Taste {
        nodes: if flat { random.scale(50, 800) } else { random.scale(4, 250) } as usize,
        depth: if flat { 1 } else { random.range(1, 7) as usize },
        calls,
        actors,
        inline,
        work: random.pick(&[50_000, 2_000_000, 100_000_000]),
        cancels: random.percent(50),
        deadlines: random.percent(30),
        failures: random.percent(40),
        large: random.percent(60),
        flat,
    }
}

/// Constructors and methods.
fn actors(random: &mut Random) -> Vec<CallOptions> {
    let shelf = random.percent(50);
    let roles = [
        Role::Constructor,
        Role::Constructor,
        Role::Shared(random.range(1, 4) as u32),
        Role::Shared(random.range(1, 4) as u32),
        Role::Exclusive,
        Role::Exclusive,
        Role::Stop,
    ];
    let lasting = random.percent(60).then(|| match random.range(0, 3) {
        0 => Checkpoints::OnDemand,
        1 => Checkpoints::Every(random.range(2, 20) as u32),
        _ => Checkpoints::Every(1),
    });
    let of_lasting =
        [Role::Constructor, Role::Shared(random.range(1, 4) as u32), Role::Exclusive, Role::Exclusive];
    let plain = roles.map(|role| (role, None));
    let lasting = lasting.into_iter().flat_map(|when| of_lasting.map(|role| (role, Some(when))));
    let mut all = Vec::new();
    for (role, checkpoints) in plain.into_iter().chain([(Role::Checkpoint, None)]).chain(lasting) {
        let makes = role == Role::Constructor;
        all.push(CallOptions {
            cpus: 0,
            disk: false,
            shelf: makes && shelf,
            retries: match role {
                Role::Checkpoint => 0,
                _ if makes => random.pick(&[0, 3, 100]),
                _ => random.pick(&[0, 0, 3, 100]),
            },
            // What is done again after an error is another call.
            retry_errors: if checkpoints.is_some() { 0 } else { random.pick(&[0, 0, 2]) },
            sync: role == Role::Checkpoint || random.percent(50),
            impossible: false,
            role,
            restarts: match checkpoints {
                Some(_) if makes => random.pick(&[0, 3, 100, 100]),
                _ if makes => random.range(0, 3) as u32,
                _ => 0,
            },
            checkpoints,
        });
    }
    all
}
