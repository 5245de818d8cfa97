//! Remote functions run through their generated entry points: how arguments are read, which result and which error comes
//! out, whole or as text.

use fdbray::prelude::*;
use fdbray_worker::{
    exec::{Input, Source},
    payload::{Encoded, Payload},
    registry::{Entry, Function, Registered, Registry},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;

/// Runs the function of that name on arguments that are encoded one by one.
async fn run(name: &str, arguments: &[Vec<u8>]) -> fdbray::Result<Encoded> {
    let function = function(name);
    let mut bytes = Vec::new();
    for argument in arguments {
        bytes.push(u8::try_from(argument.len() + 1).expect("short arguments"));
        bytes.extend(argument);
    }
    let input = Input::new(function, Payload::copy_from(&bytes), Vec::new(), Source::Here);
    match function.entry {
        Entry::Sync(entry) => entry(input),
        Entry::Async(entry) => entry(input).await,
    }
}

async fn value<T: DeserializeOwned>(name: &str, arguments: &[Vec<u8>]) -> fdbray::Result<T> {
    run(name, arguments).await.map(|encoded| postcard::from_bytes(encoded.payload.head()).expect("a `T`"))
}

async fn error(name: &str) -> Error {
    run(name, &[]).await.expect_err("it fails")
}

fn function(name: &str) -> &'static Function {
    let full = format!("entry_points::{name}");
    let all = inventory::iter::<Registered>;
    all.into_iter().map(|r| r.0).find(|f| (f.name)() == full).unwrap_or_else(|| panic!("no {full}"))
}

fn bytes(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data")
}

#[derive(Debug, PartialEq, Clone, thiserror::Error, Serialize, Deserialize)]
enum Typed {
    #[error("odd {0}")]
    Odd(u8),
    #[error("because of")]
    Because(#[from] Cause),
}

#[derive(Debug, PartialEq, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("the cause")]
struct Cause;

mod alias {
    pub type Result<T> = std::result::Result<T, super::Typed>;
}

#[remote]
fn joined(words: &[String], between: &str, times: u8) -> String {
    vec![words.join(between); usize::from(times)].join(between)
}

#[remote]
async fn slept(text: &str) -> Result<usize, Typed> {
    tokio::task::yield_now().await;
    if text.len().is_multiple_of(2) { Ok(text.len()) } else { Err(Typed::Odd(text.len() as u8)) }
}

#[remote]
fn typed() -> Result<u8, Typed> {
    Err(Typed::Odd(3))
}

#[remote]
fn chained() -> alias::Result<u8> {
    Err(Cause)?
}

#[remote]
fn io_error() -> io::Result<u8> {
    Ok(std::fs::read("/nonexistent/file")?[0])
}

#[remote]
fn any_error() -> anyhow::Result<u8> {
    Err(anyhow::anyhow!("inner").context("outer"))
}

#[remote]
fn text_error() -> Result<u8, String> {
    Err("just text".into())
}

#[remote]
fn borrowed_text_error() -> Result<u8, &'static str> {
    Err("borrowed text")
}

#[remote]
fn boxed_error() -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    Err("in a box".into())
}

#[remote]
fn format_error() -> std::fmt::Result {
    Err(std::fmt::Error)
}

#[remote]
fn own_error() -> fdbray::Result<u8> {
    // What `?` on a future gives.
    Err(function_failed("elsewhere"))
}

#[remote]
fn boxed_own_error() -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    Err(function_failed("elsewhere"))?
}

fn function_failed(name: &str) -> Error {
    let error = fdbray::ApplicationError::new(std::any::type_name::<Cause>(), &Cause, Some(bytes(&Cause)));
    Error::from(error.of_function(name))
}

#[remote]
fn made_here() -> fdbray::Result<u8> {
    Err(io::Error::other("made here").into())
}

struct Refuses;
impl Serialize for Refuses {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}
impl<'de> Deserialize<'de> for Refuses {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Refuses)
    }
}

#[remote]
fn refusing() -> Refuses {
    Refuses
}

#[remote]
fn inner(future: RemoteFuture<u8>) -> Vec<RemoteFuture<u8>> {
    vec![future.clone(), future]
}

#[tokio::test]
async fn arguments_are_read_in_order_by_value_and_borrowed() {
    let words = ["a", "b"];
    let all = [bytes(words.as_slice()), bytes("-"), bytes(&2_u8)];
    assert_eq!(value::<String>("joined", &all).await.unwrap(), "a-b-a-b");
    assert_eq!(value::<usize>("slept", &[bytes("four")]).await.unwrap(), 4);
    assert_eq!(joined(&words.map(String::from), "-", 1), "a-b");
}

