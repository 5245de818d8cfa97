//! Lasting actors: answers wait for checkpoints, and each call has run once, whatever happened in between.

use super::*;
use crate::core::checkpoint::{MOST_CHECKPOINT, state_in};

/// A driver with a lasting actor that lives in the worker, made by `function`, and what that has become there.
fn lasting(function: u32, restarts: u32) -> (Node, Node, Arc<Cell>, u8) {
    let (mut driver, mut worker) = (Node::with_actors(1, 0), Node::with_actors(2, 2));
    meet(&mut driver, &mut worker);
    let actor = driver.on_actor(function, None, restarts, &[]);
    let mut n = 0;
    run(&mut worker, &mut n, &mut driver);
    (driver, worker, actor, n)
}

impl Node {
    /// Does what a thread would with calls of an actor that counts how often it was changed, and says so.
    fn work(&mut self, n: &mut u8) -> Option<Vec<u32>> {
        let (key, starts) = self.start()?;
        let batch = (key, starts);
        let ran = functions(&batch);
        for start in &batch.1 {
            match start.function {
                LASTING | GROUPED | ON_DEMAND => {
                    let saved = start.checkpoint.as_ref().map(|checkpoint| state_in(checkpoint).unwrap());
                    *n = saved.map_or(0, |state| state[0]);
                }
                COUNT | TALLY | PAUSE => *n += 1,
                _ => {}
            }
        }
        // Within a batch they would differ, which is of no matter here.
        self.end(batch.0, &batch.1, &[*n]);
        Some(ran)
    }

    /// Has a checkpoint saved, which must be due.
    fn save(&mut self, n: u8) {
        let (key, start) = self.start_one();
        assert_eq!(start.function, SAVE);
        self.finish(key, &start, &[n], &[]);
    }

    /// Another worker, in place of one that has provably exited. It has started all that it was given.
    fn replaced(&mut self, worker: Node) -> Node {
        let mut other = Node::with_actors(worker.id().get() + 10, 2);
        meet(self, &mut other);
        self.core.member_left(worker.id(), true, &|_| Some(u32::MAX), &mut self.fx);
        other
    }
}

fn run(worker: &mut Node, n: &mut u8, peer: &mut Node) {
    talk(peer, worker);
    while worker.work(n).is_some() {
        talk(peer, worker);
    }
}

fn ended(cell: &Cell) -> Option<u8> {
    value(cell).map(|value| value[0])
}

fn clean(driver: &mut Node, worker: &mut Node, cells: &[&Arc<Cell>]) {
    cells.iter().for_each(|cell| driver.drop_handle(cell));
    rest(driver, worker);
    assert!(driver.is_empty() && worker.is_empty(), "{:?} {:?}", driver.core, worker.core);
}

#[test]
fn an_answer_waits_until_a_checkpoint_that_covers_it_is_kept() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls = [driver.method(COUNT, &actor), driver.method(READ, &actor)];
    talk(&mut driver, &mut worker);
    assert_eq!(worker.work(&mut n), Some(vec![COUNT]));
    let (saving, save) = worker.start_one();
    assert_eq!(
        (save.function, worker.work(&mut n)),
        (SAVE, Some(vec![READ])),
        "it is read while it is saved"
    );
    talk(&mut driver, &mut worker);
    assert!(calls.iter().all(|call| !call.is_settled()));
    worker.finish(saving, &save, &[n], &[]);
    let saved = driver.method(READ, &actor);
    let asked = driver.say(&worker);
    worker.hear(&driver, &asked);
    worker.work(&mut n);
    let checkpoint = worker.say(&driver);
    driver.hear(&worker, &checkpoint);
    let unsettled = calls.iter().chain([&saved]).all(|call| !call.is_settled());
    assert!(unsettled, "the worker does not know yet that it is kept");
    talk(&mut driver, &mut worker);
    assert!(calls.iter().chain([&saved]).all(|call| ended(call) == Some(1)));
    assert!(worker.start().is_none(), "nothing has changed since");
    let read = driver.method(READ, &actor);
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    talk(&mut driver, &mut worker);
    assert_eq!(ended(&read), Some(1), "what is read of what is kept waits for nothing");
    clean(&mut driver, &mut worker, &[&calls[0], &calls[1], &saved, &read, &actor]);
}

