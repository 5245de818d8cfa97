//! Values to bytes and back: postcard, and beside it large bytes ([`beside`]) and the handles of futures that are inside
//! a value.
//!
//! A [`RemoteFuture`](crate::RemoteFuture) inside a value is written as its object's id. What keeps that object alive is
//! not in the bytes: while encoding, a thread-local collector takes a handle of each; while decoding, a thread-local
//! [`Source`] says where the bytes came from, so that the new handles are registered before the old ones go.
//!
//! Arguments and values of durable futures outlive the binary that wrote them, so they are *described*: MessagePack with
//! field names, which follows serde's rules for types that change.

pub(crate) mod beside;

use beside::{Reader, Writer};
use bytes::Bytes;
use fdbray_worker::{
    exec::Source,
    handle::Handle,
    id::ObjectId,
    payload::{Encoded, Payload},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{any::type_name, cell::Cell};

/// What can travel by value: `Serialize + DeserializeOwned`. Not to be implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between processes",
    label = "what travels needs `Serialize` and `DeserializeOwned`",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to a type of yours; in place of a borrow use the owned type (`String`, `Vec<T>`, `fdbray::Blob`)"
)]
pub trait RemoteValue: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> RemoteValue for T {}

/// Encodes `value`, or says why that cannot be done.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, String> {
    if DESCRIBED.get() {
        return encode_described(value);
    }
    let mode = Switched::to(Mode::Encoding);
    let encoded = postcard::serialize_with_flavor(value, Writer(SCRATCH.take()));
    let Collected { handles, buffers } = mode.collected();
    match encoded {
        Ok(bytes) if buffers.is_empty() => Ok(Encoded { payload: keep(bytes), handles }),
        Ok(bytes) => Ok(Encoded { payload: Payload::in_parts(keep(bytes).contiguous(), buffers), handles }),
        Err(error) => Err(explain(error).to_owned()),
    }
}

/// The same, in the encoding of durable futures.
pub(crate) fn encode_described<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, String> {
    let mode = Switched::to(Mode::Encoding);
    let described = Described::set(true);
    let encoded = rmp_serde::to_vec_named(value);
    drop(described);
    let handles = mode.collected().handles;
    match encoded {
        Ok(bytes) => Ok(Encoded { payload: Payload::Described(bytes.into()), handles }),
        Err(error) => Err(error.to_string()),
    }
}

fn decode_described<'de, T: Deserialize<'de>>(
    bytes: &'de Bytes,
    source: impl FnOnce() -> Source,
) -> Result<T, String> {
    let _mode = Switched::to(Mode::Decoding);
    SOURCE.set(Some((source(), Payload::Described(bytes.clone()))));
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(&bytes[..]);
    T::deserialize(&mut deserializer)
        .map_err(|error| format!("{} bytes do not hold a `{}`: {error}", bytes.len(), type_name::<T>()))
}

/// The value of a future that a process owns, in the encoding of durable futures.
pub(crate) fn describe<T: RemoteValue>(future: &Handle, payload: &Payload) -> Result<Encoded, String> {
    let value: T = decode(payload, || Source::Object(future.clone()))?;
    encode_described(&value)
}

/// Whether what this thread encodes is described.
pub(crate) fn is_described() -> bool {
    DESCRIBED.get()
}

/// While it lives, what this thread encodes is described, or not.
pub(crate) struct Described(bool);

impl Described {
    pub(crate) fn set(on: bool) -> Self {
        Described(DESCRIBED.replace(on))
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        DESCRIBED.set(self.0);
    }
}

