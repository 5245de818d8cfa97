//! Actors: calls in order, alone or together, and what becomes of them when their worker, or they themselves, end.

mod lasting;
mod leaving;

use super::*;
use crate::{
    error::Error,
    options::Checkpoints,
    registry::{Lasting, Role},
};

/// Places in the registry.
const NEW: u32 = 1;
const GET: u32 = 2;
const ADD: u32 = 3;
const STOP: u32 = 4;
const GET_FEW: u32 = 5;
/// As [`ADD`], and may be called again.
const AGAIN: u32 = 6;
/// Saves the state of a lasting actor.
const SAVE: u32 = 7;
/// Constructors of lasting ones: with checkpoints for each call, for several together, and on demand.
const LASTING: u32 = 8;
const GROUPED: u32 = 9;
const ON_DEMAND: u32 = 10;
/// Methods of lasting ones.
const COUNT: u32 = 11;
const READ: u32 = 12;
/// Changes the state, and may wait in between.
const PAUSE: u32 = 13;
/// As [`COUNT`], of [`ON_DEMAND`].
const TALLY: u32 = 14;
/// Calls that may go into a checkpoint of [`GROUPED`].
const GROUP: u32 = 3;
/// Calls of [`GET`] that may run at once.
const TOGETHER: u32 = 3;

fn roles() -> Vec<Role> {
    vec![
        Role::Function,
        Role::Constructor,
        Role::Shared(TOGETHER),
        Role::Exclusive,
        Role::Stop,
        Role::Shared(TOGETHER - 1),
        Role::Exclusive,
        Role::Checkpoint,
        Role::Constructor,
        Role::Constructor,
        Role::Constructor,
        Role::Exclusive,
        Role::Shared(TOGETHER),
        Role::Exclusive,
        Role::Exclusive,
    ]
}

fn lasting() -> Vec<Option<Lasting>> {
    let lasting = |function: u32| {
        let checkpoints = match function {
            LASTING => Checkpoints::Every(1),
            GROUPED => Checkpoints::Every(GROUP),
            ON_DEMAND | TALLY => Checkpoints::OnDemand,
            COUNT | READ | PAUSE => Checkpoints::Every(1),
            _ => return None,
        };
        Some(Lasting { checkpoints, waits: function == PAUSE })
    };
    (0..roles().len() as u32).map(lasting).collect()
}

impl Node {
    /// Number `n`, with so many CPUs, that knows what its functions are to actors.
    fn with_actors(n: u64, cpus: u64) -> Self {
        let mut node = Node::new(n, cpus);
        node.core.tell_roles(roles());
        node.core.tell_lasting(lasting());
        node
    }

    fn on_actor(
        &mut self,
        function: u32,
        actor: Option<ObjectId>,
        restarts: u32,
        futures: &[&Arc<Cell>],
    ) -> Arc<Cell> {
        self.on_actor_from(None, function, actor, restarts, futures)
    }

    fn on_actor_from(
        &mut self,
        parent: Option<TaskKey>,
        function: u32,
        actor: Option<ObjectId>,
        restarts: u32,
        futures: &[&Arc<Cell>],
    ) -> Arc<Cell> {
        let spec = TemplateSpec {
            here: false,
            function,
            name: "f",
            shape: Resources::default(),
            retries: if matches!(function, NEW | AGAIN | LASTING | GROUPED | ON_DEMAND) { 3 } else { 0 },
            retry_errors: 0,
            checkpoints: lasting()[function as usize].map(|lasting| lasting.checkpoints),
            restarts,
            role: roles()[function as usize],
            logs: false,
        };
        let template = self.core.template(spec);
        let call = Submission {
            template,
            described: false,
            arguments: b"x",
            futures: futures.iter().map(|cell| cell.id()).collect(),
            contained: Vec::new(),
            deadline: None,
            parent,
            gate: None,
            place: None,
            actor,
        };
        self.core.submit(call, &mut self.fx)
    }

    fn create(&mut self, restarts: u32) -> Arc<Cell> {
        self.on_actor(NEW, None, restarts, &[])
    }

    fn method(&mut self, function: u32, actor: &Cell) -> Arc<Cell> {
        self.on_actor(function, Some(actor.id()), 0, &[])
    }

    /// Makes the actor whose constructor waits here.
    fn construct(&mut self) {
        let (key, start) = self.start_one();
        assert_eq!(start.function, NEW);
        self.finish(key, &start, b"", &[]);
    }