#[test]
fn however_many_calls_end_while_one_checkpoint_is_on_its_way_share_the_next() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls: Vec<_> = (0..5).map(|_| driver.method(COUNT, &actor)).collect();
    talk(&mut driver, &mut worker);
    assert_eq!(worker.work(&mut n), Some(vec![COUNT]));
    worker.save(n);
    let checkpoint = worker.say(&driver);
    while n < 5 {
        assert!(worker.work(&mut n).is_some_and(|ran| ran.iter().all(|function| *function == COUNT)));
    }
    assert!(worker.start().is_none(), "one is on its way");
    driver.hear(&worker, &checkpoint);
    talk(&mut driver, &mut worker);
    assert_eq!(calls.iter().filter(|call| call.is_settled()).count(), 1);
    worker.save(n);
    talk(&mut driver, &mut worker);
    assert!(calls.iter().all(|call| call.is_settled()) && worker.start().is_none());
}

#[test]
fn one_is_taken_when_so_many_calls_have_ended_or_none_waits() {
    let (mut driver, mut worker, actor, mut n) = lasting(GROUPED, 1);
    let calls: Vec<_> = (0..GROUP + 1).map(|_| driver.method(COUNT, &actor)).collect();
    talk(&mut driver, &mut worker);
    let mut ran = Vec::new();
    while let Some(batch) = worker.work(&mut n) {
        talk(&mut driver, &mut worker);
        ran.extend(batch);
    }
    let many = ran.iter().position(|function| *function == SAVE).unwrap();
    assert!(many >= GROUP as usize, "{ran:?}");
    assert_eq!(ran.last(), Some(&SAVE), "{ran:?}");
    assert!(calls.iter().all(|call| call.is_settled()));
}

#[test]
fn a_call_that_a_kept_checkpoint_covers_is_answered_by_the_next_incarnation_and_not_run_again() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls = [driver.method(COUNT, &actor), driver.method(COUNT, &actor)];
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    worker.save(n);
    let checkpoint = worker.say(&driver);
    assert_eq!(worker.work(&mut n), Some(vec![COUNT]), "the second is not in it");
    driver.hear(&worker, &checkpoint);
    let mut other = driver.replaced(worker);
    talk(&mut driver, &mut other);
    let mut ran = Vec::new();
    while let Some(batch) = other.work(&mut n) {
        talk(&mut driver, &mut other);
        ran.extend(batch);
    }
    assert_eq!(ran, [LASTING, COUNT, SAVE]);
    assert_eq!(calls.each_ref().map(|call| ended(call)), [Some(1), Some(2)]);
    clean(&mut driver, &mut other, &[&calls[0], &calls[1], &actor]);
}

#[test]
fn what_no_checkpoint_covers_has_left_no_trace_and_is_run_again() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls = [COUNT, READ, COUNT].map(|function| driver.method(function, &actor));
    talk(&mut driver, &mut worker);
    for _ in 0..3 {
        worker.work(&mut n);
    }
    let mut other = driver.replaced(worker);
    run(&mut other, &mut n, &mut driver);
    assert_eq!(calls.each_ref().map(|call| ended(call)), [Some(1), Some(1), Some(2)]);
}

#[test]
fn calls_end_when_the_actor_cannot_be_made_again() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 0);
    let calls = [COUNT, READ].map(|function| driver.method(function, &actor));
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    let mut other = driver.replaced(worker);
    run(&mut other, &mut n, &mut driver);
    assert!(calls.iter().all(|call| error(call).contains("max_restarts")));
}