/// Decodes all of `payload`, which came from `source`. The error says why it does not fit.
pub(crate) fn decode<'de, T: Deserialize<'de>>(
    payload: &'de Payload,
    source: impl FnOnce() -> Source,
) -> Result<T, String> {
    if let Payload::Described(bytes) = payload {
        return decode_described(bytes, source);
    }
    // A source costs a few counted references, and most values hold no future. So small ones are decoded without, and
    // again should one be found.
    if payload.len() <= KEEP {
        let mode = Switched::to(Mode::DecodingPlain);
        let decoded = read(payload);
        if mode.now() == Mode::DecodingPlain {
            return decoded;
        }
    }
    let _mode = Switched::to(Mode::Decoding);
    SOURCE.set(Some((source(), payload.clone())));
    read(payload)
}

/// The value that all of `payload` is.
fn read<'de, T: Deserialize<'de>>(payload: &'de Payload) -> Result<T, String> {
    let reader = Reader::new(payload.head(), payload.buffers());
    let mut deserializer = postcard::Deserializer::from_flavor(reader);
    let misfit =
        |error| format!("{} bytes do not hold a `{}`: {}", payload.len(), type_name::<T>(), explain(error));
    let value = T::deserialize(&mut deserializer).map_err(misfit)?;
    match deserializer.finalize().map_err(misfit)? {
        [] => Ok(value),
        rest => Err(format!("{} bytes are left over after a `{}`", rest.len(), type_name::<T>())),
    }
}

/// A value that has just been encoded into the scratch buffer: small ones are copied and the buffer stays, large ones
/// take it with them.
fn keep(mut scratch: Vec<u8>) -> Payload {
    if scratch.len() <= KEEP {
        let payload = Payload::copy_from(&scratch);
        scratch.clear();
        SCRATCH.set(scratch);
        payload
    } else {
        if scratch.capacity() - scratch.len() > scratch.len() / 4 {
            scratch.shrink_to_fit();
        }
        Payload::from(Bytes::from(scratch))
    }
}

/// Above this many bytes a value takes the buffer that it was encoded into instead of being copied out of it.
const KEEP: usize = 4096;

thread_local! {
    static DESCRIBED: Cell<bool> = const { Cell::new(false) };
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Looked at for every value, the two below only where there is something in them.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Outside) };
    static COLLECTED: Cell<Collected> = const { Cell::new(Collected { handles: Vec::new(), buffers: Vec::new() }) };
    /// Where the bytes that are being decoded came from; and the bytes, which parts can share.
    static SOURCE: Cell<Option<Origin>> = const { Cell::new(None) };
}

/// What is in the value that is being encoded, and not in its postcard part.
#[derive(Default)]
struct Collected {
    /// Of the futures in it.
    handles: Vec<Handle>,
    buffers: Vec<Bytes>,
}

/// Where bytes came from, and the bytes.
type Origin = (Source, Payload);

/// What this thread is doing with a value.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Nothing of fdbray's.
    Outside,
    /// Encoding.
    Encoding,
    /// Encoding, and `COLLECTED` has something.
    Collecting,
    /// Decoding, without a source.
    DecodingPlain,
    /// The same, and a future was found.
    SourceWanted,
    /// Decoding, and `SOURCE` has one.
    Decoding,
}

/// A mode that ends with this, also when a user's `Serialize` panics.
struct Switched {
    before: Mode,
    /// What the mode before had set aside, if there was one: a user's `Serialize` may well encode something itself.
    outer: Option<(Collected, Option<Origin>)>,
}

impl Switched {
    fn to(mode: Mode) -> Self {
        let before = MODE.replace(mode);
        let outer = (before != Mode::Outside).then(|| (COLLECTED.take(), SOURCE.take()));
        Switched { before, outer }
    }

    fn now(&self) -> Mode {
        MODE.get()
    }

    fn collected(&self) -> Collected {
        if self.now() == Mode::Collecting { COLLECTED.take() } else { Collected::default() }
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        let ended = MODE.replace(self.before);
        match self.outer.take() {
            Some((collected, source)) => {
                COLLECTED.set(collected);
                SOURCE.set(source);
            }
            None if matches!(ended, Mode::Collecting | Mode::Decoding) => {
                drop((COLLECTED.take(), SOURCE.take()));
            }
            None => {}
        }
    }
}