    /// Everything that can start now, a batch each.
    fn start_all(&mut self) -> Vec<(TaskKey, Vec<Start>)> {
        std::iter::from_fn(|| self.start()).collect()
    }

    /// The thread of the batch has run all of it.
    fn end(&mut self, key: TaskKey, starts: &[Start], value: &[u8]) {
        let mut finished = starts.iter().map(|start| start_ended(start, value)).collect();
        self.core.finish(key, &mut finished, &mut Vec::new(), &mut self.fx);
    }

    /// The thread of the batch panics in its first call, and gives the others back.
    fn panic(&mut self, key: TaskKey, starts: Vec<Start>) {
        let error = Error::simulated_panic(self.id());
        self.fail_first(key, starts, error);
    }

    fn fail_first(&mut self, key: TaskKey, mut starts: Vec<Start>, error: Error) {
        let first = starts.remove(0);
        let outcome = Err(error);
        let done = Finished {
            task: first.task,
            id: first.id,
            attempt: first.attempt,
            function: first.function,
            ran: 1_000,
            outcome,
        };
        self.core.report(key, &mut vec![done], &mut starts, &mut self.fx);
        self.core.finish(key, &mut Vec::new(), &mut Vec::new(), &mut self.fx);
    }
}

fn start_ended(start: &Start, value: &[u8]) -> Finished {
    Finished {
        task: start.task,
        id: start.id,
        attempt: start.attempt,
        function: start.function,
        ran: 1_000,
        outcome: Ok((Payload::copy_from(value), Vec::new())),
    }
}

/// A driver with an actor that lives in the worker.
fn pair(restarts: u32) -> (Node, Node, Arc<Cell>) {
    let (mut driver, mut worker) = (Node::with_actors(1, 0), Node::with_actors(2, 2));
    meet(&mut driver, &mut worker);
    let actor = driver.create(restarts);
    talk(&mut driver, &mut worker);
    worker.construct();
    talk(&mut driver, &mut worker);
    (driver, worker, actor)
}

