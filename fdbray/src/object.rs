//! Values that are kept as objects, and the types for large bytes and numbers.

use crate::{
    Error, RemoteFuture, Result,
    encoding::{RemoteValue, encode, share},
};
use bytemuck::Pod;
use bytes::Bytes;
use fdbray_worker::runtime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, ops::Deref, sync::Arc};

/// Keeps `value` as an object of this process, to be passed to many calls while it is encoded and sent once.
///
/// # Errors
/// [`Error::Encode`] when the value cannot be encoded, [`Error::StoreFull`] when there is no room for it,
/// [`Error::Shutdown`] when the runtime has ended.
///
/// ```no_run
/// # use fdbray::prelude::*;
/// # #[remote] fn lookup(table: Vec<u32>, i: usize) -> u32 { table[i] }
/// # async fn f() -> fdbray::Result<()> {
/// let table: Vec<u32> = (0..1_000_000).collect();
/// let table = fdbray::put(&table)?;
/// let found = lookup::map((0..100).map(|i| (&table, i)));
/// # Ok(()) }
/// ```
pub fn put<T: RemoteValue>(value: &T) -> Result<RemoteFuture<T>> {
    let encoded = encode(value).map_err(|why| Error::encode("the value given to `fdbray::put`", why))?;
    Ok(RemoteFuture::new(runtime::put(encoded)?, None))
}

/// Immutable bytes, shared: cloning copies a reference, and so does making one of a `Vec<u8>`.
///
/// Travels as it is, without a conversion per byte, which makes it the type for large binary data.
///
/// ```
/// # use fdbray::Blob;
/// let blob = Blob::from(vec![1, 2, 3]);
/// assert_eq!(blob.len(), 3);
/// assert_eq!(&blob[1..], [2, 3]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(Bytes);

impl Blob {
    /// A part of it, which shares its bytes.
    ///
    /// # Panics
    /// When `range` is not inside it.
    pub fn slice(&self, range: impl std::ops::RangeBounds<usize>) -> Blob {
        Blob(self.0.slice(range))
    }

    /// The bytes. Copies them unless this is the only handle of all of them.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into()
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(bytes.into())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Blob(bytes)
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Blob(Bytes::copy_from_slice(bytes))
    }
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> de::Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(share(bytes))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob::from(bytes))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Blob::from(bytes))
    }
}

/// An immutable slice of plain numbers, shared: cloning copies a reference.
///
/// ```
/// # use fdbray::Slab;
/// let slab = Slab::from(vec![1.0_f32, 2.0]);
/// assert_eq!(slab.iter().sum::<f32>(), 3.0);
/// ```
pub struct Slab<T>(Arc<[T]>);

impl<T> Clone for Slab<T> {
    fn clone(&self) -> Self {
        Slab(self.0.clone())
    }
}

impl<T: Pod> From<Vec<T>> for Slab<T> {
    fn from(items: Vec<T>) -> Self {
        Slab(items.into())
    }
}

impl<T: Pod> From<&[T]> for Slab<T> {
    fn from(items: &[T]) -> Self {
        Slab(items.into())
    }
}

impl<T: Pod> FromIterator<T> for Slab<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Slab(items.into_iter().collect())
    }
}

impl<T: Pod> Deref for Slab<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Pod + PartialEq> PartialEq for Slab<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} items)", self.0.len())
    }
}

impl<T: Pod + Serialize> Serialize for Slab<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Pod + Deserialize<'de>> Deserialize<'de> for Slab<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Slab::from)
    }
}
