//! Actors: their states, and the invariants of their calls.

use super::{
    exec::Thread,
    expect,
    interpret::{Frame, Handle},
    value::Content,
    world::{P, World},
};
use fdbray_worker::{
    core::{Instance, TaskKey},
    error::Error,
    id::ObjectId,
    payload::Payload,
    registry::Role,
};
use std::collections::{BTreeMap, BTreeSet};

/// Who calls which actor: a task, or what no task made.
type Caller = (P, Option<TaskKey>, ObjectId);
/// What a method gives.
type Value = (Payload, Vec<ObjectId>);

/// What happened to the actors of a world.
#[derive(Default)]
pub struct Actors {
    made: BTreeSet<(P, Instance)>,
    /// The instances of each actor that have started calls, in order.
    serving: BTreeMap<ObjectId, Vec<(P, Instance)>>,
    ended: BTreeSet<(P, Instance)>,
    /// Those that a method has ended.
    over: BTreeSet<(P, Instance)>,
    /// Methods that run.
    running: BTreeMap<(P, Instance), Running>,
    callers: BTreeMap<Caller, Order>,
    /// Calls that were seen to have changed a lasting actor.
    pub answered: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    /// By whom a call was made, and as the how manieth.
    calls: BTreeMap<ObjectId, (Caller, usize)>,
}

/// Methods of one instance that run.
#[derive(Default)]
struct Running {
    /// Those that share, by how many of them may.
    shared: BTreeMap<u32, u32>,
    alone: bool,
}

/// The calls of one caller.
#[derive(Default)]
struct Order {
    made: usize,
    /// The last started of those that share, and of those that run alone.
    shared: usize,
    alone: usize,
}

impl Actors {
    pub fn called(&mut self, caller: Caller, call: ObjectId) {
        let order = self.callers.entry(caller).or_default();
        order.made += 1;
        self.calls.insert(call, (caller, order.made));
    }

    /// The actor that a call is of.
    pub fn called_on(&self, call: ObjectId) -> Option<ObjectId> {
        self.calls.get(&call).map(|((_, _, actor), _)| *actor)
    }

    /// Whether a method runs that changes the state.
    pub fn changes(&self, p: P, actor: Instance) -> bool {
        self.running.get(&(p, actor)).is_some_and(|running| running.alone)
    }

    /// An instance was made.
    pub fn was_made(&mut self, p: P, instance: Instance) {
        assert!(self.made.insert((p, instance)), "{instance:?} is made twice");
    }

    pub fn method_ends(&mut self, p: P, actor: Instance, role: Role, outcome: &Result<Value, Error>) {
        let running = self.running.entry((p, actor)).or_default();
        match role {
            Role::Shared(most) => return *running.shared.entry(most).or_default() -= 1,
            _ => running.alone = false,
        }
        if outcome.as_ref().map_or_else(Error::is_own_panic, |_| role == Role::Stop) {
            self.over.insert((p, actor));
        }
    }
}

impl World {
    /// A constructor that ended well leaves a state behind, with some of its handles; gives the others.
    pub fn made_an_actor(
        &mut self,
        p: P,
        thread: &Thread,
        frame: &mut Frame,
        id: ObjectId,
        well: bool,
    ) -> Vec<Handle> {
        let node = &self.plan.nodes[frame.node];
        if well && self.plan.futures[node.lid].actor {
            let kept = node.returns.iter().filter_map(|r| frame.registers[*r].take()).collect();
            let instance = (id, thread.key.expect("a constructor runs in a batch"));
            self.say(|| format!("p{p} has made {instance:?}"));
            self.count("(actor)");
            self.all[p].states.insert(instance, kept);
            self.actors.was_made(p, instance);
            if self.plan.calls[self.plan.nodes[frame.node].call].checkpoints.is_some() {
                self.begin_to_last(p, instance, Vec::new());
            }
        }
        frame.handles()
    }

