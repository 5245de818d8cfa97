//! What expanded code calls. No part of the public API: it changes without notice.

pub use crate::{
    Call, IntoArg, RemoteFuture,
    returns::{AnyError, Failure, Fallible, Kind, NoError, OwnError, Plain, Probe, Returns, TypedError},
    start::main,
    testing::{Test, test},
};
pub use fdbray_worker::{
    exec::Input,
    options::Defaults,
    registry::{Entry, Function, Output, OutputFuture, Registered},
};
pub use inventory;
pub use std::sync::OnceLock;

use crate::{
    Error, Result,
    encoding::{RemoteValue, decode, encode, encode_described},
    returns::{Gives, RemoteError},
};
use serde::de::DeserializeOwned;
use std::future::Future;

/// `options()` of the function.
pub fn call<S>(function: &'static Function) -> Call<S> {
    Call::new(function)
}

/// Decodes the next argument.
pub fn value<T: RemoteValue>(input: &mut Input, name: &str) -> Result<T> {
    argument(input, name)
}

/// Decodes the next argument into something that lends a `B` for the call.
pub fn borrowed<B: Borrowed + ?Sized>(input: &mut Input, name: &str) -> Result<Box<B>> {
    B::held(input, name)
}

/// Encodes what the function returned.
pub fn result<T: RemoteValue>(value: &T, function: &'static Function) -> Output {
    let described = fdbray_worker::exec::result_is_described();
    let encoded = if described { encode_described(value) } else { encode(value) };
    encoded.map_err(|why| Error::encode(format!("the result of `{}`", (function.name)()), why))
}

/// The error that the function returned, with its name.
pub fn failed(error: Error, function: &'static Function) -> Error {
    match error {
        Error::Application(error) => error.of_function((function.name)()).into(),
        error => error,
    }
}

/// Boxes the body of an async function, which has to be `Send`.
pub fn send<F: Future<Output = Output> + Send + 'static>(body: F) -> OutputFuture {
    Box::pin(body)
}

/// What a borrowed parameter may borrow.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be a parameter of a remote function",
    label = "cannot travel between processes",
    note = "`&str`, `&[T]` and `&T` can, where `T` is `Serialize + DeserializeOwned + Send + Sync`"
)]
pub trait Borrowed {
    #[doc(hidden)]
    fn held(input: &mut Input, name: &str) -> Result<Box<Self>>;
}

#[diagnostic::do_not_recommend]
impl Borrowed for str {
    fn held(input: &mut Input, name: &str) -> Result<Box<str>> {
        argument(input, name)
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + Sync> Borrowed for [T] {
    fn held(input: &mut Input, name: &str) -> Result<Box<[T]>> {
        argument(input, name)
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + Sync> Borrowed for T {
    fn held(input: &mut Input, name: &str) -> Result<Box<T>> {
        argument(input, name)
    }
}

/// Refuses what is no error.
pub const fn assert_error<E: RemoteError>() {}

/// Refuses a `Result` whose first type argument is not the type of its value.
pub const fn assert_gives<R: Gives<T>, T>() {}

fn argument<T: DeserializeOwned>(input: &mut Input, name: &str) -> Result<T> {
    let payload = input.next(name)?;
    decode(&payload, || input.source().clone())
        .map_err(|why| Error::decode(format!("argument `{name}` of `{}`", (input.function().name)()), why))
}
