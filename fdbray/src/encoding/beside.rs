//! Large bytes beside the postcard part of a value, which are neither copied into it nor out of it.
//!
//! A [`Blob`](crate::Blob) of more than [`BESIDE`] bytes is offered to the encoder, which keeps a reference to it in a
//! list and writes a *marker* in its place: bytes of a fixed length, a constant and the place in the list. The reader
//! gives the buffer wherever it reads a marker, whatever type asks for bytes there: a `Blob` shares it, a `&[u8]` borrows
//! it. Other bytes that look like a marker go beside, too, so that there is no other; and in a value without buffers
//! nothing is a marker.
//!
//! Only this crate's own writer is offered anything. What another serializer writes, also one that a user's `Serialize`
//! uses within a value of fdbray's, is plain.

use super::{COLLECTED, MODE, Mode};
use bytes::Bytes;
use fdbray_worker::payload::BESIDE;
use postcard::{Deserializer, Serializer, de_flavors, ser_flavors};
use std::{any::type_name, borrow::Cow, cell::Cell};

/// Bytes of a marker.
const MARKER: usize = 20;

/// What a marker begins with: random, and no text.
const MAGIC: [u8; 16] =
    [0xff, 0x5b, 0xd7, 0xa2, 0x1c, 0x94, 0xe8, 0x03, 0x6d, 0xb0, 0xf9, 0x47, 0x82, 0x3e, 0xca, 0x15];

thread_local! {
    /// The next marker that is written stands for a buffer.
    static OFFERED: Cell<bool> = const { Cell::new(false) };
    /// Which buffer was read last.
    static READ: Cell<usize> = const { Cell::new(0) };
}

/// Whether `S` is this crate's own writer. Compared by name, which is the only thing to be known of a type that may
/// borrow; no other type has that name.
pub(crate) fn is_writer<S>() -> bool {
    type_name::<S>() == type_name::<&mut Serializer<Writer>>()
}

/// Whether `D` is this crate's own reader.
pub(crate) fn is_reader<D>() -> bool {
    type_name::<D>() == type_name::<&mut Deserializer<'static, Reader<'static>>>()
}

/// Puts `bytes` beside what the serializer `S` writes: what to write in their place. `None` when they are to be written as
/// they are.
#[inline]
pub(crate) fn offer<S>(bytes: &Bytes) -> Option<[u8; MARKER]> {
    let large = bytes.len() > BESIDE;
    if !large || !is_writer::<S>() || !matches!(MODE.get(), Mode::Encoding | Mode::Collecting) {
        return None;
    }
    OFFERED.set(true);
    Some(marker(put_beside(bytes.clone())))
}

/// The buffer that `part` is, if it is the one that was read last; `buffers` are those of the value.
pub(super) fn last_read(part: &[u8], buffers: &[Bytes]) -> Option<Bytes> {
    let buffer = buffers.get(READ.get())?;
    (buffer.as_ptr() == part.as_ptr() && buffer.len() == part.len()).then(|| buffer.clone())
}

/// Adds a buffer to those of the value; returns its place.
fn put_beside(bytes: Bytes) -> usize {
    MODE.set(Mode::Collecting);
    let mut collected = COLLECTED.take();
    let same = |b: &Bytes| b.as_ptr() == bytes.as_ptr() && b.len() == bytes.len();
    // The same twice is often near: a few are looked at, so that many buffers cost no more than that.
    let near = collected.buffers.len().saturating_sub(8);
    let index = match collected.buffers[near..].iter().position(same) {
        Some(at) => near + at,
        None => {
            collected.buffers.push(bytes);
            collected.buffers.len() - 1
        }
    };
    COLLECTED.set(collected);
    index
}

fn marker(index: usize) -> [u8; MARKER] {
    let mut marker = [0; MARKER];
    marker[..MAGIC.len()].copy_from_slice(&MAGIC);
    // Each buffer is a reference of several words in a list, so there are fewer.
    marker[MAGIC.len()..].copy_from_slice(&(index as u32).to_le_bytes());
    marker
}

/// Whether it is worth to look. Asked for all that is written and read.
#[inline]
fn may_be_marker(bytes: &[u8]) -> bool {
    bytes.len() == MARKER && bytes[0] == MAGIC[0]
}

/// What is written for bytes that may look like a marker.
#[cold]
fn escaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    if marked(bytes).is_none() || OFFERED.take() {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(marker(put_beside(Bytes::copy_from_slice(bytes))).to_vec())
}

/// What is read where bytes are that may be a marker.
#[cold]
fn resolved<'de>(part: &'de [u8], buffers: &'de [Bytes]) -> postcard::Result<&'de [u8]> {
    let Some(index) = marked(part).filter(|_| !buffers.is_empty()) else { return Ok(part) };
    READ.set(index);
    buffers.get(index).map(|b| &b[..]).ok_or(postcard::Error::DeserializeBadEncoding)
}

/// The place that a marker names.
fn marked(bytes: &[u8]) -> Option<usize> {
    let index = bytes.strip_prefix(&MAGIC)?;
    Some(u32::from_le_bytes(index.try_into().ok()?) as usize)
}

/// Writes to a `Vec`, which postcard's own flavors either make anew or extend byte by byte.
pub(super) struct Writer(pub Vec<u8>);

impl ser_flavors::Flavor for Writer {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if may_be_marker(bytes) {
            self.0.extend_from_slice(&escaped(bytes));
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Reads a value and the buffers beside it.
pub(super) struct Reader<'de> {
    bytes: de_flavors::Slice<'de>,
    buffers: &'de [Bytes],
}

impl<'de> Reader<'de> {
    #[inline]
    pub fn new(bytes: &'de [u8], buffers: &'de [Bytes]) -> Self {
        Reader { bytes: de_flavors::Slice::new(bytes), buffers }
    }
}

impl<'de> de_flavors::Flavor<'de> for Reader<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    #[inline]
    fn pop(&mut self) -> postcard::Result<u8> {
        self.bytes.pop()
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.bytes.size_hint()
    }

    #[inline]
    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        let part = self.bytes.try_take_n(count)?;
        if may_be_marker(part) { resolved(part, self.buffers) } else { Ok(part) }
    }

    #[inline]
    fn finalize(self) -> postcard::Result<&'de [u8]> {
        self.bytes.finalize()
    }
}