    /// The core of `p` says that an actor is over.
    pub fn actor_ended(&mut self, p: P, actor: Instance) {
        self.say(|| format!("p{p}: {actor:?} has ended"));
        let state = self.all[p].states.remove(&actor);
        assert!(state.is_some(), "p{p}: {actor:?} ends, which was not made or has ended");
        self.actors.ended.insert((p, actor));
        self.all[p].lasting.remove(&actor);
        self.release_all(p, state.unwrap_or_default());
    }

    /// What a method says that was started when its actor had just ended.
    pub fn state_is_gone(&mut self, p: P, actor: Instance) -> Option<Error> {
        if self.all[p].states.contains_key(&actor) {
            return None;
        }
        assert!(self.actors.ended.contains(&(p, actor)), "p{p}: {actor:?} is called, which was never made");
        Some(Error::control("its state is gone"))
    }

    /// A method starts; `first` if its call never did before.
    pub fn method_starts(
        &mut self,
        p: P,
        actor: Instance,
        function: u32,
        first: Option<ObjectId>,
        arguments: &Payload,
    ) {
        let role = self.plan.calls[function as usize].role;
        self.count("(method)");
        assert!(!self.actors.over.contains(&(p, actor)), "p{p}: a method of {actor:?} starts, which is over");
        let running = self.actors.running.entry((p, actor)).or_default();
        match role {
            Role::Shared(most) => {
                assert!(
                    !running.alone,
                    "p{p}: a shared method of {actor:?} starts beside one that runs alone"
                );
                let alike = running.shared.entry(most).or_default();
                assert!(*alike < most, "p{p}: more than {most} shared methods of {actor:?} run at once");
                *alike += 1;
            }
            _ => {
                let others = running.alone || running.shared.values().any(|count| *count > 0);
                assert!(!others, "p{p}: a method of {actor:?} does not run alone");
                running.alone = true;
            }
        }
        self.check_alone(p, actor);
        if let Some(call) = first {
            self.check_order(p, call, role, arguments);
        }
    }

    /// Of one actor never two instances start calls in turn: the first must have ended. Who is paused learns only afterwards
    /// that it was given up.
    fn check_alone(&mut self, p: P, actor: Instance) {
        let serving = self.actors.serving.entry(actor.0).or_default();
        let Some(last) = serving.last().copied().filter(|last| *last != (p, actor)) else {
            return serving.extend((serving.is_empty()).then_some((p, actor)));
        };
        let before = serving.contains(&(p, actor));
        if !before {
            serving.push((p, actor));
        }
        let paused = |p: P| self.all[p].paused_until >= self.now;
        assert!(!before || paused(p), "p{p}: {actor:?} starts a call, which was made again as {last:?}");
        let gone = self.actors.ended.contains(&last) || !self.all[last.0].alive || paused(last.0);
        assert!(before || gone, "p{p}: {actor:?} starts a call, and {last:?} lives");
    }

    /// Calls of one caller start in the order made; those that share a state, and are not parted by one that does not, run
    /// on several threads, in any order. One whose argument was lost is late, and holds up no other.
    fn check_order(&mut self, p: P, call: ObjectId, role: Role, arguments: &Payload) {
        let Some((caller, at)) = self.actors.calls.get(&call).copied() else {
            panic!("p{p} starts {call}, which nobody called")
        };
        let node = self.plan.futures[Content::decode(arguments.head()).lid].node.expect("a call");
        let troubled = self.weather.losses > 0 || self.weather.failed_fetches > 0;
        let fetched = |lid: &usize| expect::is_large(&self.plan, *lid, self.scenario.inline);
        let late = troubled && self.plan.nodes[node].futures.iter().any(fetched);
        let order = self.actors.callers.entry(caller).or_default();
        let last = match role {
            Role::Shared(_) => order.alone,
            _ => order.alone.max(order.shared),
        };
        assert!(late || last < at, "p{p}: {call}, the {at}th call of {caller:?}, starts after the {last}th");
        match role {
            Role::Shared(_) => order.shared = order.shared.max(at),
            _ => order.alone = order.alone.max(at),
        }
    }
}
