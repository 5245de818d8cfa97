//! How records become bytes: MessagePack with field names, and bytes in them as bytes.

use super::error::DurableError;
use crate::control::store::StoreError;
use serde::Serialize;

/// A record as MessagePack with field names.
pub(super) fn encode<T: Serialize>(kind: &str, record: &T) -> Result<Vec<u8>, DurableError> {
    // Long enough for most.
    let mut bytes = Vec::with_capacity(512);
    match record.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map()) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(StoreError::Record { key: kind.into(), why: error.to_string() }.into()),
    }
}

/// What is under `key`.
pub(super) fn decode<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, DurableError> {
    rmp_serde::from_slice(value).map_err(|error| {
        let key = key.escape_ascii().to_string();
        StoreError::Record { key, why: error.to_string() }.into()
    })
}

/// Bytes as MessagePack's binary, not as an array of numbers.
pub(super) mod binary {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    pub(in crate::control::durable) fn serialize<S: Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(in crate::control::durable) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Binary)
    }

    struct Binary;

    impl<'de> Visitor<'de> for Binary {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = array.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }

    /// The same, optional.
    pub(in crate::control::durable) mod optional {
        use serde::{Deserialize, Deserializer, Serializer};

        #[derive(Deserialize)]
        struct Binary(#[serde(with = "super")] Vec<u8>);

        pub(in crate::control::durable) fn serialize<S: Serializer>(
            bytes: &Option<Vec<u8>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => serializer.serialize_bytes(bytes),
                None => serializer.serialize_none(),
            }
        }

        pub(in crate::control::durable) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Vec<u8>>, D::Error> {
            Ok(Option::<Binary>::deserialize(deserializer)?.map(|binary| binary.0))
        }
    }
}