#[test]
fn a_panic_is_answered_and_undoes_what_is_not_kept_which_is_run_again() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls = [(); 3].map(|()| driver.method(COUNT, &actor));
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    worker.save(n);
    let (key, starts) = worker.start().unwrap();
    assert_eq!((starts[0].id, starts[1].id), (calls[1].id(), calls[2].id()));
    let mut done: Vec<_> = starts.iter().map(|start| start_ended(start, b"lost")).collect();
    done[1].outcome = Err(Error::simulated_panic(worker.id()));
    worker.core.finish(key, &mut done, &mut Vec::new(), &mut worker.fx);
    talk(&mut driver, &mut worker);
    assert!(error(&calls[2]).contains("panicked") && !calls[1].is_settled());
    run(&mut worker, &mut n, &mut driver);
    assert_eq!((ended(&calls[0]), ended(&calls[1]), n), (Some(1), Some(2), 2));
}

#[test]
fn a_call_that_comes_again_while_it_runs_is_run_once() {
    let (mut driver, mut worker) = (Node::with_actors(1, 0), Node::with_actors(2, 2));
    let mut other = Node::with_actors(3, 0);
    meet(&mut driver, &mut worker);
    meet(&mut driver, &mut other);
    meet(&mut worker, &mut other);
    let actor = driver.on_actor(LASTING, None, 1, &[]);
    let mut n = 0;
    run(&mut worker, &mut n, &mut driver);
    let handle = other.core.adopt(actor.id(), Origin::Here, &mut other.fx);
    let call = other.method(COUNT, &handle);
    for _ in 0..4 {
        talk(&mut driver, &mut other);
        talk(&mut worker, &mut other);
    }
    let (key, start) = worker.start_one();
    // Their session ends, and another begins.
    other.core.ended_session(worker.id(), None, &|_| None, &mut other.fx);
    worker.core.ended_session(other.id(), None, &|_| None, &mut worker.fx);
    assert!(!worker.fx.abandon.contains(&key), "half of it would be left");
    meet(&mut worker, &mut other);
    for _ in 0..4 {
        other.later(60);
        talk(&mut driver, &mut other);
        talk(&mut worker, &mut other);
    }
    assert!(worker.start().is_none(), "the first runs");
    worker.finish(key, &start, &[1], &[]);
    worker.save(1);
    talk(&mut driver, &mut worker);
    talk(&mut worker, &mut other);
    assert_eq!(ended(&call), Some(1));
    assert!(worker.start().is_none());
}

#[test]
fn calls_whose_effect_cannot_be_saved_say_so_and_the_actor_falls_back() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let first = driver.method(COUNT, &actor);
    run(&mut worker, &mut n, &mut driver);
    assert_eq!(ended(&first), Some(1));
    let second = driver.method(COUNT, &actor);
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    let (key, start) = worker.start_one();
    worker.fail_first(key, vec![start], Error::checkpoint("Counter", "no room"));
    talk(&mut driver, &mut worker);
    assert!(error(&second).contains("no room") && error(&second).contains("Counter"), "{}", error(&second));
    let third = driver.method(COUNT, &actor);
    run(&mut worker, &mut n, &mut driver);
    assert_eq!(ended(&third), Some(2), "the second has had no effect");
    // Once more, and it has ended.
    let fourth = driver.method(COUNT, &actor);
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    let (key, start) = worker.start_one();
    worker.end(key, &[start], &vec![0; MOST_CHECKPOINT]);
    talk(&mut driver, &mut worker);
    assert!(error(&fourth).contains("12 MiB"), "{}", error(&fourth));
    assert!(error(&driver.method(COUNT, &actor)).contains("max_restarts"));
}

#[test]
fn what_is_refused_by_whoever_keeps_checkpoints_is_said_too() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls = [driver.method(COUNT, &actor), driver.method(COUNT, &actor)];
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    worker.save(n);
    let sent = worker.say(&driver);
    // To its owner it is not the current one.
    driver.core.table.get_mut(actor.id().seq).unwrap().attempt += 1;
    driver.hear(&worker, &sent);
    driver.core.table.get_mut(actor.id().seq).unwrap().attempt -= 1;
    worker.work(&mut n);
    let refused = Err("the store is full".to_owned());
    worker.core.checkpoint_ended(actor.id(), 1, 1, refused, &mut worker.fx);
    run(&mut worker, &mut n, &mut driver);
    assert!(error(&calls[0]).contains("the store is full"), "{}", error(&calls[0]));
    assert_eq!((ended(&calls[1]), n), (Some(1), 1), "it was not in that checkpoint");
}

