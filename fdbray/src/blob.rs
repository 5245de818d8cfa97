//! Immutable bytes.

use crate::encoding::{beside::offer, shared};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, ops::Deref};

/// Immutable bytes, shared: cloning copies a reference, and so does making one of a `Vec<u8>`.
///
/// The type for large binary data, alone or inside a struct that derives `Serialize` and `Deserialize`: more than 64 KiB
/// travel beside the rest of the value, so that encoding and decoding copy no bytes, and a `Blob` that was decoded is a
/// view of what arrived. A `Vec<u8>` is copied each time, byte by byte. To any other serializer it is plain bytes.
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

impl From<Blob> for Bytes {
    fn from(blob: Blob) -> Self {
        blob.0
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
        match offer::<S>(&self.0) {
            Some(marker) => serializer.serialize_bytes(&marker),
            None => serializer.serialize_bytes(self),
        }
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
        Ok(Blob(shared(bytes).unwrap_or_else(|| Bytes::copy_from_slice(bytes))))
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

    fn blob(len: usize) -> Blob {
        Blob::from((0..len).map(|i| i as u8).collect::<Vec<_>>())
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Images {
        name: String,
        left: Blob,
        right: Option<Blob>,
        small: Vec<Blob>,
    }

    fn images(len: usize) -> Images {
        let small = vec![blob(0), blob(20), blob(100)];
        Images { name: "x".repeat(20), left: blob(len), right: Some(blob(len + 1)), small }
    }

    #[test]
    fn large_ones_are_encoded_and_decoded_without_a_copy_and_small_ones_stay_in_place() {
        let images = images(BESIDE);
        let encoded = encode(&images).unwrap();
        let [right] = encoded.payload.buffers() else { panic!("{:?}", encoded.payload) };
        assert!(encoded.payload.head().len() > BESIDE);
        assert_eq!(right.as_ptr(), images.right.as_ref().unwrap().as_ptr());
        let copy: Images = back(&encoded);
        assert_eq!(copy, images);
        assert_eq!(copy.right.unwrap().as_ptr(), right.as_ptr());
    }

    #[test]
    fn the_same_bytes_twice_are_one_buffer() {
        let one = blob(BESIDE + 1);
        let encoded = encode(&vec![one.clone(), blob(BESIDE + 2), one.clone()]).unwrap();
        assert_eq!(encoded.payload.buffers().len(), 2);
        let copies: Vec<Blob> = back(&encoded);
        assert!(copies[0] == one && copies[2].as_ptr() == one.as_ptr() && copies[1].len() == BESIDE + 2);
    }

    #[test]
    fn a_value_is_the_same_after_its_flat_form() {
        let images = images(100_000);
        let flat = encode(&images).unwrap().payload.contiguous();
        let payload = Payload::from_flat(flat.clone()).unwrap();
        let copy: Images = back(&payload.into());
        assert_eq!(copy, images);
        assert!(flat.as_ptr_range().contains(&copy.left.as_ptr()), "it was copied");
    }

    #[test]
    fn elsewhere_they_are_plain_bytes() {
        let images = images(BESIDE + 1);
        let json = serde_json::to_string(&images).unwrap();
        assert_eq!(serde_json::from_str::<Images>(&json).unwrap(), images);
        let plain = postcard::to_stdvec(&images).unwrap();
        assert!(plain.len() > 2 * BESIDE);
        assert_eq!(postcard::from_bytes::<Images>(&plain).unwrap(), images);
        let packed = rmp_serde::to_vec(&images).unwrap();
        assert_eq!(rmp_serde::from_slice::<Images>(&packed).unwrap(), images);
        let described = encode_described(&images).unwrap();
        assert!(described.payload.is_described() && described.payload.buffers().is_empty());
        assert_eq!(back::<Images>(&described), images);
    }

    #[test]
    fn what_another_serializer_writes_inside_a_value_is_plain_too() {
        struct Packed(Blob);
        impl Serialize for Packed {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Blob::from(postcard::to_stdvec(&self.0).unwrap()).serialize(serializer)
            }
        }
        let blob = blob(BESIDE + 1);
        let packed: Blob = back(&encode(&Packed(blob.clone())).unwrap());
        assert_eq!(postcard::from_bytes::<Blob>(&packed).unwrap(), blob);
    }

    /// What the encoder writes in place of a large blob.
    fn marker() -> Vec<u8> {
        let encoded = encode(&blob(BESIDE + 1)).unwrap();
        encoded.payload.head()[1..].to_vec()
    }

    #[test]
    fn bytes_that_look_like_the_sign_for_a_buffer_come_back_as_they_were() {
        let marker = marker();
        let values = vec![Blob::from(&marker[..]), blob(BESIDE + 1), Blob::from(marker.clone())];
        assert_eq!(back::<Vec<Blob>>(&encode(&values).unwrap()), values);
        assert_eq!(back::<Vec<u8>>(&encode(&marker).unwrap()), marker);
    }

    #[test]
    fn a_sign_for_a_buffer_that_is_not_there_is_an_error() {
        let encoded = encode(&(blob(BESIDE + 1), blob(BESIDE + 2))).unwrap();
        let fewer = Payload::in_parts(
            Bytes::copy_from_slice(encoded.payload.head()),
            encoded.payload.buffers()[..1].to_vec(),
        );
        assert!(decode::<(Blob, Blob)>(&fewer, || Source::Here).is_err());
        let none = Payload::in_parts(Bytes::copy_from_slice(encoded.payload.head()), Vec::new());
        let plain: (Blob, Blob) = decode(&none, || Source::Here).unwrap();
        assert_eq!(plain.0.len(), 20, "without buffers nothing stands for one");
    }
}
