//! Immutable slices of plain numbers.

use crate::{
    Blob,
    encoding::beside::{is_reader, is_writer},
};
use bytemuck::{Pod, cast_slice, try_cast_slice};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{any::type_name, fmt, marker::PhantomData, ops::Deref};

/// An immutable slice of plain numbers, shared: cloning copies a reference, and so does making one of a `Vec<T>`.
///
/// As [`Blob`] is the type for large binary data, this is the one for large arrays of numbers (or of structs of numbers
/// that are [`bytemuck::Pod`]): its items travel as they lie in memory, more than 64 KiB of them beside the rest of the
/// value, without a copy. A `Vec<T>` is encoded item by item. To any other serializer it is a plain sequence.
///
/// ```
/// # use fdbray::Slab;
/// let slab = Slab::from(vec![1.0_f32, 2.0]);
/// assert_eq!(slab.iter().sum::<f32>(), 3.0);
/// ```
pub struct Slab<T> {
    /// Aligned for `T`, unless empty, and a whole number of items.
    bytes: Bytes,
    of: PhantomData<fn() -> T>,
}

impl<T: Pod> Slab<T> {
    /// The items that `bytes` are, without a copy.
    fn view(bytes: Bytes) -> Result<Self, CastError> {
        if let (false, Err(error)) = (bytes.is_empty(), try_cast_slice::<u8, T>(&bytes)) {
            return Err(match error {
                bytemuck::PodCastError::TargetAlignmentGreaterAndInputNotAligned => {
                    CastError::Misaligned { item: type_name::<T>(), alignment: align_of::<T>() }
                }
                _ => CastError::Length { item: type_name::<T>(), size: size_of::<T>(), len: bytes.len() },
            });
        }
        Ok(Slab { bytes, of: PhantomData })
    }

    /// The items that `bytes` are, copied to where they are aligned.
    ///
    /// # Errors
    /// [`CastError::Length`] when they are not a whole number of items.
    pub fn copy_from_bytes(bytes: &[u8]) -> Result<Self, CastError> {
        let mut memory: Vec<u8> = Vec::with_capacity(bytes.len() + align_of::<T>());
        let address = memory.as_ptr() as usize;
        let from = address.next_multiple_of(align_of::<T>()) - address;
        memory.resize(from, 0);
        memory.extend_from_slice(bytes);
        Slab::view(Bytes::from(memory).slice(from..))
    }

    /// The items that `blob` is, copied only where it is not aligned for them.
    pub(crate) fn received(blob: Blob) -> Result<Self, CastError> {
        match Slab::view(blob.clone().into()) {
            Err(CastError::Misaligned { .. }) => Slab::copy_from_bytes(&blob),
            slab => slab,
        }
    }
}

/// Bytes are no items of a [`Slab`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CastError {
    /// They are not a whole number of items.
    #[error("{len} bytes are not a whole number of `{item}`, which has {size}")]
    Length {
        /// The type of an item.
        item: &'static str,
        /// Its bytes.
        size: usize,
        /// How many bytes there are.
        len: usize,
    },
    /// They do not begin where an item may.
    #[error(
        "the bytes do not begin at a multiple of {alignment}, as `{item}` must; copy them with \
         `Slab::copy_from_bytes`"
    )]
    Misaligned {
        /// The type of an item.
        item: &'static str,
        /// Its alignment.
        alignment: usize,
    },
}

/// Keeps the items of a `Vec` where they are.
struct Owner<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        cast_slice(&self.0)
    }
}

impl<T> Clone for Slab<T> {
    fn clone(&self) -> Self {
        Slab { bytes: self.bytes.clone(), of: PhantomData }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { bytes: Bytes::new(), of: PhantomData }
    }
}

impl<T: Pod + Send> From<Vec<T>> for Slab<T> {
    fn from(items: Vec<T>) -> Self {
        const { assert!(size_of::<T>() > 0, "the items of a slab have a size") }
        Slab { bytes: Bytes::from_owner(Owner(items)), of: PhantomData }
    }
}

impl<T: Pod + Send> From<&[T]> for Slab<T> {
    fn from(items: &[T]) -> Self {
        Slab::from(items.to_vec())
    }
}

impl<T: Pod + Send> FromIterator<T> for Slab<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Slab::from(Vec::from_iter(items))
    }
}

/// The same memory as items. Fails where the bytes are not aligned for them, which those of [`buffer`](crate::buffer) are.
///
/// ```
/// # use fdbray::{Blob, Slab};
/// let slab = Slab::from(vec![1.0_f32, 2.0]);
/// let blob = Blob::from(slab.clone()); // no copy
/// assert_eq!(blob.len(), 8);
/// assert_eq!(Slab::<f32>::try_from(blob.clone())?, slab); // nor here
/// assert!(Slab::<f32>::try_from(blob.slice(1..)).is_err());
/// # Ok::<(), fdbray::CastError>(())
/// ```
impl<T: Pod> TryFrom<Blob> for Slab<T> {
    type Error = CastError;
    fn try_from(blob: Blob) -> Result<Self, CastError> {
        Slab::view(blob.into())
    }
}

/// The same memory as bytes.
impl<T> From<Slab<T>> for Blob {
    fn from(slab: Slab<T>) -> Self {
        Blob::from(slab.bytes)
    }
}

impl<T: Pod> Deref for Slab<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // Made only of what can be cast; nothing is cast of what may lie anywhere since it is empty.
        if self.bytes.is_empty() { &[] } else { cast_slice(&self.bytes) }
    }
}

