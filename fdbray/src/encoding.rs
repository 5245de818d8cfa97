//! Values to bytes and back: postcard, and beside it the handles of futures that are inside a value.
//!
//! A [`RemoteFuture`](crate::RemoteFuture) inside a value is written as its object's id. What keeps that object alive is
//! not in the bytes: while encoding, a thread-local collector takes a handle of each; while decoding, a thread-local
//! [`Source`] says where the bytes came from, so that the new handles are registered before the old ones go.

use crate::object::Blob;
use bytes::Bytes;
use fdbray_worker::{
    exec::Source,
    handle::Handle,
    id::ObjectId,
    payload::{Encoded, Payload},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{any::type_name, cell::Cell, mem};

/// What can travel by value: `Serialize + DeserializeOwned`. Not to be implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between processes",
    label = "parameters and results of remote functions need `Serialize` and `DeserializeOwned`",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to it; large bytes are best passed as `fdbray::Blob`"
)]
pub trait Value: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Value for T {}

/// Encodes `value`, or says why that cannot be done.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, String> {
    let scratch = SCRATCH.take();
    let mode = Switched::to(Mode::Encoding(Vec::new()));
    let encoded = postcard::serialize_with_flavor(value, Buffer(scratch));
    let Mode::Encoding(handles) = mode.back() else { unreachable!("whoever takes the mode puts it back") };
    match encoded {
        Ok(bytes) => Ok(Encoded { payload: keep(bytes), handles }),
        Err(error) => Err(explain(error).to_owned()),
    }
}

/// Decodes all of `payload`, which came from `source`. The error says why it does not fit.
pub(crate) fn decode<T: DeserializeOwned>(
    payload: &Payload,
    source: impl FnOnce() -> Source,
) -> Result<T, String> {
    // A source costs a few counted references, and a type without drop glue holds no future. Should one decode a
    // future all the same, and keep nothing of it, it is decoded again with the source.
    if !mem::needs_drop::<T>() {
        let mode = Switched::to(Mode::DecodingPlain);
        let decoded = take(payload);
        if !matches!(mode.back(), Mode::SourceWanted) {
            return decoded;
        }
    }
    let bytes = match payload {
        Payload::Shared(bytes) => bytes.clone(),
        Payload::InPlace(..) => Bytes::new(),
    };
    let _mode = Switched::to(Mode::Decoding(source(), bytes));
    take(payload)
}

fn take<T: DeserializeOwned>(payload: &Payload) -> Result<T, String> {
    match postcard::take_from_bytes::<T>(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over after a `{}`", rest.len(), type_name::<T>())),
        Err(error) => {
            Err(format!("{} bytes do not hold a `{}`: {}", payload.len(), type_name::<T>(), explain(error)))
        }
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
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static MODE: Cell<Mode> = const { Cell::new(Mode::Outside) };
}

/// What this thread is doing with a value.
#[derive(Default)]
enum Mode {
    /// Nothing of fdbray's.
    #[default]
    Outside,
    /// Encoding; collects a handle of each future in the value.
    Encoding(Vec<Handle>),
    /// Decoding bytes from this source. They are here too if they are shared, so that parts can share them.
    Decoding(Source, Bytes),
    /// Decoding something that should have no use for a source.
    DecodingPlain,
    /// It had.
    SourceWanted,
}

/// Puts the previous mode back, also when a user's `Serialize` panics.
struct Switched(Option<Mode>);

impl Switched {
    fn to(mode: Mode) -> Self {
        Switched(Some(MODE.replace(mode)))
    }

    /// The mode that is left.
    fn back(mut self) -> Mode {
        MODE.replace(self.0.take().unwrap_or_default())
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        if let Some(previous) = self.0.take() {
            MODE.set(previous);
        }
    }
}

/// Takes a handle of a future that is being encoded; false outside fdbray's encoding.
pub(crate) fn collect(handle: &Handle) -> bool {
    let mut mode = MODE.take();
    let encoding = if let Mode::Encoding(handles) = &mut mode {
        handles.push(handle.clone());
        true
    } else {
        false
    };
    MODE.set(mode);
    encoding
}

/// A handle of a future whose id was just decoded; `None` outside fdbray's encoding.
pub(crate) fn adopt(id: ObjectId) -> Option<Handle> {
    let mode = MODE.take();
    let (handle, mode) = match mode {
        Mode::Decoding(source, bytes) => (Some(Handle::adopt(id, &source)), Mode::Decoding(source, bytes)),
        Mode::DecodingPlain => (None, Mode::SourceWanted),
        other => (None, other),
    };
    MODE.set(mode);
    handle
}

/// A part of what is being decoded, shared with the whole where that saves a copy of many bytes.
pub(crate) fn share(part: &[u8]) -> Blob {
    let mut shared = None;
    if part.len() > KEEP {
        let mode = MODE.take();
        if let Mode::Decoding(_, whole) = &mode
            && part.len() >= whole.len() / 2
            && whole.as_ptr_range().contains(&part.as_ptr())
        {
            shared = Some(whole.slice_ref(part));
        }
        MODE.set(mode);
    }
    Blob::from(shared.unwrap_or_else(|| Bytes::copy_from_slice(part)))
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
        E::SerdeSerCustom => "its own `Serialize` refused",
        E::SerdeDeCustom => "its own `Deserialize` refused what the bytes say",
        E::DeserializeUnexpectedEnd => "they end too early",
        _ => "they say something else",
    }
}

/// Writes to a `Vec`, which postcard's own flavors either make anew or extend byte by byte.
struct Buffer(Vec<u8>);

impl postcard::ser_flavors::Flavor for Buffer {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}
