//! Where values are, where tasks run because of that, and what becomes of copies.

use super::{
    super::{Found, Got, SetAside, message::Places},
    *,
};
use crate::{error::Error, objects::Spilled};

/// Larger than what travels inside a message, and smaller than what is not moved.
const LARGE: usize = 500;
/// Larger than what is moved where it can be helped.
const HUGE: usize = 2_000;

/// A driver and two workers with one slot each.
struct Three {
    driver: Node,
    workers: [Node; 2],
}

impl Three {
    fn new() -> Self {
        let (mut driver, mut first, mut second) = (Node::new(1, 0), Node::new(2, 1), Node::new(3, 1));
        meet(&mut driver, &mut first);
        meet(&mut driver, &mut second);
        meet(&mut first, &mut second);
        Three { driver, workers: [first, second] }
    }

    fn talk(&mut self) {
        let [first, second] = &mut self.workers;
        for _ in 0..3 {
            talk(&mut self.driver, first);
            talk(&mut self.driver, second);
            talk(first, second);
        }
    }

    fn later(&mut self, millis: u64) {
        self.talk();
        for node in self.workers.iter_mut().chain([&mut self.driver]) {
            node.later(millis);
        }
        self.talk();
    }

    /// A value of so many bytes that the first worker has computed and keeps.
    fn value(&mut self, len: usize) -> Arc<Cell> {
        let at = At::Process(self.workers[0].id());
        let call = self.driver.placed(at, true, &[]);
        self.talk();
        let (key, start) = self.workers[0].start_one();
        self.workers[0].finish(key, &start, &vec![7; len], &[]);
        self.talk();
        assert!(matches!(call.outcome(), Some(Outcome::Stored { .. })));
        call
    }

    /// The first worker is busy, for ever.
    fn occupy(&mut self) {
        let at = At::Process(self.workers[0].id());
        self.driver.placed(at, true, &[]);
        self.talk();
        self.workers[0].start_one();
    }

    /// Whether a worker has something to start, now.
    fn can_start(&self) -> [bool; 2] {
        [0, 1].map(|n| self.workers[n].core.could_start())
    }

    /// The second worker has fetched what it was to fetch.
    fn fetch(&mut self, id: ObjectId) {
        let Some(Found::Here(value)) = self.workers[0].core.object(id, 0) else {
            panic!("it is not kept there")
        };
        let Node { core, fx } = &mut self.workers[1];
        let attempt = fx.fetch[0].places.attempt;
        assert_eq!(fx.fetch.len(), 1);
        fx.fetch.clear();
        core.fetched(id, attempt, Got::Value { value, copied: true }, fx);
        self.talk();
    }

    /// The first worker is gone, for certain.
    fn lose(&mut self) {
        let id = self.workers[0].id();
        for node in [1, 0] {
            let node = if node == 0 { &mut self.driver } else { &mut self.workers[1] };
            node.core.ended_session(id, None, &|_| None, &mut node.fx);
            node.core.member_left(id, true, &|_| None, &mut node.fx);
        }
        talk(&mut self.driver, &mut self.workers[1]);
    }
}

#[test]
fn a_task_is_not_moved_away_from_huge_arguments_while_their_worker_is_there() {
    let mut three = Three::new();
    let (large, huge) = (three.value(LARGE), three.value(HUGE));
    three.occupy();
    let _there = three.driver.call(&[&huge]);
    three.later(200);
    assert_eq!((three.can_start(), three.workers[1].fx.fetch.len()), ([false, false], 0));
    let _anywhere = three.driver.call(&[&large]);
    three.later(200);
    three.fetch(large.id());
    assert_eq!(three.can_start(), [false, true]);
}

#[test]
fn bytes_count_together_and_copies_count() {
    let mut three = Three::new();
    let parts: Vec<_> = (0..3).map(|_| three.value(LARGE)).collect();
    let all: Vec<_> = parts.iter().collect();
    three.occupy();
    let call = three.driver.call(&all);
    let place = |three: &Three| three.driver.core.place_for(call.id().seq);
    assert_eq!(place(&three), Some(three.workers[0].id()));
    let _uses = three.driver.placed(At::Process(three.workers[1].id()), true, &[&parts[0]]);
    three.later(50);
    three.fetch(parts[0].id());
    assert_eq!(place(&three), None, "no more than is moved anyway");
}