#[tokio::test]
async fn arguments_that_are_missing_or_damaged_are_named() {
    let missing = run("joined", &[bytes(["a"].as_slice()), bytes("-")]).await.unwrap_err().to_string();
    assert!(missing.contains("argument `times` of `entry_points::joined`"), "{missing}");
    let damaged = run("joined", &[vec![9, 9]]).await.unwrap_err();
    assert!(matches!(damaged, Error::Decode { .. }));
    assert!(damaged.to_string().contains("argument `words` of `entry_points::joined`"), "{damaged}");
    let long = run("slept", &[[bytes("four"), vec![0]].concat()]).await.unwrap_err().to_string();
    assert!(long.contains("argument `text`") && long.contains("left over"), "{long}");
}

#[tokio::test]
async fn serializable_errors_travel_whole() {
    for (name, expected) in
        [("typed", Typed::Odd(3)), ("chained", Typed::Because(Cause)), ("slept", Typed::Odd(5))]
    {
        let arguments = if name == "slept" { vec![bytes("5 odd")] } else { vec![] };
        let Err(Error::Application(error)) = run(name, &arguments).await else { panic!("{name}") };
        assert_eq!(error.function(), format!("entry_points::{name}"));
        assert!(error.is::<Typed>() && !error.is::<Cause>());
        assert_eq!(error.downcast::<Typed>().unwrap(), expected);
    }
}

#[tokio::test]
async fn other_errors_travel_as_text_with_their_chain() {
    for (name, text) in [
        ("io_error", "No such file or directory (os error 2)"),
        ("any_error", "outer: inner"),
        ("text_error", "just text"),
        ("borrowed_text_error", "borrowed text"),
        ("boxed_error", "in a box"),
        ("format_error", "an error occurred when formatting an argument"),
        ("made_here", "made here"),
        ("chained", "because of: the cause"),
    ] {
        let error = error(name).await;
        assert_eq!(error.to_string(), text);
        let Error::Application(error) = error else { panic!("{name} gave {error}") };
        assert_eq!(error.function(), format!("entry_points::{name}"));
        assert_eq!(error.is::<Typed>(), name == "chained");
    }
}

#[tokio::test]
async fn the_cause_behind_a_future_keeps_its_function_and_its_type() {
    for name in ["own_error", "boxed_own_error"] {
        let Error::Application(error) = error(name).await else { panic!("another variant") };
        assert_eq!(error.function(), "elsewhere");
        assert_eq!(error.downcast::<Cause>().unwrap(), Cause);
    }
}

#[tokio::test]
async fn results_that_cannot_be_encoded_are_named() {
    let error = error("refusing").await;
    assert!(matches!(error, Error::Encode { .. }));
    assert!(error.to_string().contains("the result of `entry_points::refusing`"), "{error}");
}

#[fdbray::test]
async fn futures_inside_results_are_held_beside_the_bytes() -> fdbray::Result<()> {
    let future = fdbray::put(&7_u8)?;
    let encoded = run("inner", &[bytes(&future.id())]).await?;
    assert!(encoded.handles.iter().map(|handle| handle.id()).eq([future.id(); 2]));
    assert_eq!(encoded.payload.head(), bytes([future.id(); 2].as_slice()));
    Ok(())
}

#[test]
fn functions_are_registered_with_their_path_their_types_and_the_attributes_options() {
    #[remote(name = "explicit", cpus = 2, memory = "1KiB", resources(tpu = 1, "disk" = 0.5), retries = 7)]
    #[allow(dead_code)]
    fn here(a: &[u8], b: Option<String>) -> io::Result<u64> {
        Ok(a.len() as u64 + b.map_or(0, |b| b.len() as u64))
    }
    let all: Vec<&Function> = inventory::iter::<Registered>.into_iter().map(|r| r.0).collect();
    let explicit = all.iter().find(|f| (f.name)() == "explicit").unwrap();
    assert_eq!((explicit.signature)(), "fn([u8], core::option::Option<alloc::string::String>) -> u64");
    assert_eq!((explicit.file, explicit.line > 0), (file!(), true));
    let options = explicit.options;
    assert_eq!((options.cpus, options.memory, options.retries), (Some(2.0), Some(1024), Some(7)));
    assert_eq!(options.resources, [("tpu", 1.0), ("disk", 0.5)]);
    assert_eq!((options.gpus, options.retry_errors, options.logs), (None, None, None));
    assert!(Registry::collect().unwrap().index_of(explicit).is_some());
}
