//! Which errors each future may end with, given what happened in the world.
//!
//! Everything else must be the value that the plan says. So "no lost work" (invariant 3) is checked here: with more retries
//! than faults, nothing may end with `WorkerDied`.

use super::plan::{Lid, Node, Op, Plan};
use fdbray_worker::{error::Error, registry::Role};

pub const APPLICATION: u16 = 1;
pub const CANCELLED: u16 = 2;
pub const DEADLINE: u16 = 4;
pub const OVERLOADED: u16 = 8;
pub const WORKER_DIED: u16 = 16;
pub const OWNER_DIED: u16 = 32;
pub const OBJECT_LOST: u16 = 64;
pub const UNSCHEDULABLE: u16 = 128;
pub const SHUTDOWN: u16 = 256;
pub const PANICKED: u16 = 512;
pub const ACTOR_ENDED: u16 = 1024;
pub const CHECKPOINT: u16 = 2048;

/// What happened in the world so far, as far as it excuses errors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Sessions that ended, each of which may have taken an attempt along.
    pub losses: u32,
    /// Whether any worker was asked to leave, which takes actors along that may not be made again.
    pub left: bool,
    /// Some of them between processes that live on.
    pub parted: bool,
    /// Fetches that failed though the value was there.
    pub failed_fetches: u32,
    /// The budget of pending calls is small.
    pub tight: bool,
    /// There is no worker at all.
    pub deserted: bool,
    /// A driver ended its runtime.
    pub ended: bool,
    /// States of lasting actors that could not be saved.
    pub unsaved: u32,
}

/// The kind of an error.
pub fn kind(error: &Error) -> u16 {
    match error {
        Error::Application(_) => APPLICATION,
        Error::Cancelled { .. } => CANCELLED,
        Error::DeadlineExceeded { .. } => DEADLINE,
        Error::Overloaded { .. } => OVERLOADED,
        Error::WorkerDied { .. } => WORKER_DIED,
        Error::OwnerDied { .. } => OWNER_DIED,
        Error::ObjectLost { .. } => OBJECT_LOST,
        Error::Unschedulable { .. } => UNSCHEDULABLE,
        Error::Shutdown => SHUTDOWN,
        Error::Panicked { .. } => PANICKED,
        Error::ActorEnded { .. } => ACTOR_ENDED,
        Error::Checkpoint { .. } => CHECKPOINT,
        _ => 0,
    }
}

/// The kinds of errors that each logical future may end with.
pub fn allowed(plan: &Plan, weather: Weather, inline: usize) -> Vec<u16> {
    let mut kinds: Vec<u16> = (0..plan.futures.len()).map(|lid| own(plan, lid, weather, inline)).collect();
    for node in &plan.nodes {
        for op in &node.ops {
            if let Op::Cancel(r) = op {
                kinds[node.registers[*r]] |= CANCELLED;
            }
        }
    }
    loop {
        let before = kinds.clone();
        for node in &plan.nodes {
            let mut all = node.futures.iter().fold(0, |all, lid| all | kinds[*lid]);
            for op in &node.ops {
                if let Op::Await { of, fold: true } = op {
                    all |= kinds[node.registers[*of]];
                }
            }
            all |= node.actor.map_or(0, |actor| kinds[actor] | of_actor(plan, node, actor, weather));
            kinds[node.lid] |= all | through_others(plan, node, weather);
        }
        if kinds == before {
            return kinds;
        }
    }
}

fn own(plan: &Plan, lid: usize, weather: Weather, inline: usize) -> u16 {
    let logical = &plan.futures[lid];
    let large = is_large(plan, lid, inline);
    let mut kinds = 0;
    let retries = match logical.node {
        Some(node) => {
            let node = &plan.nodes[node];
            let call = plan.calls[node.call];
            let mut may = |kind, yes| kinds |= if yes { kind } else { 0 };
            let fails = node.fails > call.retry_errors;
            may(APPLICATION, fails && !node.panics);
            may(PANICKED, fails && node.panics);
            may(ACTOR_ENDED, logical.actor && may_end(plan, lid, weather));
            may(DEADLINE, node.deadline.is_some());
            may(UNSCHEDULABLE, call.impossible || weather.deserted);
            may(SHUTDOWN, weather.ended);
            may(WORKER_DIED, !call.is_sure() && call.retries < weather.losses + weather.failed_fetches);
            may(CHECKPOINT, weather.unsaved > 0 && (call.is_sure() || call.role == Role::Checkpoint));
            may(OVERLOADED, weather.tight);
            // What a method gave is not computed again.
            if node.actor.is_some() { 0 } else { call.retries }
        }
        None => 2,
    };
    // A value that is not delivered several times in a row is given up, too.
    if large && (retries < weather.losses + weather.failed_fetches || weather.failed_fetches > 3) {
        kinds |= OBJECT_LOST;
    }
    kinds
}

/// Whether a value is fetched rather than sent.
pub fn is_large(plan: &Plan, lid: Lid, inline: usize) -> bool {
    let logical = &plan.futures[lid];
    logical.pad + 16 + 20 * logical.inside.len() > inline
}