#[test]
fn an_actor_stops_once_all_is_kept() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let [before, stop, after] = [COUNT, STOP, COUNT].map(|function| driver.method(function, &actor));
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    worker.save(n);
    assert!(worker.start().is_none(), "it is not kept");
    run(&mut worker, &mut n, &mut driver);
    assert!(ended(&before) == Some(1) && stop.is_settled() && error(&after).contains("stopped"));
    clean(&mut driver, &mut worker, &[&before, &stop, &after, &actor]);
}

#[test]
fn what_may_pause_starts_once_what_was_before_is_saved() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    let calls = [COUNT, PAUSE, PAUSE].map(|function| driver.method(function, &actor));
    talk(&mut driver, &mut worker);
    worker.work(&mut n);
    worker.save(n);
    // The first has its answer while the second runs, and may be what that waits for.
    let (key, start) = worker.start_one();
    assert_eq!(start.function, PAUSE);
    talk(&mut driver, &mut worker);
    assert!(calls[0].is_settled() && !calls[1].is_settled());
    worker.finish(key, &start, &[2], &[]);
    worker.save(2);
    run(&mut worker, &mut n, &mut driver);
    assert!(calls.iter().all(|call| call.is_settled()));
}

#[test]
fn on_demand_nothing_waits_but_who_asks_for_a_checkpoint_which_remembers_what_was_answered() {
    let (mut driver, mut worker, actor, mut n) = lasting(ON_DEMAND, 2);
    let first = driver.method(TALLY, &actor);
    run(&mut worker, &mut n, &mut driver);
    assert_eq!(ended(&first), Some(1));
    let asked = driver.method(SAVE, &actor);
    talk(&mut driver, &mut worker);
    worker.save(n);
    let checkpoint = worker.say(&driver);
    assert!(!asked.is_settled());
    driver.hear(&worker, &checkpoint);
    talk(&mut driver, &mut worker);
    assert!(value(&asked).is_some());
    let lost = driver.method(TALLY, &actor);
    run(&mut worker, &mut n, &mut driver);
    assert_eq!(ended(&lost), Some(2));
    // A checkpoint of another incarnation would not be that of this one.
    let [asked_again, cut_short] = [SAVE, TALLY].map(|function| driver.method(function, &actor));
    talk(&mut driver, &mut worker);
    let mut other = driver.replaced(worker);
    run(&mut other, &mut n, &mut driver);
    assert!(error(&asked_again).contains("died") && error(&cut_short).contains("died"));
    let read = driver.method(READ, &actor);
    run(&mut other, &mut n, &mut driver);
    assert_eq!(ended(&read), Some(1), "as it was saved");
}

#[test]
fn a_result_with_handles_in_it_is_refused() {
    let (mut driver, mut worker, actor, _) = lasting(LASTING, 1);
    let call = driver.method(COUNT, &actor);
    talk(&mut driver, &mut worker);
    let (key, start) = worker.start_one();
    worker.finish(key, &start, b"", &[actor.id()]);
    worker.save(1);
    talk(&mut driver, &mut worker);
    assert!(error(&call).contains("checkpoint"), "{}", error(&call));
}

#[test]
fn a_caller_that_is_done_with_its_answers_says_so() {
    let (mut driver, mut worker, actor, mut n) = lasting(LASTING, 1);
    for expected in 1..=20 {
        let call = driver.method(COUNT, &actor);
        run(&mut worker, &mut n, &mut driver);
        assert_eq!(ended(&call), Some(expected));
        driver.drop_handle(&call);
    }
    let said = format!("{:?}", worker.core);
    assert!(said.contains("1 answers remembered"), "{said}");
}
