//! What lends a borrowed parameter its value, in place where that can be.
//!
//! | parameter | given | reads |
//! |---|---|---|
//! | `&str` | text | in place |
//! | `&[u8]` | a `Vec<u8>`, a [`Blob`] or a `Slab<u8>` | in place |
//! | `&[T]` | a [`Slab`] | in place; copied where it arrived misaligned, which only small ones do |
//! | `&[T]` | a `Vec<T>`, an array, a slice | decoded once |
//! | `&T` | a `T` | decoded once |
//!
//! What arrived is kept for the call, also where an async function waits.

use crate::{
    Blob, Slab,
    encoding::{RemoteValue, decode},
    slab::{CastError, Tagged},
};
use bytemuck::{Pod, try_cast_slice};
use bytestring::ByteString;
use fdbray_worker::{exec::Source, payload::Payload};
use serde::de::DeserializeOwned;
use std::{
    any::{Any, TypeId},
    fmt,
    marker::PhantomData,
    ops::Deref,
};

/// A value whose future can be passed for a parameter that borrows a `B`, and can be [viewed](crate::RemoteFuture::view)
/// as one: a `Vec`, a [`Slab`] and a [`Blob`] lend slices, a `String` lends a `str`.
pub trait Lends<B: Borrowed + ?Sized> {
    /// What of an encoded value is lent.
    #[doc(hidden)]
    fn lend(payload: &Payload, source: Source) -> Result<B::Held, String>;
}

impl<T: RemoteValue + Send + Sync + 'static> Lends<[T]> for Vec<T> {
    fn lend(payload: &Payload, source: Source) -> Result<Items<T>, String> {
        if TypeId::of::<T>() == TypeId::of::<u8>() {
            let bytes: Box<dyn Any> = Box::new(<[u8]>::held(payload, source, Bits::<[u8]>::CAST)?);
            // It is of this type: `T` is `u8`.
            return bytes.downcast().map(|items| *items).map_err(|_| String::new());
        }
        <[T]>::held(payload, source, None)
    }
}

impl<T: Pod + RemoteValue + Send + Sync> Lends<[T]> for Slab<T> {
    fn lend(payload: &Payload, source: Source) -> Result<Items<T>, String> {
        <[T]>::held(payload, source, Bits::<[T]>::CAST)
    }
}

impl Lends<[u8]> for Blob {
    fn lend(payload: &Payload, source: Source) -> Result<Items<u8>, String> {
        <[u8]>::held(payload, source, Bits::<[u8]>::CAST)
    }
}

impl Lends<str> for String {
    fn lend(payload: &Payload, source: Source) -> Result<ByteString, String> {
        str::held(payload, source, None)
    }
}

/// What a borrowed parameter may borrow.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be a parameter of a remote function",
    label = "cannot travel between processes",
    note = "`&str`, `&[T]` and `&T` can, where `T` is `Serialize + DeserializeOwned + Send + Sync`"
)]
pub trait Borrowed {
    /// What lends it for the call.
    #[doc(hidden)]
    type Held: Deref<Target = Self>;
    #[doc(hidden)]
    fn held(payload: &Payload, source: Source, cast: Option<Cast<Self>>) -> Result<Self::Held, String>;
}

#[diagnostic::do_not_recommend]
impl Borrowed for str {
    type Held = ByteString;

    fn held(payload: &Payload, source: Source, _: Option<Cast<str>>) -> Result<ByteString, String> {
        if payload.is_described() {
            return decode::<String>(payload, || source).map(ByteString::from);
        }
        // Text is encoded as bytes are, and looked at once.
        let bytes: Blob = decode(payload, || source)?;
        ByteString::try_from(bytes::Bytes::from(bytes)).map_err(|error| format!("it is no text: {error}"))
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + Sync> Borrowed for [T] {
    type Held = Items<T>;

    fn held(payload: &Payload, source: Source, cast: Option<Cast<[T]>>) -> Result<Items<T>, String> {
        let Some(cast) = cast else {
            return decode(payload, || source).map(Items::Decoded);
        };
        let bytes = if !payload.is_described() && payload.head().starts_with(&Tagged::TAG) {
            decode::<Tagged>(payload, || source)?.2
        } else if (cast.is_bytes)() {
            // A sequence of bytes is encoded as bytes are.
            decode(payload, || source)?
        } else {
            return decode(payload, || source).map(Items::Decoded);
        };
        let aligned = (cast.align)(bytes).map_err(|error| error.to_string())?;
        Ok(Items::Cast(aligned, cast.cast))
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + Sync> Borrowed for T {
    type Held = Own<T>;

    fn held(payload: &Payload, source: Source, _: Option<Cast<T>>) -> Result<Own<T>, String> {
        decode(payload, || source).map(Own)
    }
}

/// A value that was decoded.
#[derive(Debug)]
pub struct Own<T>(T);

impl<T> Deref for Own<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Items that were decoded, or lie in bytes as they are.
pub enum Items<T> {
    /// Decoded.
    Decoded(Vec<T>),
    /// In place: the cast was tried.
    Cast(Blob, fn(&[u8]) -> Option<&[T]>),
}

impl<T> Deref for Items<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Items::Decoded(items) => items,
            Items::Cast(bytes, cast) => cast(bytes).unwrap_or_default(),
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items", self.len())
    }
}

/// How bytes are taken for a `B`.
pub struct Cast<B: ?Sized> {
    /// Of those that are aligned and whole.
    cast: fn(&[u8]) -> Option<&B>,
    /// Copies those that are not aligned.
    align: fn(Blob) -> Result<Blob, CastError>,
    /// Whether a `B` is bytes.
    is_bytes: fn() -> bool,
}

impl<B: ?Sized> fmt::Debug for Cast<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cast")
    }
}

