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
use bytes::Bytes;
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
pub trait Lends<B: ?Sized> {
    /// What of an encoded value is lent.
    #[doc(hidden)]
    fn lend(payload: &Payload, source: Source) -> Result<Lent<B>, String>;
}

impl<T: RemoteValue + Send + Sync + 'static> Lends<[T]> for Vec<T> {
    fn lend(payload: &Payload, source: Source) -> Result<Lent<[T]>, String> {
        if TypeId::of::<T>() == TypeId::of::<u8>() {
            let bytes: Box<dyn Any> = Box::new(<[u8]>::lent(payload, source, Bits::<[u8]>::CAST)?);
            // It is of this type: `T` is `u8`.
            return bytes.downcast().map(|lent| *lent).map_err(|_| String::new());
        }
        <[T]>::lent(payload, source, None)
    }
}

impl<T: Pod + RemoteValue + Send + Sync> Lends<[T]> for Slab<T> {
    fn lend(payload: &Payload, source: Source) -> Result<Lent<[T]>, String> {
        <[T]>::lent(payload, source, Bits::<[T]>::CAST)
    }
}

impl Lends<[u8]> for Blob {
    fn lend(payload: &Payload, source: Source) -> Result<Lent<[u8]>, String> {
        <[u8]>::lent(payload, source, Bits::<[u8]>::CAST)
    }
}

impl Lends<str> for String {
    fn lend(payload: &Payload, source: Source) -> Result<Lent<str>, String> {
        str::lent(payload, source, None)
    }
}

/// What a borrowed parameter may borrow.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be a parameter of a remote function",
    label = "cannot travel between processes",
    note = "`&str`, `&[T]` and `&T` can, where `T` is `Serialize + DeserializeOwned + Send + Sync`"
)]
pub trait Borrowed {
    #[doc(hidden)]
    fn lent(payload: &Payload, source: Source, cast: Option<Cast<Self>>) -> Result<Lent<Self>, String>;
}

#[diagnostic::do_not_recommend]
impl Borrowed for str {
    fn lent(payload: &Payload, source: Source, _: Option<Cast<str>>) -> Result<Lent<str>, String> {
        if payload.is_described() {
            return decode(payload, || source).map(Lent::Own);
        }
        // Text is encoded as bytes are, and looked at once.
        let bytes: Blob = decode(payload, || source)?;
        let text =
            ByteString::try_from(Bytes::from(bytes)).map_err(|error| format!("it is no text: {error}"))?;
        Ok(Lent::Text(text, |text| text))
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + Sync> Borrowed for [T] {
    fn lent(payload: &Payload, source: Source, cast: Option<Cast<[T]>>) -> Result<Lent<[T]>, String> {
        let Some(cast) = cast else {
            return decode(payload, || source).map(Lent::Own);
        };
        let bytes = if !payload.is_described() && payload.head().starts_with(&Tagged::TAG) {
            decode::<Tagged>(payload, || source)?.2
        } else if (cast.is_bytes)() {
            // A sequence of bytes is encoded as bytes are.
            decode(payload, || source)?
        } else {
            return decode(payload, || source).map(Lent::Own);
        };
        let aligned = (cast.align)(bytes).map_err(|error| error.to_string())?;
        Ok(Lent::Bytes(aligned, cast.cast))
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + Sync> Borrowed for T {
    fn lent(payload: &Payload, source: Source, _: Option<Cast<T>>) -> Result<Lent<T>, String> {
        decode(payload, || source).map(Lent::Own)
    }
}

/// A `B`, for as long as this lives.
pub enum Lent<B: ?Sized> {
    /// Decoded.
    Own(Box<B>),
    /// It lies in bytes as it is; these were checked to be such.
    Bytes(Blob, fn(&[u8]) -> &B),
    /// It lies in text as it is.
    Text(ByteString, fn(&str) -> &B),
}

impl<B: ?Sized> Deref for Lent<B> {
    type Target = B;
    fn deref(&self) -> &B {
        match self {
            Lent::Own(value) => value,
            Lent::Bytes(bytes, cast) => cast(bytes),
            Lent::Text(text, cast) => cast(text),
        }
    }
}

impl<B: fmt::Debug + ?Sized> fmt::Debug for Lent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// How bytes are taken for a `B`.
pub struct Cast<B: ?Sized> {
    /// Of those that `align` gave.
    cast: fn(&[u8]) -> &B,
    /// Refuses those that are not whole; copies those that are not aligned.
    align: fn(Blob) -> Result<Blob, CastError>,
    /// Whether a `B` is bytes.
    is_bytes: fn() -> bool,
}

impl<B: ?Sized> fmt::Debug for Cast<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cast")
    }
}

/// Whether a `B` can lie in bytes as it is: `Bits::<B>::CAST`, with [`NoBits`] in scope. As `returns`
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
        cast: |bytes| try_cast_slice(bytes).unwrap_or_default(),
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

    fn items<T: Pod + DeserializeOwned + Send + Sync>(payload: &Payload) -> Lent<[T]> {
        <[T]>::lent(payload, Source::Here, Bits::<[T]>::CAST).unwrap()
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
            let lent = str::lent(&payload, Source::Here, None).unwrap();
            assert_eq!(*lent, text);
            assert!(text.len() < 5000 || payload.head().as_ptr_range().contains(&lent.as_ptr()));
            assert_eq!(*str::lent(&described(&text), Source::Here, None).unwrap(), text);
        }
        assert!(str::lent(&payload(&vec![0xff_u8; 3]), Source::Here, None).is_err());
    }

    #[test]
    fn futures_of_what_lends_are_read_as_what_they_are() {
        fn lent<B: ?Sized, P: Lends<B> + Serialize>(value: &P) -> Lent<B> {
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
        let error = <[u32]>::lent(&halves, Source::Here, Bits::<[u32]>::CAST).unwrap_err();
        assert_eq!(error, "6 bytes are not a whole number of `u32`, which has 4");
        let text = Payload::copy_from(&[9, b'a']);
        assert!(str::lent(&text, Source::Here, None).is_err());
        assert!(<[u8]>::lent(&text, Source::Here, Bits::<[u8]>::CAST).is_err());
    }
}
