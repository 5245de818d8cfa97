//! Actors run through their generated entry points: how methods get at the state, which result and which error comes out,
//! and what is registered. What needs the runtime is tested with real processes, in `tests/tests/actors.rs`.

use fdbray::{
    __private::{Alone, Together},
    prelude::*,
};
use fdbray_worker::{
    exec::{Input, Source, State},
    payload::{Encoded, Payload},
    registry::{Entry, Function, Output, Registered, Registry, Role},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{cell::Cell, future::poll_fn, io, sync::Arc, task::Poll};

/// Has methods of every kind.
struct Account {
    owner: String,
    cents: i64,
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{missing} cents are missing")]
struct Missing {
    missing: i64,
}

#[actor]
impl Account {
    const MOST: usize = 3;

    pub fn new(owner: &str, cents: i64) -> Self {
        Account { owner: owner.to_owned(), cents }
    }

    #[actor(name = "account.from_file", cpus = 2, memory = "1KiB", resources(disk = 0.5), max_restarts = 3)]
    pub async fn open(path: String) -> io::Result<Self> {
        Ok(Account::new(&std::fs::read_to_string(path)?, 0))
    }

    pub fn twin(of: &AccountHandle, with: u8) -> Result<Account, Missing> {
        let _ = of;
        Err(Missing { missing: with.into() })
    }

    pub fn withdraw(&mut self, cents: i64) -> Result<i64, Missing> {
        if cents > self.cents {
            return Err(Missing { missing: cents - self.cents });
        }
        self.cents -= cents;
        Ok(self.cents)
    }

    #[actor(concurrency = 8, retries = 2, retry_errors = 1, logs = false)]
    pub fn described(&self, prefix: &str, punctuation: char) -> String {
        format!("{prefix}{}: {}{punctuation}", self.owner, self.cents)
    }

    #[actor(name = "account.save")]
    pub async fn save(&mut self) -> io::Result<i64> {
        self.cents += 1;
        tokio::task::yield_now().await;
        Ok(self.cents)
    }

    pub async fn watched(&self) -> i64 {
        tokio::task::yield_now().await;
        self.cents
    }

    pub fn several(&mut self, amounts: [i64; Self::MOST]) -> i64 {
        self.cents += amounts.iter().sum::<i64>();
        self.cents
    }

    pub fn r#move(&mut self, to: AccountHandle) -> AccountHandle {
        to
    }

    /// Local: it takes the account away.
    pub fn closed(self) -> i64 {
        self.cents
    }

    /// Local: it gives no account.
    pub fn currency() -> &'static str {
        "EUR"
    }

    /// Local: it is private, and may take and give what cannot travel.
    #[allow(dead_code)]
    fn parts<T>(&mut self, _: T) -> (&str, &mut i64) {
        (&self.owner, &mut self.cents)
    }
}

/// Is not `Sync`, and need not be: nothing in it runs beside anything else.
struct Bell(Cell<u32>);

#[actor]
impl Bell {
    pub fn new() -> Self {
        Bell(Cell::new(0))
    }

    pub async fn ring(&mut self) -> u32 {
        self.0.set(self.0.get() + 1);
        tokio::task::yield_now().await;
        self.0.get()
    }
}

fn account(cents: i64) -> State {
    state(Together::new(Account::new("Ada", cents)))
}

fn state(value: impl Send + Sync + 'static) -> State {
    State { value: Arc::new(value), save: None }
}