/// Whether a `B` can lie in bytes as it is: `Bits::<B>::CAST`, with [`NoBits`] in scope. As [`returns`](crate::returns)
/// does, an inherent constant hides the one of the trait.
#[derive(Debug)]
pub struct Bits<B: ?Sized>(PhantomData<B>);

/// Says that a `B` cannot lie in bytes, unless [`Bits`] says that it can.
pub trait NoBits<B: ?Sized> {
    /// How to take it from bytes.
    const CAST: Option<Cast<B>> = None;
}

impl<B: ?Sized> NoBits<B> for Bits<B> {}

impl<T: Pod> Bits<[T]> {
    /// How to take it from bytes.
    pub const CAST: Option<Cast<[T]>> = Some(Cast {
        cast: |bytes| if bytes.is_empty() { Some(&[]) } else { try_cast_slice(bytes).ok() },
        align: |bytes| Slab::<T>::received(bytes).map(Blob::from),
        is_bytes: || TypeId::of::<T>() == TypeId::of::<u8>(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{encode, encode_described};
    use fdbray_worker::payload::BESIDE;
    use serde::Serialize;

    fn payload<T: Serialize>(value: &T) -> Payload {
        encode(value).unwrap().payload
    }

    fn described<T: Serialize>(value: &T) -> Payload {
        encode_described(value).unwrap().payload
    }

    fn items<T: Pod + DeserializeOwned + Send + Sync>(payload: &Payload) -> Items<T> {
        <[T]>::held(payload, Source::Here, Bits::<[T]>::CAST).unwrap()
    }

    #[test]
    fn types_tell_whether_they_can_lie_in_bytes() {
        assert!(Bits::<[f32]>::CAST.is_some() && Bits::<[[u16; 3]]>::CAST.is_some());
        assert!(Bits::<[String]>::CAST.is_none() && Bits::<str>::CAST.is_none());
        assert!(Bits::<[bool]>::CAST.is_none() && Bits::<Vec<u8>>::CAST.is_none());
    }

    #[test]
    fn numbers_are_read_from_slabs_in_place_and_from_sequences() {
        let numbers: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
        let slab = Slab::from(numbers.clone());
        let large = items::<f32>(&payload(&slab));
        assert_eq!(large.as_ptr(), slab.as_ptr());
        for payload in [payload(&numbers), described(&numbers), described(&slab)] {
            assert!(items::<f32>(&payload)[..] == numbers);
        }
        for len in [0, 1, 3] {
            let few = Slab::from(&numbers[..len]);
            assert_eq!(items::<f32>(&payload(&few))[..], few[..]);
            assert_eq!(items::<f32>(&payload(&few.to_vec()))[..], few[..]);
        }
    }

    #[test]
    fn bytes_are_read_in_place_from_all_that_lends_them() {
        for len in [0, 1, 127, 128, 10_000, BESIDE, BESIDE + 1] {
            let bytes = vec![0x80; len];
            let payloads = [
                payload(&bytes),
                payload(&Blob::from(bytes.clone())),
                payload(&Slab::from(bytes.clone())),
                described(&bytes),
                described(&Blob::from(bytes.clone())),
            ];
            for payload in &payloads {
                let lent = items::<u8>(payload);
                assert_eq!(lent[..], bytes);
                let parts = [payload.head()].into_iter().chain(payload.buffers().iter().map(|b| &b[..]));
                let inside = parts.into_iter().any(|p| p.as_ptr_range().contains(&lent.as_ptr()));
                assert!(inside || len < 5000 || payload.is_described(), "{len} bytes were copied");
            }
        }
    }

    #[test]
    fn text_is_read_in_place() {
        for text in ["", "a", "µ"].map(str::to_owned).into_iter().chain(["é".repeat(50_000)]) {
            let payload = payload(&text);
            let lent = str::held(&payload, Source::Here, None).unwrap();
            assert_eq!(lent, text);
            assert!(text.len() < 5000 || payload.head().as_ptr_range().contains(&lent.as_ptr()));
            assert_eq!(str::held(&described(&text), Source::Here, None).unwrap(), text);
        }
        assert!(str::held(&payload(&vec![0xff_u8; 3]), Source::Here, None).is_err());
    }

    #[test]
    fn futures_of_what_lends_are_read_as_what_they_are() {
        fn lent<B: Borrowed + ?Sized, P: Lends<B> + Serialize>(value: &P) -> B::Held {
            P::lend(&payload(value), Source::Here).unwrap()
        }
        assert_eq!(&*lent::<str, _>(&"text".to_owned()), "text");
        assert_eq!(*lent::<[u8], _>(&vec![1_u8, 2]), [1, 2]);
        assert_eq!(*lent::<[u8], _>(&Blob::from(vec![1, 2])), [1, 2]);
        assert_eq!(*lent::<[u16], _>(&Slab::from(vec![1_u16, 2])), [1, 2]);
        assert_eq!(*lent::<[u16], _>(&vec![1_u16, 2]), [1, 2]);
        assert_eq!(*lent::<[String], _>(&vec!["a".to_owned()]), ["a"]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let halves = payload(&Slab::from(vec![1_u16, 2, 3]));
        let error = <[u32]>::held(&halves, Source::Here, Bits::<[u32]>::CAST).unwrap_err();
        assert_eq!(error, "6 bytes are not a whole number of `u32`, which has 4");
        let text = Payload::copy_from(&[9, b'a']);
        assert!(str::held(&text, Source::Here, None).is_err());
        assert!(<[u8]>::held(&text, Source::Here, Bits::<[u8]>::CAST).is_err());
    }
}