fn error(cell: &Cell) -> String {
    match cell.outcome() {
        Some(Outcome::Failed(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn functions(batch: &(TaskKey, Vec<Start>)) -> Vec<u32> {
    batch.1.iter().map(|start| start.function).collect()
}

fn run_all(worker: &mut Node, peer: &mut Node) {
    loop {
        talk(peer, worker);
        let Some((key, starts)) = worker.start() else { return };
        worker.end(key, &starts, b"done");
    }
}

#[test]
fn what_changes_the_state_runs_alone_and_what_reads_it_together_in_the_order_made() {
    let (mut driver, mut worker, actor) = pair(0);
    let calls: Vec<_> =
        [GET, GET, ADD, GET, GET, GET, GET].iter().map(|f| driver.method(*f, &actor)).collect();
    talk(&mut driver, &mut worker);
    let together = worker.start_all();
    assert_eq!(together.iter().map(functions).collect::<Vec<_>>(), [vec![GET], vec![GET]]);
    let finish = |worker: &mut Node, (key, starts): &(TaskKey, Vec<Start>)| {
        starts.iter().for_each(|start| worker.finish(*key, start, b"", &[]));
    };
    finish(&mut worker, &together[1]);
    assert!(worker.start().is_none(), "one still reads");
    finish(&mut worker, &together[0]);
    let alone = worker.start_all();
    assert_eq!(alone.iter().map(functions).collect::<Vec<_>>(), [vec![ADD]]);
    finish(&mut worker, &alone[0]);
    // Now it is known that they are quick: a thread takes several.
    let rest: u32 = worker.start_all().iter().map(|batch| functions(batch).len() as u32).sum();
    assert_eq!(rest, 4);
    drop(calls);
}

#[test]
fn calls_that_a_task_makes_before_the_actor_is_there_run_in_the_order_made_too() {
    let (mut driver, mut worker) = (Node::with_actors(1, 0), Node::with_actors(2, 2));
    meet(&mut driver, &mut worker);
    let _task = driver.call(&[]);
    talk(&mut driver, &mut worker);
    let (task, _) = worker.start_one();
    let actor = worker.on_actor_from(Some(task), NEW, None, 0, &[]);
    let calls: Vec<_> =
        (0..3).map(|_| worker.on_actor_from(Some(task), ADD, Some(actor.id()), 0, &[])).collect();
    worker.construct();
    let mut started = Vec::new();
    while let Some((key, starts)) = worker.start() {
        started.extend(starts.iter().map(|start| start.id));
        worker.end(key, &starts, b"");
    }
    assert_eq!(started, calls.iter().map(|call| call.id()).collect::<Vec<_>>());
}

#[test]
fn no_more_calls_read_at_once_than_may() {
    let (mut driver, mut worker, actor) = pair(0);
    let _calls: Vec<_> = (0..TOGETHER + 2).map(|_| driver.method(GET, &actor)).collect();
    talk(&mut driver, &mut worker);
    assert_eq!(worker.start_all().len(), TOGETHER as usize);
}

#[test]
fn a_call_whose_argument_is_not_there_holds_back_what_follows_and_one_that_fails_holds_back_nothing() {
    let (mut driver, mut worker, actor) = pair(0);
    let argument = driver.call(&[]);
    let first = driver.on_actor(ADD, Some(actor.id()), 0, &[&argument]);
    let second = driver.method(ADD, &actor);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    assert_eq!(start.function, 0, "the argument is computed, and nothing else");
    assert!(worker.start().is_none());
    let done = Finished {
        task: start.task,
        id: start.id,
        attempt: start.attempt,
        function: 0,
        ran: 1_000,
        outcome: Err(Error::control("no")),
    };
    worker.core.finish(key, &mut vec![done], &mut Vec::new(), &mut worker.fx);
    run_all(&mut worker, &mut driver);
    assert!(error(&first).contains("no"));
    assert!(second.is_settled() && value(&second).is_some());
}

#[test]
fn an_actor_ends_with_its_last_handle_and_not_before_its_calls() {
    let (mut driver, mut worker, actor) = pair(0);
    let call = driver.method(ADD, &actor);
    driver.drop_handle(&actor);
    talk(&mut driver, &mut worker);
    assert!(worker.fx.ended_actors.is_empty());
    run_all(&mut worker, &mut driver);
    assert!(value(&call).is_some());
    assert_eq!(worker.fx.ended_actors.len(), 1);
    driver.drop_handle(&call);
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty() && worker.is_empty(), "{:?} {:?}", driver.core, worker.core);
}

#[test]
fn an_actor_that_panicked_while_it_changed_is_made_again_as_often_as_it_may_and_what_waited_goes_on() {
    let (mut driver, mut worker, actor) = pair(1);
    let calls: Vec<_> = (0..4).map(|_| driver.method(ADD, &actor)).collect();
    talk(&mut driver, &mut worker);
    let (key, starts) = worker.start().unwrap();
    worker.panic(key, starts);
    talk(&mut driver, &mut worker);
    worker.construct();
    talk(&mut driver, &mut worker);
    assert!(error(&calls[0]).contains("panicked"));
    let (key, starts) = worker.start().unwrap();
    assert_eq!(starts[0].id, calls[1].id());
    worker.panic(key, starts);
    talk(&mut driver, &mut worker);
    assert!(worker.start().is_none());
    assert!(error(&calls[1]).contains("panicked"));
    for call in &calls[2..] {
        assert!(error(call).contains("max_restarts"), "{}", error(call));
    }
    assert!(error(&driver.method(GET, &actor)).contains("max_restarts"));
}

#[test]
fn calls_that_a_dead_worker_may_have_started_end_and_the_others_go_to_the_actor_that_takes_its_place() {
    let (mut driver, mut worker, actor) = pair(1);
    let calls: Vec<_> = (0..3).map(|_| driver.method(ADD, &actor)).collect();
    talk(&mut driver, &mut worker);
    let (_, starts) = worker.start().unwrap();
    assert_eq!((starts[0].id, starts.len()), (calls[0].id(), 1));
    let mut other = Node::with_actors(3, 1);
    meet(&mut driver, &mut other);
    let number = starts[0].task.number;
    let exited = |lease: u32| Some(if lease == u32::MAX { 0 } else { number });
    driver.core.member_left(worker.id(), true, &exited, &mut driver.fx);
    talk(&mut driver, &mut other);
    assert!(error(&calls[0]).contains("died"));
    other.construct();
    run_all(&mut other, &mut driver);
    assert!(calls[1..].iter().all(|call| value(call).is_some()));
}

#[test]
fn an_actor_on_a_worker_that_may_live_is_made_again_only_when_that_has_surely_noticed() {
    let (mut driver, worker, actor) = pair(1);
    let mut other = Node::with_actors(3, 1);
    meet(&mut driver, &mut other);
    driver.core.member_left(worker.id(), true, &|_| None, &mut driver.fx);
    let call = driver.method(GET, &actor);
    talk(&mut driver, &mut other);
    assert!(other.start().is_none());
    driver.later(5_001);
    talk(&mut driver, &mut other);
    other.construct();
    run_all(&mut other, &mut driver);
    assert!(value(&call).is_some());
}

#[test]
fn an_actor_goes_on_that_has_awaited_a_call_that_panicked() {
    let (mut driver, mut worker, actor) = pair(0);
    let calls = [driver.method(ADD, &actor), driver.method(ADD, &actor)];
    talk(&mut driver, &mut worker);
    let (key, starts) = worker.start().unwrap();
    let elsewhere = Error::simulated_panic(worker.id()).passed_to("f");
    worker.fail_first(key, starts, elsewhere);
    run_all(&mut worker, &mut driver);
    assert!(error(&calls[0]).contains("panicked"));
    assert!(value(&calls[1]).is_some());
}

#[test]
fn stopping_runs_what_was_called_before_and_nothing_after() {
    let (mut driver, mut worker, actor) = pair(3);
    let [before, stop, after] = [ADD, STOP, ADD].map(|f| driver.method(f, &actor));
    run_all(&mut worker, &mut driver);
    assert!(value(&before).is_some() && value(&stop).is_some());
    assert!(error(&after).contains("stopped"));
    assert!(error(&driver.method(ADD, &actor)).contains("stopped"));
    assert_eq!(worker.fx.ended_actors.len(), 1);
}

#[test]
fn killing_ends_what_runs_and_what_waits_also_before_the_actor_is_there() {
    let (mut driver, mut worker, actor) = pair(3);
    let calls = [driver.method(ADD, &actor), driver.method(ADD, &actor)];
    talk(&mut driver, &mut worker);
    let (key, starts) = worker.start().unwrap();
    driver.core.kill_actor(actor.id(), &mut driver.fx);
    talk(&mut driver, &mut worker);
    assert!(calls.iter().all(|call| error(call).contains("ended")));
    worker.finish(key, &starts[0], b"too late", &[]);
    talk(&mut driver, &mut worker);
    let unborn = driver.create(0);
    let call = driver.method(ADD, &unborn);
    driver.core.kill_actor(unborn.id(), &mut driver.fx);
    assert!(error(&call).contains("killed") && error(&unborn).contains("killed"));
    // The constructor was on its way, and makes what nobody wants.
    talk(&mut driver, &mut worker);
    for (key, starts) in worker.start_all() {
        worker.finish(key, &starts[0], b"", &[]);
    }
    [actor, unborn, call].iter().chain(&calls).for_each(|cell| driver.drop_handle(cell));
    rest(&mut driver, &mut worker);
    assert!(driver.is_empty() && worker.is_empty(), "{:?} {:?}", driver.core, worker.core);
}

#[test]
fn a_borrower_calls_the_actor_where_it_lives_and_finds_it_again_where_it_is_made_again() {
    let (mut driver, mut worker, actor) = pair(1);
    let mut other = Node::with_actors(3, 1);
    meet(&mut driver, &mut other);
    meet(&mut worker, &mut other);
    let all = |nodes: &mut [&mut Node; 3]| {
        for _ in 0..6 {
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                let (left, right) = nodes.split_at_mut(b);
                talk(left[a], right[0]);
            }
        }
    };
    let handle = other.core.adopt(actor.id(), Origin::Here, &mut other.fx);
    let first = other.method(ADD, &handle);
    all(&mut [&mut driver, &mut worker, &mut other]);
    let (key, start) = worker.start_one();
    assert_eq!(start.id.owner, other.id());
    worker.finish(key, &start, b"first", &[]);
    all(&mut [&mut driver, &mut worker, &mut other]);
    assert_eq!(value(&first).unwrap(), b"first");
    // The worker is gone for both; the actor is made again in the borrower.
    let exited = |_: u32| Some(0);
    other.core.member_left(worker.id(), true, &exited, &mut other.fx);
    let second = other.method(ADD, &handle);
    talk(&mut driver, &mut other);
    driver.core.member_left(worker.id(), true, &exited, &mut driver.fx);
    // The owner, which had not noticed, has sent it there once more, and there is nobody.
    other.core.ended_session(worker.id(), None, &exited, &mut other.fx);
    talk(&mut driver, &mut other);
    other.construct();
    talk(&mut driver, &mut other);
    other.later(60);
    run_all(&mut other, &mut driver);
    assert!(value(&second).is_some());
    // It ends for both when it is killed.
    other.core.kill_actor(actor.id(), &mut other.fx);
    talk(&mut driver, &mut other);
    let third = other.method(ADD, &handle);
    talk(&mut driver, &mut other);
    assert!(error(&third).contains("killed"), "{}", error(&third));
}

#[test]
fn a_large_result_that_is_lost_is_not_computed_again_since_the_state_has_moved_on() {
    let (mut driver, mut worker, actor) = pair(1);
    let call = driver.method(AGAIN, &actor);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, &[7; 2 * INLINE_BYTES], &[]);
    talk(&mut driver, &mut worker);
    assert!(matches!(call.outcome(), Some(Outcome::Stored { .. })));
    // What was called after it goes on.
    let next = driver.method(AGAIN, &actor);
    driver.drop_handle(&actor);
    let mut other = Node::with_actors(3, 1);
    meet(&mut driver, &mut other);
    driver.core.member_left(worker.id(), true, &|_| Some(0), &mut driver.fx);
    assert!(error(&call).contains("lost"));
    talk(&mut driver, &mut other);
    other.construct();
    run_all(&mut other, &mut driver);
    assert!(value(&next).is_some());
}

#[test]
fn what_was_called_before_and_after_a_stop_is_never_in_one_batch_with_it() {
    let (mut driver, mut worker, actor) = pair(0);
    // It is known that they are quick.
    for function in [ADD, STOP] {
        let other = driver.create(0);
        let call = driver.method(function, &other);
        talk(&mut driver, &mut worker);
        worker.construct();
        run_all(&mut worker, &mut driver);
        assert!(value(&call).is_some());
    }
    let _calls = [ADD, ADD, STOP, ADD].map(|f| driver.method(f, &actor));
    talk(&mut driver, &mut worker);
    let (key, starts) = worker.start().unwrap();
    assert_eq!(starts.iter().map(|s| s.function).collect::<Vec<_>>(), [ADD, ADD]);
    worker.end(key, &starts, b"");
    let (key, starts) = worker.start().unwrap();
    assert_eq!(starts.iter().map(|s| s.function).collect::<Vec<_>>(), [STOP]);
    worker.end(key, &starts, b"");
    assert!(worker.start().is_none());
}

#[test]
fn methods_of_different_limits_are_never_in_one_batch() {
    let (mut driver, mut worker, actor) = pair(0);
    let first = driver.method(GET, &actor);
    run_all(&mut worker, &mut driver);
    let _rest = [GET, GET, GET_FEW, GET, GET].map(|f| driver.method(f, &actor));
    talk(&mut driver, &mut worker);
    let batches: Vec<_> = worker.start_all().iter().map(functions).collect();
    assert_eq!(batches, [vec![GET, GET], vec![GET_FEW], vec![GET, GET]]);
    assert!(value(&first).is_some());
}

#[test]
fn an_actor_that_was_made_again_where_it_was_is_not_given_up_for_a_late_word_of_its_first_end() {
    let (mut driver, mut worker, actor) = pair(1);
    let mut other = Node::with_actors(3, 0);
    meet(&mut driver, &mut other);
    meet(&mut worker, &mut other);
    let handle = other.core.adopt(actor.id(), Origin::Here, &mut other.fx);
    let _call = other.method(ADD, &handle);
    talk(&mut driver, &mut other);
    talk(&mut worker, &mut other);
    let (key, starts) = worker.start().unwrap();
    worker.panic(key, starts);
    // Its owner has made it again before it hears what the borrower has found.
    let late = {
        talk(&mut worker, &mut other);
        other.say(&driver)
    };
    talk(&mut driver, &mut worker);
    worker.construct();
    talk(&mut driver, &mut worker);
    driver.hear(&other, &late);
    talk(&mut driver, &mut worker);
    assert!(worker.start().is_none(), "it is made once more");
    let call = driver.method(ADD, &actor);
    run_all(&mut worker, &mut driver);
    assert!(value(&call).is_some());
}