fn function(name: &str) -> &'static Function {
    let all = inventory::iter::<Registered>;
    all.into_iter().map(|r| r.0).find(|f| (f.name)() == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The arguments, encoded one by one, for the function of that name.
fn input(name: &str, arguments: &[Vec<u8>]) -> Input {
    let mut bytes = Vec::new();
    for argument in arguments {
        bytes.push(u8::try_from(argument.len() + 1).expect("short arguments"));
        bytes.extend(argument);
    }
    Input::new(function(name), Payload::copy_from(&bytes), Vec::new(), Source::Here)
}

async fn run(input: Input) -> Output {
    match input.function().entry {
        Entry::Sync(entry) => entry(input),
        Entry::Async(entry) => entry(input).await,
    }
}

/// Runs a method of the account.
async fn called(state: &State, method: &str, arguments: &[Vec<u8>]) -> Output {
    run(input(&format!("actor_entry_points::Account::{method}"), arguments).of_actor(Some(state.clone())))
        .await
}

fn value<T: DeserializeOwned>(output: Output) -> T {
    let Encoded { payload, .. } = output.unwrap_or_else(|e| panic!("{e}"));
    postcard::from_bytes(payload.head()).expect("a `T`")
}

fn bytes(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data")
}

#[tokio::test]
async fn methods_read_and_change_the_state() {
    let ada = account(100);
    assert_eq!(value::<i64>(called(&ada, "withdraw", &[bytes(&30_i64)]).await), 70);
    assert_eq!(value::<i64>(called(&ada, "several", &[bytes(&[1_i64, 2, 3])]).await), 76);
    let all = [bytes("of "), bytes(&'!')];
    assert_eq!(value::<String>(called(&ada, "described", &all).await), "of Ada: 76!");
    assert_eq!(value::<i64>(called(&ada, "watched", &[]).await), 76);
    let saved = run(input("account.save", &[]).of_actor(Some(ada))).await;
    assert_eq!(value::<i64>(saved), 77);
}

#[tokio::test]
async fn an_error_of_a_method_leaves_the_actor_usable() {
    let ada = account(100);
    let Err(Error::Application(error)) = called(&ada, "withdraw", &[bytes(&130_i64)]).await else {
        panic!("there is not as much")
    };
    assert_eq!(error.function(), "actor_entry_points::Account::withdraw");
    assert_eq!(error.downcast::<Missing>().unwrap(), Missing { missing: 30 });
    assert_eq!(value::<i64>(called(&ada, "withdraw", &[bytes(&100_i64)]).await), 0);
}

#[tokio::test]
async fn arguments_that_are_missing_or_damaged_are_named() {
    let ada = account(1);
    let missing = called(&ada, "described", &[bytes("of")]).await.unwrap_err().to_string();
    assert!(
        missing.contains("argument `punctuation` of `actor_entry_points::Account::described`"),
        "{missing}"
    );
    let damaged = called(&ada, "withdraw", &[vec![0xff; 11]]).await.unwrap_err();
    assert!(matches!(damaged, Error::Decode { .. }), "{damaged}");
    assert_eq!(value::<i64>(called(&ada, "watched", &[]).await), 1);
}

#[tokio::test]
async fn an_async_method_holds_the_state_while_it_waits() {
    let ada = account(1);
    let mut saves = Box::pin(run(input("account.save", &[]).of_actor(Some(ada.clone()))));
    let first = poll_fn(|cx| Poll::Ready(saves.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    // The runtime never lets it come to this.
    let beside = called(&ada, "watched", &[]).await.unwrap_err().to_string();
    assert!(beside.contains("Account::watched") && beside.contains("a bug in fdbray"), "{beside}");
    assert_eq!(value::<i64>(saves.await), 2);
    assert_eq!(value::<i64>(called(&ada, "watched", &[]).await), 2);
}

#[tokio::test]
async fn one_that_is_dropped_where_it_waits_lets_go_of_the_state() {
    let ada = account(1);
    let mut saves = Box::pin(run(input("account.save", &[]).of_actor(Some(ada.clone()))));
    assert!(poll_fn(|cx| Poll::Ready(saves.as_mut().poll(cx))).await.is_pending());
    drop(saves);
    assert_eq!(value::<i64>(called(&ada, "withdraw", &[bytes(&2_i64)]).await), 0);
}

#[tokio::test]
async fn shared_methods_run_beside_each_other() {
    let ada = account(5);
    let mut watched = Box::pin(called(&ada, "watched", &[]));
    assert!(poll_fn(|cx| Poll::Ready(watched.as_mut().poll(cx))).await.is_pending());
    assert_eq!(value::<i64>(called(&ada, "watched", &[]).await), 5);
    assert!(called(&ada, "withdraw", &[bytes(&1_i64)]).await.is_err(), "beside one that reads");
    assert_eq!(value::<i64>(watched.await), 5);
}

#[tokio::test]
async fn a_state_without_shared_methods_need_not_be_sync() {
    let bell = state(Alone::new(Bell::new()));
    let ring = || input("actor_entry_points::Bell::ring", &[]).of_actor(Some(bell.clone()));
    assert_eq!(value::<u32>(run(ring()).await), 1);
    assert_eq!(value::<u32>(run(ring()).await), 2);
}

#[tokio::test]
async fn without_a_state_of_its_type_a_method_says_that_the_actor_has_ended() {
    let bell = state(Alone::new(Bell::new()));
    for state in [None, Some(bell)] {
        let watched = input("actor_entry_points::Account::watched", &[]).of_actor(state);
        assert!(matches!(run(watched).await, Err(Error::ActorEnded { .. })));
    }
}

#[tokio::test]
async fn a_constructor_that_fails_gives_its_error() {
    let open = run(input("account.from_file", &[bytes("/not/there")])).await;
    let Err(Error::Application(error)) = open else { panic!("there is no such file") };
    assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    assert_eq!(error.function(), "account.from_file");
}

#[tokio::test]
async fn a_constructor_makes_an_actor_in_the_runtime_only() {
    let arguments = [bytes("Ada"), bytes(&7_i64)];
    let error = run(input("actor_entry_points::Account::new", &arguments)).await.unwrap_err().to_string();
    assert!(error.contains("no constructor of an actor runs here"), "{error}");
}

#[test]
fn functions_are_registered_with_the_types_path_their_types_roles_and_options() {
    let named = |name: &str| function(&format!("actor_entry_points::Account::{name}"));
    let withdraw = named("withdraw");
    assert_eq!((withdraw.signature)(), "fn(&'_ mut actor_entry_points::Account, i64) -> i64");
    assert_eq!((withdraw.role, withdraw.file, withdraw.line > 0), (Role::Exclusive, file!(), true));
    assert_eq!((withdraw.options.cpus, withdraw.options.retries), (Some(0.0), None));
    assert_eq!(named("watched").role, Role::Shared(256));

    let described = named("described");
    assert_eq!(
        (described.signature)(),
        "fn(&'_ actor_entry_points::Account, str, char) -> alloc::string::String"
    );
    let options = described.options;
    assert_eq!(described.role, Role::Shared(8));
    assert_eq!((options.retries, options.retry_errors, options.logs), (Some(2), Some(1), Some(false)));

    let new = named("new");
    assert_eq!((new.role, new.options.cpus, new.options.max_restarts), (Role::Constructor, Some(0.0), None));
    assert_eq!((new.signature)(), "fn(str, i64) -> actor_entry_points::Account");
    let options = function("account.from_file").options;
    assert_eq!((options.cpus, options.memory, options.max_restarts), (Some(2.0), Some(1024), Some(3)));
    assert_eq!(options.resources, [("disk", 0.5)]);

    assert_eq!(named("move").role, Role::Exclusive, "a raw name is registered without its prefix");
    assert_eq!(function("fdbray::ActorHandle::stop").role, Role::Stop);
    let registry = Registry::collect().unwrap();
    assert!(registry.index_of(withdraw).is_some());
    let local = ["closed", "currency", "parts"].map(|name| format!("actor_entry_points::Account::{name}"));
    let all = inventory::iter::<Registered>;
    assert!(all.into_iter().all(|r| !local.contains(&(r.0.name)().to_owned())));
}

#[test]
fn the_type_stays_what_it_was() {
    let mut account = Account::new("Ada", 3);
    assert_eq!(account.several([1, 2, 3]), 9);
    assert_eq!((account.closed(), Account::currency()), (9, "EUR"));
}

#[test]
fn options_say_what_was_set() {
    let options = Account::options().cpus(0.5).resource("disk", 1).resource("disk", 2).max_restarts(7);
    let said = format!("{:?}", options.clone());
    for part in ["cpus: Some(0.5)", "resources: [(\"disk\", 2.0)]", "max_restarts: Some(7)"] {
        assert!(said.contains(part), "{said}");
    }
}

#[fdbray::test]
async fn handles_travel_in_values_of_fdbray_and_in_nothing_else() -> fdbray::Result<()> {
    #[derive(Serialize, Deserialize)]
    struct Bank {
        accounts: Vec<AccountHandle>,
    }
    let account = Account::remote("Ada", 1);
    let debug = format!("{account:?}");
    let bank = fdbray::put(&Bank { accounts: vec![account.clone(); 2] })?.await?;
    assert!(bank.accounts.iter().all(|other| format!("{other:?}") == debug), "{debug}");
    let elsewhere = serde_json::to_string(&account).unwrap_err().to_string();
    assert!(elsewhere.contains("the handle of an actor can only be serialized inside"), "{elsewhere}");
    assert!(postcard::to_stdvec(&account).is_err());
    assert!(serde_json::from_str::<AccountHandle>("\"1\"").is_err());

    #[remote]
    fn takes(_account: AccountHandle) {}
    let durable = takes::options().durable().remote(&account).await.unwrap_err().to_string();
    assert!(durable.contains("make the actor `detached`"), "{durable}");
    Ok(())
}