#[test]
fn a_task_goes_to_others_once_the_worker_with_its_huge_arguments_is_gone() {
    let mut three = Three::new();
    let huge = three.driver.put(&[1; 10]);
    let near = three.driver.placed(At::Process(three.workers[0].id()), false, &[&huge]);
    three.lose();
    three.driver.later(30);
    talk(&mut three.driver, &mut three.workers[1]);
    assert!(three.workers[1].core.could_start() && !near.is_settled());
}

#[test]
fn near_is_a_wish_for_a_while_and_with_is_a_must() {
    let mut three = Three::new();
    let value = three.value(LARGE);
    three.occupy();
    let _near = three.driver.placed(At::Value(value.id()), false, &[]);
    let with = three.driver.placed(At::Value(value.id()), true, &[]);
    three.later(1_900);
    assert_eq!(three.can_start(), [false, false]);
    for _ in 0..3 {
        three.later(100);
    }
    assert_eq!(three.can_start(), [false, true], "the wish alone: {:?}", three.driver.core);
    three.later(60_000);
    assert!(!with.is_settled(), "its worker is there, and busy");
    assert_eq!(three.driver.core.place_for(with.id().seq), Some(three.workers[0].id()));
}

#[test]
fn with_waits_for_the_value_and_fails_with_it() {
    let mut three = Three::new();
    let value = three.driver.call(&[]);
    let with = three.driver.placed(At::Value(value.id()), true, &[]);
    three.driver.core.cancel(value.id(), &mut three.driver.fx);
    assert!(matches!(with.outcome(), Some(Outcome::Failed(_))));
}

