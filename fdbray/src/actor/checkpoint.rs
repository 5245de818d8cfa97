//! What an actor has become, kept elsewhere: the trait, and what is generated for types that have it.

use super::state::{Alone, Together};
use crate::{
    Error, Result,
    encoding::{RemoteValue, decode, encode_described},
};
use bytes::Bytes;
use fdbray_worker::{
    exec::{Save, Source},
    payload::{Encoded, Payload},
    registry::Output,
};
use std::any::{Any, type_name};

/// What an actor has become can be kept, so that it goes on from there when it is made again.
///
/// An actor whose type has this, and `#[actor(checkpoint)]` on its impl block, is made again with
/// [`restore`](Checkpoint::restore) in place of its constructor, from the last checkpoint; and what it does to its state is
/// done exactly once for each call, whatever dies meanwhile. See [`actor`](macro@crate::actor#checkpoints).
///
/// ```no_run
/// use fdbray::{Checkpoint, prelude::*};
///
/// struct Counter {
///     n: i64,
/// }
///
/// impl Checkpoint for Counter {
///     type Saved = i64;
///
///     fn save(&self) -> fdbray::Result<i64> {
///         Ok(self.n)
///     }
///
///     fn restore(n: i64) -> fdbray::Result<Self> {
///         Ok(Counter { n })
///     }
/// }
///
/// #[actor(checkpoint)]
/// impl Counter {
///     #[actor(max_restarts = 100)]
///     pub fn new() -> Self {
///         Counter { n: 0 }
///     }
///
///     pub fn add(&mut self, k: i64) -> i64 {
///         self.n += k;
///         self.n
///     }
/// }
///
/// # async fn f() -> fdbray::Result<()> {
/// let counter = Counter::remote();
/// assert_eq!(counter.add(5).await?, 5);
/// // However often the workers die in which it lives:
/// assert_eq!(counter.add(5).await?, 10);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept: it does not implement `fdbray::Checkpoint`",
    label = "asks for checkpoints of `{Self}`",
    note = "implement `fdbray::Checkpoint` for it: what is to be kept, how it is saved, and how an actor is made from it"
)]
pub trait Checkpoint: Sized {
    /// What is kept. It is written with the names of its fields, so that a field can be added that has a
    /// `#[serde(default)]`. No futures and no handles of actors can be in it, and at most 12 MiB, together with what has been
    /// answered to calls that may be made again.
    type Saved: RemoteValue;

    /// Which version of [`Saved`](Checkpoint::Saved) this is. What another version has saved is refused with
    /// [`Error::Checkpoint`], whatever it looks like.
    const VERSION: u32 = 0;

    /// What is to be kept of the state as it is now. Runs on a thread beside methods with `&self`; none with `&mut self` runs
    /// meanwhile.
    ///
    /// # Errors
    /// Why there is none. Calls that it should have covered end with [`Error::Checkpoint`] and have had no effect: the actor
    /// falls back to the last checkpoint, as if it had panicked.
    fn save(&self) -> Result<Self::Saved>;

    /// The state again.
    ///
    /// # Errors
    /// Why that cannot be: the actor has ended then, and its calls end with [`Error::Checkpoint`].
    fn restore(saved: Self::Saved) -> Result<Self>;
}

/// How an actor with checkpoints is saved, and made again.
pub struct Lasting<C> {
    pub(super) save: Save,
    pub(super) restore: fn(&Bytes) -> Result<C>,
}

/// Of an actor whose methods all run alone.
pub const fn lasting_alone<T: Checkpoint + Send + 'static>() -> Lasting<Alone<T>> {
    Lasting { save: save_alone::<T>, restore: |bytes| restore(bytes).map(Alone::new) }
}

/// Of an actor that has methods which run beside each other.
pub const fn lasting_together<T: Checkpoint + Send + Sync + 'static>() -> Lasting<Together<T>> {
    Lasting { save: save_together::<T>, restore: |bytes| restore(bytes).map(Together::new) }
}

impl<C> std::fmt::Debug for Lasting<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lasting")
    }
}

fn save_alone<T: Checkpoint + Send + 'static>(state: &(dyn Any + Send + Sync)) -> Output {
    state.downcast_ref::<Alone<T>>().ok_or_else(other_state::<T>)?.saved(saved)
}

fn save_together<T: Checkpoint + Send + Sync + 'static>(state: &(dyn Any + Send + Sync)) -> Output {
    state.downcast_ref::<Together<T>>().ok_or_else(other_state::<T>)?.saved(saved)
}

/// The version in four bytes, little-endian, and the state.
fn saved<T: Checkpoint>(state: &T) -> Output {
    let saved = state.save().map_err(|error| useless::<T>(format!("`save` gave an error: {error}")))?;
    let Encoded { payload, handles } = encode_described(&saved)
        .map_err(|why| useless::<T>(format!("its state could not be encoded: {why}")))?;
    if !handles.is_empty() {
        return Err(useless::<T>(
            "its state holds a future, which cannot be kept: await it, and keep its value",
        ));
    }
    let mut bytes = T::VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(payload.head());
    Ok(Payload::from(Bytes::from(bytes)).into())
}