/// A node that awaits handles which it got from elsewhere suffers when those processes go.
fn through_others(plan: &Plan, node: &Node, weather: Weather) -> u16 {
    if weather.losses == 0 {
        return 0;
    }
    let made = made_registers(plan, node);
    let mut awaited = node.ops.iter().filter_map(|op| match op {
        Op::Await { of, fold: true } => Some(*of),
        _ => None,
    });
    // A handle of one's own that went through other hands is as good as theirs.
    let foreign = awaited.any(|r| !made[r] && (weather.parted || !is_safe(plan, node, node.registers[r])));
    // The caller waits for arguments that are futures: its own, or such that it was given.
    let own = |lid: &Lid| caller(plan, node).is_some_and(|c| is_made(plan, c, *lid));
    let mut futures = node.futures.iter();
    let passed = futures.any(|lid| !own(lid) && (weather.parted || !is_safe(plan, node, *lid)));
    if foreign || passed { OWNER_DIED | OBJECT_LOST } else { 0 }
}

fn is_made(plan: &Plan, by: &Node, lid: Lid) -> bool {
    by.ops.iter().filter_map(|op| made_by(plan, op)).any(|made| made == lid)
}

/// Which registers have handles of what the node called or put itself.
fn made_registers(plan: &Plan, node: &Node) -> Vec<bool> {
    let inside = |lid: &Lid| plan.futures[*lid].inside.len();
    let mut made = vec![false; node.given.len() + node.futures.iter().map(inside).sum::<usize>()];
    for op in &node.ops {
        match op {
            Op::Call { .. } | Op::Put { .. } => made.push(true),
            Op::Await { of, fold: true } => {
                made.resize(made.len() + inside(&node.registers[*of]), false);
            }
            _ => {}
        }
    }
    made
}

/// Whether an argument is owned by one of those that make this very call, directly or not.
fn is_safe(plan: &Plan, of: &Node, lid: Lid) -> bool {
    let given = of.given.contains(&lid) || of.futures.contains(&lid);
    given && caller(plan, of).is_some_and(|c| is_made(plan, c, lid) || is_safe(plan, c, lid))
}

fn caller<'a>(plan: &'a Plan, of: &Node) -> Option<&'a Node> {
    plan.nodes.iter().find(|n| is_made(plan, n, of.lid))
}

fn made_by(plan: &Plan, op: &Op) -> Option<usize> {
    match op {
        Op::Call { node, .. } => Some(plan.nodes[*node].lid),
        Op::Put { lid, .. } => Some(*lid),
        _ => None,
    }
}

/// What calls of an actor may end with besides what it may itself: of their worker and of the actor's owner they know little.
/// Those of lasting actors are sent again until they are answered, as long as there is an actor.
fn of_actor(plan: &Plan, node: &Node, actor: Lid, weather: Weather) -> u16 {
    let known = if weather.losses > 0 { OWNER_DIED | OBJECT_LOST } else { 0 };
    let call = plan.calls[node.call];
    // One that asks for a checkpoint means that of the incarnation that it was sent to.
    let asks = call.role == Role::Checkpoint;
    let cut_short = asks || (weather.losses + weather.unsaved > 0 && !call.is_sure());
    let known = known | if cut_short { ACTOR_ENDED } else { 0 };
    known | if may_end(plan, actor, weather) { ACTOR_ENDED } else { 0 }
}

/// Whether an actor may end before its last handle is gone.
fn may_end(plan: &Plan, actor: Lid, weather: Weather) -> bool {
    let Some(maker) = plan.futures[actor].node.map(|node| &plan.nodes[node]) else { return false };
    let role = |node: &Node| plan.calls[node.call].role;
    let calls = || plan.nodes.iter().filter(|node| node.actor == Some(actor));
    // What is not shared and panics ends it once.
    let breaks = calls().filter(|node| node.panics && role(node) == Role::Exclusive);
    let broken: u32 = breaks.map(|node| tries(plan, node)).sum();
    may_be_killed(plan, actor)
        || calls().any(|node| role(node) == Role::Stop)
        || plan.calls[maker.call].restarts
            < broken + weather.losses + weather.unsaved + u32::from(weather.left)
}

/// Whether a program kills the actor.
pub fn may_be_killed(plan: &Plan, actor: Lid) -> bool {
    let kills =
        |node: &Node| node.ops.iter().any(|op| matches!(op, Op::Kill(r) if node.registers[*r] == actor));
    plan.nodes.iter().any(kills)
}

/// How often a node fails at most, in all attempts of all its callers.
fn tries(plan: &Plan, node: &Node) -> u32 {
    let retried = |node: &Node| node.fails.min(plan.calls[node.call].retry_errors);
    let mut tries = node.fails.min(retried(node) + 1);
    let mut at = node;
    while let Some(caller) = caller(plan, at) {
        // It may also fail with what the node that it awaited has failed with, and be tried again for that.
        tries = tries.saturating_mul(plan.calls[caller.call].retry_errors + 1);
        at = caller;
    }
    tries
}