impl<T: Pod> AsRef<[T]> for Slab<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod + PartialEq> PartialEq for Slab<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} items)", self.bytes.len() / size_of::<T>().max(1))
    }
}

/// What a slab is in fdbray's encoding: two bytes that no sequence begins with, since there they would be a length of
/// zero that is written with a byte too many, and its bytes. So a parameter `&[T]` can tell slabs and sequences apart.
#[derive(Serialize, Deserialize)]
pub(crate) struct Tagged(u8, u8, pub Blob);

impl Tagged {
    pub(crate) const TAG: [u8; 2] = [0x80, 0x00];
}

impl<T: Pod + Serialize> Serialize for Slab<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if is_writer::<S>() {
            let [first, second] = Tagged::TAG;
            Tagged(first, second, Blob::from(self.bytes.clone())).serialize(serializer)
        } else {
            serializer.collect_seq(self.iter())
        }
    }
}

impl<'de, T: Pod + Deserialize<'de>> Deserialize<'de> for Slab<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slab = if is_reader::<D>() {
            let Tagged(first, second, bytes) = Tagged::deserialize(deserializer)?;
            if [first, second] != Tagged::TAG {
                return Err(de::Error::custom("no slab begins like this"));
            }
            Slab::received(bytes)
        } else {
            let items: Vec<T> = Vec::deserialize(deserializer)?;
            Slab::copy_from_bytes(cast_slice(&items))
        };
        slab.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{decode, encode, encode_described};
    use fdbray_worker::{
        exec::Source,
        payload::{BESIDE, Encoded, Payload},
    };
    use serde::de::DeserializeOwned;

    fn back<T: DeserializeOwned>(encoded: &Encoded) -> T {
        decode(&encoded.payload, || Source::Here).unwrap()
    }

    fn numbers(len: usize) -> Slab<f64> {
        (0..len).map(|i| i as f64).collect()
    }

    #[test]
    fn a_vec_becomes_a_slab_and_a_blob_and_a_slab_again_where_it_is() {
        let items: Vec<u64> = (0..1000).collect();
        let address = items.as_ptr();
        let slab = Slab::from(items);
        assert_eq!(slab.as_ptr(), address);
        let blob = Blob::from(slab.clone());
        assert_eq!((blob.as_ptr(), blob.len()), (address.cast(), 8000));
        let again = Slab::<u64>::try_from(blob).unwrap();
        assert!(again == slab && again.as_ptr() == address);
    }

    #[test]
    fn what_is_not_aligned_or_not_whole_says_so() {
        let blob = Blob::from(numbers(2));
        let misaligned = Slab::<f64>::try_from(blob.slice(1..9)).unwrap_err();
        assert!(misaligned.to_string().contains("multiple of 8, as `f64` must"), "{misaligned}");
        let part = Slab::<f64>::try_from(blob.slice(..9)).unwrap_err();
        assert_eq!(part.to_string(), "9 bytes are not a whole number of `f64`, which has 8");
        assert!(Slab::<f64>::try_from(blob.slice(1..1)).unwrap().is_empty());
    }

    #[test]
    fn slabs_of_every_size_come_back() {
        for len in [0, 1, 2, 511, 512, 513, BESIDE / 8, BESIDE / 8 + 1, 100_000] {
            let value = ("a".to_owned(), numbers(len), 7_u8);
            let encoded = encode(&value).unwrap();
            assert_eq!(encoded.payload.buffers().len(), usize::from(len * 8 > BESIDE));
            assert_eq!(back::<(String, Slab<f64>, u8)>(&encoded), value);
        }
    }

    #[test]
    fn large_ones_are_encoded_and_decoded_without_a_copy() {
        let slab = numbers(100_000);
        let copy: Slab<f64> = back(&encode(&slab).unwrap());
        assert_eq!(copy.as_ptr(), slab.as_ptr());
    }

    #[test]
    fn a_buffer_that_arrived_misaligned_is_copied_and_right() {
        let slab = numbers(100_000);
        let flat = encode(&slab).unwrap().payload.contiguous();
        for off in 0..9 {
            let mut memory = vec![0; off];
            memory.extend_from_slice(&flat);
            let payload = Payload::from_flat(Bytes::from(memory).slice(off..)).unwrap();
            assert_eq!(back::<Slab<f64>>(&payload.into()), slab);
        }
    }

    #[test]
    fn elsewhere_they_are_plain_sequences() {
        let slab = numbers(3);
        assert_eq!(serde_json::to_string(&slab).unwrap(), "[0.0,1.0,2.0]");
        assert_eq!(serde_json::from_str::<Slab<f64>>("[0.0,1.0,2.0]").unwrap(), slab);
        let plain = postcard::to_stdvec(&slab).unwrap();
        assert_eq!(plain, postcard::to_stdvec(&slab[..]).unwrap());
        assert_eq!(postcard::from_bytes::<Slab<f64>>(&plain).unwrap(), slab);
        let described = encode_described(&numbers(100_000)).unwrap();
        assert!(described.payload.is_described());
        assert_eq!(back::<Vec<f64>>(&described)[..], numbers(100_000)[..], "a changed type still reads it");
        assert_eq!(back::<Slab<f64>>(&described), numbers(100_000));
    }

    #[test]
    fn what_is_no_slab_is_an_error() {
        for damaged in [&[0_u8, 0, 0][..], &[0x80, 0, 3, 1, 2, 3], &[0x80, 0, 9], &[0x80]] {
            let encoded = Payload::copy_from(damaged).into();
            let Encoded { payload, .. } = &encoded;
            assert!(decode::<Slab<u32>>(payload, || Source::Here).is_err(), "{damaged:?}");
        }
    }
}