fn restore<T: Checkpoint>(bytes: &Bytes) -> Result<T> {
    let Some((version, _)) = bytes.split_first_chunk::<4>() else {
        return Err(useless::<T>("it ends too early"));
    };
    let version = u32::from_le_bytes(*version);
    if version != T::VERSION {
        return Err(useless::<T>(format!(
            "it is of version {version}, and this program has version {}: run the program that saved it, or make the \
             actor anew",
            T::VERSION
        )));
    }
    let payload = Payload::Described(bytes.slice(4..));
    let saved = decode(&payload, || Source::Here)
        .map_err(|why| useless::<T>(format!("its state could not be decoded: {why}")))?;
    T::restore(saved).map_err(|error| useless::<T>(format!("`restore` gave an error: {error}")))
}

fn useless<T>(why: impl std::fmt::Display) -> Error {
    Error::checkpoint(type_name::<T>(), why)
}

fn other_state<T>() -> Error {
    useless::<T>("the actor has a state of another type")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    /// Saves what version `V` does.
    #[derive(Debug, PartialEq)]
    struct Tally<const V: u32>(Vec<(String, u64)>);

    impl<const V: u32> Checkpoint for Tally<V> {
        type Saved = Vec<(String, u64)>;
        const VERSION: u32 = V;
        fn save(&self) -> Result<Self::Saved> {
            if self.0.len() > 2 { Err(Error::control("too many")) } else { Ok(self.0.clone()) }
        }
        fn restore(saved: Self::Saved) -> Result<Self> {
            if saved.is_empty() { Err(Error::control("too few")) } else { Ok(Tally(saved)) }
        }
    }

    fn bytes<T: Checkpoint>(state: &T) -> Bytes {
        saved(state).unwrap().payload.contiguous()
    }

    #[test]
    fn a_state_comes_back_as_it_was_saved() {
        let tally = Tally::<3>(vec![("a".to_owned(), 1), ("b".to_owned(), u64::MAX)]);
        assert_eq!(restore::<Tally<3>>(&bytes(&tally)).unwrap(), tally);
    }

    #[test]
    fn what_is_of_no_use_says_why() {
        let tally = Tally::<3>(vec![("a".to_owned(), 1)]);
        let (good, empty) = (bytes(&tally), bytes(&Tally::<3>(Vec::new())));
        let why = |bytes: &Bytes| restore::<Tally<3>>(bytes).unwrap_err().to_string();
        let other = restore::<Tally<4>>(&good).unwrap_err().to_string();
        assert!(other.contains("of version 3") && other.contains("has version 4"), "{other}");
        assert!(why(&empty).contains("`restore` gave an error: too few"));
        assert!(why(&good.slice(..3)).contains("ends too early"));
        assert!(why(&good.slice(..good.len() - 1)).contains("could not be decoded"));
        let many = Tally::<3>(vec![(String::new(), 1); 3]);
        let why = saved(&many).unwrap_err().to_string();
        assert!(why.contains("Tally") && why.contains("`save` gave an error: too many"), "{why}");
    }

    #[test]
    fn a_field_may_be_added_that_has_a_default() {
        #[derive(Serialize, Deserialize)]
        struct Before {
            n: u64,
        }
        #[derive(Serialize, Deserialize)]
        struct After {
            n: u64,
            #[serde(default)]
            unit: String,
        }
        struct Old;
        impl Checkpoint for Old {
            type Saved = Before;
            fn save(&self) -> Result<Before> {
                Ok(Before { n: 7 })
            }
            fn restore(_: Before) -> Result<Self> {
                Ok(Old)
            }
        }
        struct New(u64, String);
        impl Checkpoint for New {
            type Saved = After;
            fn save(&self) -> Result<After> {
                Ok(After { n: self.0, unit: self.1.clone() })
            }
            fn restore(After { n, unit }: After) -> Result<Self> {
                Ok(New(n, unit))
            }
        }
        let New(n, unit) = restore(&bytes(&Old)).unwrap();
        assert_eq!((n, unit.as_str()), (7, ""));
    }

    #[test]
    fn a_future_cannot_be_kept() {
        struct Holds;
        impl Checkpoint for Holds {
            type Saved = crate::RemoteFuture<u8>;
            fn save(&self) -> Result<Self::Saved> {
                Ok(crate::RemoteFuture::new(fdbray_worker::runtime::unowned().0, None))
            }
            fn restore(_: Self::Saved) -> Result<Self> {
                Ok(Holds)
            }
        }
        let why = saved(&Holds).unwrap_err().to_string();
        assert!(why.contains("could not be encoded") && why.contains("future"), "{why}");
    }
}