/// Takes a handle of a future that is being encoded, or says why it cannot be.
pub(crate) fn collect(handle: &Handle) -> Result<(), &'static str> {
    if !matches!(MODE.get(), Mode::Encoding | Mode::Collecting) {
        return Err(
            "a RemoteFuture can only be serialized inside an argument, a result or a put of fdbray; to keep a durable one \
             elsewhere, store its id",
        );
    }
    if DESCRIBED.get() && !handle.id().is_durable() {
        return Err(
            "a future that a process owns cannot be inside a checkpoint, or an argument or a result of a durable call, which \
             may outlive that process; await it first, or make it durable too",
        );
    }
    MODE.set(Mode::Collecting);
    let mut collected = COLLECTED.take();
    collected.handles.push(handle.clone());
    COLLECTED.set(collected);
    Ok(())
}

/// A handle of a future whose id was just decoded; `None` outside fdbray's encoding.
pub(crate) fn adopt(id: ObjectId) -> Option<Handle> {
    if MODE.get() == Mode::DecodingPlain {
        MODE.set(Mode::SourceWanted);
    }
    with_source(|source, _| Handle::adopt(id, source))
}

/// A part of what is being decoded, which shares its memory: a buffer beside it, or many bytes of it that are most of
/// it.
pub(crate) fn shared(part: &[u8]) -> Option<Bytes> {
    if part.len() <= KEEP {
        return None;
    }
    let shared = with_source(|_, whole| {
        let whole = match whole {
            Payload::Shared(bytes) | Payload::Described(bytes) => bytes,
            payload => return beside::last_read(part, payload.buffers()),
        };
        let inside = whole.as_ptr_range().contains(&part.as_ptr());
        (part.len() >= whole.len() / 2 && inside).then(|| whole.slice_ref(part))
    });
    shared.flatten()
}

fn with_source<R>(f: impl FnOnce(&Source, &Payload) -> R) -> Option<R> {
    if MODE.get() != Mode::Decoding {
        return None;
    }
    let source = SOURCE.take()?;
    let result = f(&source.0, &source.1);
    SOURCE.set(Some(source));
    Some(result)
}

