//! What a parameter of a remote function takes.

use crate::{
    RemoteFuture,
    blob::Blob,
    encoding::{RemoteValue, describe, encode, is_described},
    lend::Lends,
    slab::Slab,
};
use bytemuck::Pod;
use fdbray_worker::{error::Error, exec::Argument, registry::Function};
use serde::Serialize;
use std::{fmt, marker::PhantomData};

/// An argument of a remote call, already encoded: a value, or a future whose value is put in its place.
///
/// Made by [`IntoArg::into_arg`].
pub struct Arg<T: ?Sized> {
    argument: Argument,
    of: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Arg<T> {
    /// Encodes `value`. A value that cannot be encoded gives a call whose future ends with [`Error::Encode`].
    pub fn value<V: Serialize + ?Sized>(value: &V) -> Self {
        let argument = match encode(value) {
            Ok(encoded) => Argument::Value(encoded),
            Err(why) => Argument::Failed(Error::encode("an argument", why)),
        };
        Arg { argument, of: PhantomData }
    }

    /// The value that `future` will have.
    pub fn future<P: RemoteValue>(future: &RemoteFuture<P>) -> Self {
        let handle = future.handle().clone();
        let argument = if is_described() && !handle.id().is_durable() {
            Argument::ToDescribe(handle, describe::<P>)
        } else {
            Argument::Future(handle)
        };
        Arg { argument, of: PhantomData }
    }

    /// As argument `number` (from 1) of a call of `function`.
    pub(crate) fn at(self, number: usize, function: &Function) -> Argument {
        match self.argument {
            Argument::Failed(Error::Encode { message, .. }) => {
                let what = format!("argument {number} of `{}`", (function.name)());
                Argument::Failed(Error::encode(what, message))
            }
            argument => argument,
        }
    }
}

impl<T: ?Sized> fmt::Debug for Arg<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.argument, f)
    }
}

/// What may be passed where a remote function takes a `T`.
///
/// | parameter | takes |
/// |---|---|
/// | `T` | `T`, `&T`, `RemoteFuture<T>`, `&RemoteFuture<T>` |
/// | `String` | also `&str` |
/// | `Vec<T>` | also `&[T]` |
/// | `&T` | what `T` takes |
/// | `&str` | `&str`, `String`, `&String`, and futures of a `String` |
/// | `&[T]` | slices, arrays, `Vec`s and [`Slab`]s of `T`, a [`Blob`] for `&[u8]`, and futures of any of these that [`Lends`] one |
///
/// There is no other conversion, so that literals, `vec![]` and `None` infer their types. A future need not be ready;
/// the call waits for it in the worker, and fails with the same cause if it fails.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be passed for a remote parameter of type `{T}`",
    label = "expected `{T}`, or a future of it",
    note = "pass the value, a `RemoteFuture` of it (which need not be ready), or a reference to either; nothing is converted on the way"
)]
pub trait IntoArg<T: ?Sized> {
    /// Encodes.
    fn into_arg(self) -> Arg<T>;
}

impl<T: Serialize> IntoArg<T> for T {
    fn into_arg(self) -> Arg<T> {
        Arg::value(&self)
    }
}

impl<T: Serialize> IntoArg<T> for &T {
    fn into_arg(self) -> Arg<T> {
        Arg::value(self)
    }
}

impl<T: RemoteValue> IntoArg<T> for RemoteFuture<T> {
    fn into_arg(self) -> Arg<T> {
        Arg::future(&self)
    }
}

impl<T: RemoteValue> IntoArg<T> for &RemoteFuture<T> {
    fn into_arg(self) -> Arg<T> {
        Arg::future(self)
    }
}

/// Values that are encoded as something they contain: `[generics] From as To: how to get at it`.
macro_rules! by_value {
    ($([$($generics:tt)*] $from:ty as $to:ty: |$value:ident| $part:expr;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($generics)*> IntoArg<$to> for $from {
            fn into_arg(self) -> Arg<$to> {
                let $value = self;
                Arg::value($part)
            }
        }
    )*};
}