#[test]
fn what_must_run_in_a_process_that_is_gone_is_unschedulable() {
    let mut three = Three::new();
    let on = three.driver.placed(At::Process(three.workers[0].id()), true, &[]);
    three.lose();
    three.later(25);
    three.later(29_000);
    assert!(!on.is_settled());
    three.later(1_000);
    match on.outcome() {
        Some(Outcome::Failed(e)) => {
            assert!(matches!(*e, Error::Unschedulable { .. }), "{e}");
            assert!(e.to_string().contains("is no worker of the cluster"), "{e}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_takes_the_place_of_a_value_whose_keeper_is_gone() {
    let mut three = Three::new();
    let value = three.value(LARGE);
    let uses = three.driver.placed(At::Process(three.workers[1].id()), true, &[&value]);
    three.talk();
    three.fetch(value.id());
    three.lose();
    let second = three.workers[1].id();
    assert_eq!(three.driver.core.places_of(value.id()).holder, second);
    assert!(value.is_stored(), "it is not computed again");
    // It is no longer one that goes when nobody wants it for a while.
    let (key, start) = three.workers[1].start_one();
    three.workers[1].finish(key, &start, b"used", &[]);
    for _ in 0..4 {
        three.driver.later(5_000);
        three.workers[1].later(5_000);
        talk(&mut three.driver, &mut three.workers[1]);
    }
    assert!(matches!(three.workers[1].core.object(value.id(), 0), Some(Found::Here(_))));
    // Like all that is kept it leaves memory when that is full.
    let Node { core, fx } = &mut three.workers[1];
    let aside = core.set_aside(&mut |value| Ok(Spilled::simulated(value)), fx);
    assert!(matches!(aside, SetAside::One(id, _) if id == value.id()), "{aside:?}");
    assert!(matches!(core.object(value.id(), 0), Some(Found::Away(_))));
    three.driver.drop_handle(&value);
    three.driver.drop_handle(&uses);
    rest(&mut three.driver, &mut three.workers[1]);
    assert!(three.workers[1].is_empty() && three.driver.is_empty(), "{:?}", three.workers[1].core);
}

#[test]
fn a_copy_takes_the_place_of_what_its_owner_cannot_read_from_its_disk() {
    let mut three = Three::new();
    let value = three.driver.put(&[7; LARGE]);
    let _uses = three.driver.placed(At::Process(three.workers[1].id()), true, &[&value]);
    three.talk();
    let bytes = Payload::copy_from(&[7; LARGE]);
    let second = three.workers[1].id();
    let Node { core, fx } = &mut three.workers[1];
    core.fetched(value.id(), 0, Got::Value { value: bytes, copied: true }, fx);
    three.talk();
    let Node { core, fx } = &mut three.driver;
    let aside = core.set_aside(&mut |value| Ok(Spilled::simulated(value)), fx);
    let SetAside::One(id, spilled) = aside else { panic!("{aside:?}") };
    assert!(value.first_ask());
    core.ask(id, true, fx);
    let fetch = fx.fetch.pop().expect("it is brought back");
    assert_eq!(fetch.places.all().collect::<Vec<_>>(), [core.me(), second]);
    core.is_damaged(id, &spilled, fx);
    core.fetched(id, 0, Got::Nothing, fx);
    assert_eq!(fx.fetch.pop().expect("it is elsewhere").places.holder, second);
    assert_eq!(core.places_of(id).holder, second);
    three.talk();
    assert!(three.workers[1].core.objects.stored.has(id));
}

#[test]
fn a_copy_that_was_dropped_takes_no_place_and_the_value_is_computed_again() {
    let mut three = Three::new();
    let value = three.value(LARGE);
    let _uses = three.driver.placed(At::Process(three.workers[1].id()), true, &[&value]);
    three.talk();
    three.fetch(value.id());
    let Node { core, fx } = &mut three.workers[1];
    core.drop_copies(fx);
    // The owner does not know yet.
    let first = three.workers[0].id();
    three.driver.core.ended_session(first, None, &|_| None, &mut three.driver.fx);
    three.driver.core.member_left(first, true, &|_| None, &mut three.driver.fx);
    assert_eq!(three.driver.core.places_of(value.id()).holder, three.workers[1].id());
    talk(&mut three.driver, &mut three.workers[1]);
    assert!(!value.is_settled(), "it is to be computed again");
}

#[test]
fn what_another_attempt_gave_is_another_value() {
    let mut three = Three::new();
    let value = three.value(LARGE);
    let id = value.id();
    let _uses = three.driver.placed(At::Process(three.workers[1].id()), true, &[&value]);
    three.talk();
    three.fetch(id);
    let had = |core: &mut Core| [0, 1, 2].map(|attempt| core.object(id, attempt).is_some());
    // As who keeps it has it, and as a copy.
    for worker in &mut three.workers {
        assert_eq!(had(&mut worker.core), [true, true, false]);
    }
    // As it is on disk, and as it came back.
    let Node { core, fx } = &mut three.workers[0];
    let SetAside::One(_, spilled) = core.set_aside(&mut |value| Ok(Spilled::simulated(value)), fx) else {
        panic!("it is in use")
    };
    assert_eq!(had(core), [true, true, false]);
    core.came_back(id, &spilled, Payload::copy_from(&[7; LARGE]), fx);
    assert_eq!(had(core), [true, true, false]);
    // As a copy in whose keeping it is from now on.
    three.lose();
    assert!(three.workers[1].core.objects.stored.has(id));
    assert_eq!(had(&mut three.workers[1].core), [true, true, false]);
    // What was put is made once.
    let put = three.driver.put(&[1; LARGE]).id();
    assert!([0, 1].iter().all(|attempt| three.driver.core.object(put, *attempt).is_some()));
}

#[test]
fn bytes_that_come_late_of_an_attempt_that_was_lost_are_not_the_value() {
    let mut three = Three::new();
    let call = three.driver.placed(At::Process(three.workers[0].id()), false, &[]);
    three.talk();
    let (key, start) = three.workers[0].start_one();
    three.workers[0].finish(key, &start, &[7; LARGE], &[]);
    three.talk();
    let id = call.id();
    assert!(call.first_ask());
    three.driver.core.ask(id, true, &mut three.driver.fx);
    let first = three.driver.fx.fetch.pop().expect("it is fetched");
    assert_eq!(first.places.attempt, 1);
    three.lose();
    three.driver.later(50);
    talk(&mut three.driver, &mut three.workers[1]);
    let (key, start) = three.workers[1].start_one();
    three.workers[1].finish(key, &start, &[8; LARGE], &[]);
    talk(&mut three.driver, &mut three.workers[1]);
    let second = three.driver.fx.fetch.pop().expect("it is fetched again");
    assert_eq!((second.places.attempt, second.len), (2, first.len));
    let got = |byte| Got::Value { value: Payload::copy_from(&[byte; LARGE]), copied: true };
    let Node { core, fx } = &mut three.driver;
    core.fetched(id, 1, got(7), fx);
    assert!(matches!(call.outcome(), Some(Outcome::Stored { .. })));
    core.fetched(id, 2, got(8), fx);
    assert_eq!(value(&call).unwrap(), [8; LARGE]);
}

#[test]
fn a_borrower_that_has_the_value_of_one_attempt_is_not_made_to_have_that_of_another() {
    let (mut node, owner) = (Node::new(1, 0), ProcessId::new(2).unwrap());
    let id = ObjectId { owner, seq: 9 };
    let Node { core, fx } = &mut node;
    let cell = core.adopt(id, Origin::Here, fx);
    core.ask(id, true, fx);
    let places = |attempt| Places { holder: owner, copies: Vec::new(), attempt };
    core.told_stored(owner, id.seq, places(1), LARGE as u64, fx);
    core.ask(id, true, fx);
    core.fetched(id, 1, Got::Value { value: Payload::copy_from(&[7; LARGE]), copied: true }, fx);
    assert_eq!(value(&cell).unwrap(), [7; LARGE]);
    core.told_stored(owner, id.seq, places(2), LARGE as u64, fx);
    assert_eq!([1, 2].map(|attempt| core.object(id, attempt).is_some()), [true, false]);
    // Nor does it keep it as such.
    for (attempt, keeps) in [(2, false), (1, true)] {
        core.keep_copy(id, attempt, fx);
        assert_eq!(core.objects.stored.has(id), keeps, "attempt {attempt}");
    }
}

#[test]
fn a_copy_that_its_owner_frees_is_gone_at_once() {
    let mut three = Three::new();
    let value = three.value(LARGE);
    let uses = three.driver.placed(At::Process(three.workers[1].id()), true, &[&value]);
    three.talk();
    three.fetch(value.id());
    let (key, start) = three.workers[1].start_one();
    three.workers[1].finish(key, &start, b"used", &[]);
    three.talk();
    for cell in [&value, &uses] {
        three.driver.drop_handle(cell);
    }
    three.talk();
    assert!([0, 1].iter().all(|n| three.workers[*n].core.object(value.id(), 0).is_none()));
}

#[test]
fn a_task_whose_argument_finds_no_room_fails_with_that() {
    let mut three = Three::new();
    let value = three.value(LARGE);
    let call = three.driver.placed(At::Process(three.workers[1].id()), true, &[&value]);
    three.talk();
    let full = || Got::NoRoom(Error::StoreFull { message: "full".into() });
    let Node { core, fx } = &mut three.workers[1];
    core.fetched(value.id(), 1, full(), fx);
    three.talk();
    assert!(matches!(call.outcome(), Some(Outcome::Failed(e)) if matches!(*e, Error::StoreFull { .. })));
    assert!(value.is_stored(), "others may have room");
    // Its owner wants it itself.
    let Node { core, fx } = &mut three.driver;
    core.ask(value.id(), true, fx);
    core.fetched(value.id(), 1, full(), fx);
    assert!(matches!(value.outcome(), Some(Outcome::Failed(e)) if matches!(*e, Error::StoreFull { .. })));
    three.driver.drop_handle(&value);
    three.driver.drop_handle(&call);
    three.later(200);
    three.later(200);
    assert!(three.workers[0].is_empty() && three.driver.is_empty(), "{:?}", three.driver.core);
}