/// What postcard means, in the terms of who wrote the type.
fn explain(error: postcard::Error) -> &'static str {
    use postcard::Error as E;
    match error {
        E::WontImplement | E::NotYetImplemented => {
            "the type asks the bytes what they are (`#[serde(untagged)]`, `#[serde(flatten)]`, an internally tagged \
             enum, `serde_json::Value`), which fdbray's encoding does not say; use an ordinary enum or struct"
        }
        E::SerializeSeqLengthUnknown => {
            "it has a sequence or map of unknown length (`#[serde(flatten)]` makes one); collect it first"
        }
        E::SerdeSerCustom => "a `Serialize` implementation in it refused",
        E::SerdeDeCustom => {
            "a `Deserialize` implementation (perhaps a derived one, of an enum) refused what they say"
        }
        E::DeserializeUnexpectedEnd => "they end too early",
        _ => "they say something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blob, RemoteFuture, put};
    use fdbray_worker::runtime::unowned;
    use serde::{Deserialize, Deserializer};
    use std::{collections::HashMap, panic};

    fn back<T: DeserializeOwned>(encoded: &Encoded) -> Result<T, String> {
        decode(&encoded.payload, || Source::Here)
    }

    fn future<T>() -> RemoteFuture<T> {
        RemoteFuture::new(unowned().0, None)
    }

    #[test]
    fn values_come_back_whatever_their_size() {
        for len in [0, 1, 29, 30, 31, KEEP - 1, KEEP, KEEP + 1, 100_000] {
            let text = "x".repeat(len);
            let encoded = encode(&text).unwrap();
            assert_eq!(back::<String>(&encoded).unwrap(), text);
            let blob = Blob::from(text.into_bytes());
            assert_eq!(back::<Blob>(&encode(&blob).unwrap()).unwrap(), blob);
        }
    }

    #[test]
    fn small_values_are_in_place_and_large_ones_take_the_buffer() {
        assert!(matches!(encode(&(1_u64, 2_i64)).unwrap().payload, Payload::InPlace(..)));
        let encoded = encode(&"x".repeat(1 << 20)).unwrap();
        let Payload::Shared(whole) = &encoded.payload else { panic!("copied into place") };
        assert_eq!(whole.len(), (1 << 20) + 3);
    }

    #[crate::test]
    async fn futures_are_found_at_any_depth_and_come_back_as_the_same_object() -> crate::Result<()> {
        #[derive(Serialize, Deserialize)]
        struct Nested {
            first: Option<RemoteFuture<u8>>,
            named: HashMap<String, Vec<RemoteFuture<String>>>,
        }
        let text = |text: &str| put(&text.to_owned());
        let named = HashMap::from([("k".to_owned(), vec![text("a")?, text("b")?])]);
        let value = Nested { first: Some(put(&1)?), named };
        let encoded = encode(&value).unwrap();
        assert_eq!(encoded.handles.len(), 3);
        let mut copy: Nested = back(&encoded).unwrap();
        assert_eq!(copy.first.as_ref().map(RemoteFuture::id), value.first.as_ref().map(RemoteFuture::id));
        drop((value, encoded));
        assert_eq!(copy.first.unwrap().await?, 1);
        let texts = crate::settle(copy.named.remove("k").unwrap()).await;
        assert_eq!(texts.into_iter().collect::<Result<Vec<_>, _>>()?, ["a", "b"]);
        Ok(())
    }

    #[crate::test]
    async fn a_value_that_keeps_nothing_of_a_future_may_still_decode_one() {
        struct Id(ObjectId);
        impl<'de> Deserialize<'de> for Id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                RemoteFuture::<u8>::deserialize(deserializer).map(|f| Id(f.id()))
            }
        }
        let future = put(&1_u8).unwrap();
        assert_eq!(back::<Id>(&encode(&future).unwrap()).unwrap().0, future.id());
    }

    #[test]
    fn a_future_is_refused_by_any_other_encoding() {
        let json = serde_json::to_string(&future::<u8>()).unwrap_err().to_string();
        assert!(
            json.contains("can only be serialized inside an argument, a result or a put of fdbray"),
            "{json}"
        );
        assert!(postcard::to_stdvec(&future::<u8>()).is_err());
        let bytes = encode(&future::<u8>()).unwrap().payload;
        assert!(postcard::from_bytes::<RemoteFuture<u8>>(bytes.head()).is_err());
        assert!(serde_json::from_str::<RemoteFuture<u8>>("1").is_err());
    }

    #[test]
    fn encoding_goes_on_after_a_serializer_that_panicked_or_encoded_something_itself() {
        struct Panics;
        impl Serialize for Panics {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                panic!("as tested")
            }
        }
        struct Encodes(RemoteFuture<u8>);
        impl Serialize for Encodes {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                assert_eq!(encode(&self.0).unwrap().handles.len(), 1);
                self.0.serialize(serializer)
            }
        }
        assert!(panic::catch_unwind(|| encode(&Panics)).is_err());
        assert!(serde_json::to_string(&future::<u8>()).is_err(), "the mode is still on");
        assert_eq!(encode(&Encodes(future())).unwrap().handles.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let two = encode(&(1_u8, 2_u8)).unwrap();
        assert_eq!(back::<u8>(&two).unwrap_err(), "1 bytes are left over after a `u8`");
        assert!(back::<(u8, u8, u8)>(&two).unwrap_err().contains("end too early"));
        let value = serde_json::json!({ "a": 1 });
        assert!(back::<serde_json::Value>(&encode(&value).unwrap()).unwrap_err().contains("untagged"));
    }
}