by_value! {
    [] &str as String: |v| v;
    ['a, T: Serialize] &'a [T] as Vec<T>: |v| v;
    [] &str as str: |v| v;
    [] &&str as str: |v| *v;
    [] String as str: |v| v.as_str();
    [] &String as str: |v| v.as_str();
    [] Blob as [u8]: |v| &v;
    [] &Blob as [u8]: |v| v;
    ['a, T: Serialize] &'a [T] as [T]: |v| v;
    [T: Serialize] Vec<T> as [T]: |v| v.as_slice();
    ['a, T: Serialize] &'a Vec<T> as [T]: |v| v.as_slice();
    [T: Serialize, const N: usize] [T; N] as [T]: |v| v.as_slice();
    ['a, T: Serialize, const N: usize] &'a [T; N] as [T]: |v| v.as_slice();
    [T: Pod + Serialize] Slab<T> as [T]: |v| &v;
    ['a, T: Pod + Serialize] &'a Slab<T> as [T]: |v| v;
}

#[diagnostic::do_not_recommend]
impl<P: Lends<str> + RemoteValue> IntoArg<str> for RemoteFuture<P> {
    fn into_arg(self) -> Arg<str> {
        Arg::future(&self)
    }
}

#[diagnostic::do_not_recommend]
impl<P: Lends<str> + RemoteValue> IntoArg<str> for &RemoteFuture<P> {
    fn into_arg(self) -> Arg<str> {
        Arg::future(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, P: Lends<[T]> + RemoteValue> IntoArg<[T]> for RemoteFuture<P> {
    fn into_arg(self) -> Arg<[T]> {
        Arg::future(&self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, P: Lends<[T]> + RemoteValue> IntoArg<[T]> for &RemoteFuture<P> {
    fn into_arg(self) -> Arg<[T]> {
        Arg::future(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{__private, prelude::*};
    use serde::{Deserialize, ser};

    #[derive(Deserialize)]
    struct Refuses;

    impl Serialize for Refuses {
        fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(ser::Error::custom("never"))
        }
    }

    #[remote]
    fn takes(_n: u8, _refuses: Refuses) {}

    fn bytes<T: ?Sized>(arg: impl IntoArg<T>) -> Vec<u8> {
        match arg.into_arg().argument {
            Argument::Value(encoded) => encoded.payload.head().to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_encoded_names_the_argument_and_the_function() {
        let all = inventory::iter::<__private::Registered>;
        let function = all.into_iter().map(|r| r.0).find(|f| (f.name)().ends_with("::takes")).unwrap();
        let arg: Arg<Refuses> = Refuses.into_arg();
        let Argument::Failed(error) = arg.at(2, function) else { panic!("encoded") };
        let text = error.to_string();
        assert!(text.starts_with("argument 2 of `fdbray::arg::tests::takes` could not be encoded"), "{text}");
        let _ = takes;
    }

    #[test]
    fn all_that_lends_a_slice_or_text_is_encoded_alike() {
        let expected = bytes::<Vec<u32>>(vec![1, 300]);
        assert_eq!(bytes::<[u32]>(vec![1, 300]), expected);
        assert_eq!(bytes::<[u32]>(&vec![1, 300]), expected);
        assert_eq!(bytes::<[u32]>([1, 300]), expected);
        assert_eq!(bytes::<[u32]>(&[1, 300]), expected);
        assert_eq!(bytes::<[u32]>([1, 300].as_slice()), expected);
        assert_eq!(bytes::<Vec<u32>>([1, 300].as_slice()), expected);
        let slab = Slab::from(vec![1, 300]);
        assert_eq!(bytes::<[u32]>(&slab), bytes::<Slab<u32>>(slab), "as it lies in memory");
        let expected = bytes::<Vec<u8>>(vec![1, 200]);
        assert_eq!(bytes::<[u8]>(Blob::from(vec![1, 200])), expected);
        assert_eq!(bytes::<Blob>(Blob::from(vec![1, 200])), expected);
        let expected = bytes::<String>("text");
        assert_eq!(bytes::<str>("text"), expected);
        assert_eq!(bytes::<str>(&"text".to_owned()), expected);
    }
}
