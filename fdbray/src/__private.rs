//! What expanded code calls. No part of the public API: it changes without notice.

pub use crate::{
    ActorHandle, Call, IntoArg, ProcessId, RemoteFuture, Result,
    actor::{
        Access, Actor, Alone, Creating, Creation, Together, lasting_alone, lasting_together, method, name,
        state_of_an_actor, state_of_an_actor_with_shared_methods,
    },
    lend::{Bits, Borrowed, NoBits},
    returns::{AnyError, Failure, Fallible, Kind, NoError, OwnError, Plain, Probe, Returns, TypedError},
    start::main,
    testing::{Test, test},
};
pub use fdbray_worker::{
    exec::{Argument, Input},
    options::{Checkpoints, Defaults},
    registry::{Entry, Function, Output, OutputFuture, Registered, Role},
};
pub use inventory;
pub use serde;
pub use std::sync::OnceLock;

use crate::{
    Error,
    encoding::{RemoteValue, decode, encode, encode_described},
    lend::{Cast, Lent},
    returns::{Gives, RemoteError},
};
use std::future::Future;

/// `options()` of the function.
pub fn call<S>(function: &'static Function) -> Call<S> {
    Call::new(function)
}

/// Encodes an argument of a call of a method or a constructor.
pub fn argument<T: ?Sized>(value: impl IntoArg<T>, number: usize, function: &'static Function) -> Argument {
    value.into_arg().at(number, function)
}

/// Decodes the next argument.
pub fn value<T: RemoteValue>(input: &mut Input, name: &str) -> Result<T> {
    let payload = input.next(name)?;
    decode(&payload, || input.source().clone()).map_err(|why| undecodable(input, name, why))
}

/// Takes what of the next argument lends a `B` for the call; `cast` says how that may lie in bytes.
pub fn borrowed<B: Borrowed + ?Sized>(
    input: &mut Input,
    name: &str,
    cast: Option<Cast<B>>,
) -> Result<Lent<B>> {
    let payload = input.next(name)?;
    B::lent(&payload, input.source().clone(), cast).map_err(|why| undecodable(input, name, why))
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

/// Refuses what is no error.
pub const fn assert_error<E: RemoteError>() {}

/// Refuses a `Result` whose first type argument is not the type of its value.
pub const fn assert_gives<R: Gives<T>, T>() {}

fn undecodable(input: &Input, name: &str, why: String) -> Error {
    Error::decode(format!("argument `{name}` of `{}`", (input.function().name)()), why)
}
