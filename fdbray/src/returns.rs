//! How a return type and an error type are told apart without looking at their names.
//!
//! A macro sees tokens, not types. So the expansion asks the compiler: [`Probe`] has an inherent constant for `Result`
//! that hides the one of the trait [`Plain`], and [`Failure`] has a method `failure` in four traits, of which method
//! resolution takes the one for the most references that applies.

use crate::{ApplicationError, Error};
use serde::{Serialize, de::DeserializeOwned};
use std::{any::type_name, convert::Infallible, error, marker::PhantomData};

/// `Result<T, E>` under any name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named `Result` but is not `std::result::Result`",
    label = "fdbray took this for a `Result`",
    note = "return a `Result<T, E>`, or give this type another name"
)]
pub trait Fallible {
    /// `T`.
    type Ok;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
}

/// `Result<T, E>` for some `E`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named `Result`, but is not a `std::result::Result` of `{T}`",
    label = "fdbray took this for a `Result<{T}, _>`",
    note = "the first type argument of what is named `Result` has to be the type of its value"
)]
pub trait Gives<T> {}

impl<T, E> Gives<T> for Result<T, E> {}

/// What the error of a remote function has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a remote function",
    label = "not an error",
    note = "an error type needs `std::error::Error + Send + Sync` (or be `String`, `anyhow::Error`, `Box<dyn Error + Send + Sync>`); with `Serialize + Deserialize` it also downcasts at the caller"
)]
pub trait RemoteError {}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn error::Error + Send + Sync>>> RemoteError for E {}

/// Whether `T` is a `Result`: `Probe::<T>::FALLIBLE`, with [`Plain`] in scope.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

/// Says that a type is no `Result`, unless [`Probe`] says that it is.
pub trait Plain {
    /// Whether the type is a `Result`.
    const FALLIBLE: bool = false;
}

impl<T> Plain for Probe<T> {}

impl<T, E> Probe<Result<T, E>> {
    /// Whether the type is a `Result`.
    pub const FALLIBLE: bool = true;
}

/// Splits a return type by [`Probe`]'s answer.
#[derive(Debug)]
pub struct Kind<const FALLIBLE: bool>;

/// The parts of the return type `R`.
pub trait Returns<R> {
    /// What the call's future gives.
    type Value;
    /// The function's error.
    type Err;
    /// What was returned.
    fn split(returned: R) -> Result<Self::Value, Self::Err>;
}

impl<R> Returns<R> for Kind<false> {
    type Value = R;
    type Err = Infallible;
    fn split(returned: R) -> Result<R, Infallible> {
        Ok(returned)
    }
}

impl<T, E> Returns<Result<T, E>> for Kind<true> {
    type Value = T;
    type Err = E;
    fn split(returned: Result<T, E>) -> Result<T, E> {
        returned
    }
}

/// The error that a function returned, until one of the traits below takes it.
#[derive(Debug)]
pub struct Failure<E>(Option<E>);

impl<E> Failure<E> {
    /// Holds `error`.
    pub fn new(error: E) -> Self {
        Failure(Some(error))
    }

    fn take(&mut self) -> E {
        self.0.take().expect("an expansion calls `failure` once")
    }
}

/// fdbray's own error travels as it is: the `?` on a future inside a remote function keeps the cause.
pub trait OwnError {
    /// The error to send.
    fn failure(&mut self) -> Error;
}

impl OwnError for &mut &mut &mut Failure<Error> {
    fn failure(&mut self) -> Error {
        self.take()
    }
}

/// An error that is serializable travels whole, and as text.
pub trait TypedError {
    /// The error to send.
    fn failure(&mut self) -> Error;
}

impl<E: error::Error + Serialize + DeserializeOwned + 'static> TypedError for &mut &mut Failure<E> {
    fn failure(&mut self) -> Error {
        let error = self.take();
        // Outside fdbray's encoding, so that an error with a future inside travels as text: nothing would keep it.
        let value = postcard::to_stdvec(&error).ok();
        ApplicationError::new(type_name::<E>(), &error, value).into()
    }
}

/// Any other error travels as text, unless it is a box with fdbray's own.
pub trait AnyError {
    /// The error to send.
    fn failure(&mut self) -> Error;
}

impl<E: Into<Box<dyn error::Error + Send + Sync>>> AnyError for &mut Failure<E> {
    fn failure(&mut self) -> Error {
        match self.take().into().downcast::<Error>() {
            Ok(own) => *own,
            Err(error) => ApplicationError::new(type_name::<E>(), &*error, None).into(),
        }
    }
}

/// What is no error is refused by `assert_error`; this keeps the messages to that one.
pub trait NoError {
    /// Never called.
    fn failure(&mut self) -> Error;
}

impl<E> NoError for Failure<E> {
    fn failure(&mut self) -> Error {
        unreachable!("`assert_error` refuses this at compile time")
    }
}
