//! Values that are read where they lie.

use crate::{Lends, RemoteFuture, Result, encoding::decode, lend::Lent};
use fdbray_worker::{exec::Source, payload::Payload};
use serde::Deserialize;
use std::{fmt, future::poll_fn, ops::Deref};

impl<T> RemoteFuture<T> {
    /// The value in place of a copy of it: of a `String` a `View<str>`, of a `Vec<u8>`, a [`Blob`](crate::Blob) or a
    /// [`Slab`](crate::Slab) a view of the slice. The items of any other `Vec` are decoded, once.
    ///
    /// For structs, see [`in_place`](Self::in_place). A `Blob` or `Slab` that was awaited is such a view already.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// # #[remote] fn read(path: &str) -> String { std::fs::read_to_string(path).unwrap_or_default() }
    /// # async fn f() -> fdbray::Result<()> {
    /// let text = read::remote("novel.txt").view().await?; // a `View<str>`
    /// println!("{} lines", text.lines().count());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The error that ended the call.
    pub async fn view<B: ?Sized>(&self) -> Result<View<B>>
    where
        T: Lends<B>,
    {
        let payload = self.payload().await?;
        let source = Source::Object(self.handle().clone());
        T::lend(&payload, source).map(View).map_err(|why| self.undecodable(why))
    }

    /// The value's bytes where they are, to read borrowed types from them: a struct with `&str` and `&[u8]` where the
    /// value has a `String`, and a `Blob` or `Vec<u8>`.
    ///
    /// ```no_run
    /// # use fdbray::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Page {
    ///     title: String,
    ///     image: Blob,
    /// }
    ///
    /// /// The same fields in the same order.
    /// #[derive(Deserialize)]
    /// struct PageRef<'a> {
    ///     title: &'a str,
    ///     image: &'a [u8],
    /// }
    ///
    /// #[remote]
    /// fn fetch(url: &str) -> Page {
    ///     # let image = Blob::default();
    ///     # let title = url.to_owned();
    ///     // ..
    ///     Page { title, image }
    /// }
    ///
    /// # async fn f() -> fdbray::Result<()> {
    /// let page = fetch::remote("https://example.org").in_place().await?;
    /// let PageRef { title, image } = page.read()?; // borrows from `page`
    /// println!("{title}: {} bytes", image.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The error that ended the call.
    pub async fn in_place(&self) -> Result<InPlace<T>> {
        Ok(InPlace { payload: self.payload().await?, future: self.clone() })
    }

    async fn payload(&self) -> Result<Payload> {
        poll_fn(|cx| self.handle().poll(cx)).await
    }
}

/// A value that is read where it lies, which it keeps there. Made by [`RemoteFuture::view`].
pub struct View<B: ?Sized>(Lent<B>);

impl<B: ?Sized> Deref for View<B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B: ?Sized> AsRef<B> for View<B> {
    fn as_ref(&self) -> &B {
        self
    }
}

impl<B: fmt::Debug + ?Sized> fmt::Debug for View<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The encoded bytes of a `T` where they lie, which it keeps there. Made by [`RemoteFuture::in_place`].
pub struct InPlace<T> {
    payload: Payload,
    future: RemoteFuture<T>,
}

impl<T> InPlace<T> {
    /// Decodes a `B`, which may borrow: strings and bytes are not copied. A `B` is encoded as a `T` is: it has the same
    /// fields in the same order, of the same types or what these lend.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) when the bytes do not hold a `B`.
    pub fn read<'a, B: Deserialize<'a>>(&'a self) -> Result<B> {
        let source = || Source::Object(self.future.handle().clone());
        decode(&self.payload, source).map_err(|why| self.future.undecodable(why))
    }
}

impl<T> fmt::Debug for InPlace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InPlace({:?})", self.payload)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Blob, Slab, put};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Page {
        title: String,
        image: Blob,
        numbers: Slab<f32>,
        rest: Vec<u8>,
    }

    #[derive(Deserialize)]
    struct PageRef<'a> {
        title: &'a str,
        image: &'a [u8],
        numbers: Slab<f32>,
        rest: &'a [u8],
    }

    fn page(len: usize) -> Page {
        let numbers = vec![0.5; len].into();
        Page { title: "a title".to_owned(), image: vec![3; len].into(), numbers, rest: vec![4; len] }
    }

    #[crate::test]
    async fn values_that_lend_are_viewed() -> crate::Result<()> {
        let text = put(&"text".repeat(1000))?.view().await?;
        assert!(text.starts_with("texttext") && text.len() == 4000);
        let bytes = put(&vec![7_u8; 100_000])?.view().await?;
        assert_eq!(bytes[99_999], 7);
        let blob = put(&Blob::from(vec![7; 100_000]))?;
        let (view, again) = (blob.view().await?, blob.await?);
        assert_eq!((view.as_ptr(), view[7]), (again.as_ptr(), 7), "it was copied");
        let slab = put(&Slab::from(vec![1.5_f64; 100_000]))?;
        let (view, again) = (slab.view().await?, slab.await?);
        assert_eq!((view.as_ptr(), view[7]), (again.as_ptr(), 1.5), "it was copied");
        assert_eq!(*put(&vec!["a".to_owned()])?.view().await?, ["a"]);
        Ok(())
    }

    #[crate::test]
    async fn structs_are_read_in_place_whatever_their_size() -> crate::Result<()> {
        for len in [0, 10, 100_000] {
            let page = page(len);
            let held = put(&page)?.in_place().await?;
            let (read, again): (PageRef<'_>, PageRef<'_>) = (held.read()?, held.read()?);
            assert_eq!((read.title, read.image, read.rest), ("a title", &page.image[..], &page.rest[..]));
            assert_eq!(read.numbers, page.numbers);
            if len > 1000 {
                assert_eq!(read.image.as_ptr(), again.image.as_ptr(), "it was copied");
                assert_eq!(read.numbers.as_ptr(), again.numbers.as_ptr(), "it was copied");
            }
            let owned: Page = held.read()?;
            assert_eq!(owned.image, page.image);
        }
        Ok(())
    }

    #[crate::test]
    async fn what_cannot_be_viewed_says_why() -> crate::Result<()> {
        let held = put(&1_u8)?.in_place().await?;
        assert!(held.read::<&str>().unwrap_err().to_string().contains("could not be decoded"));
        Ok(())
    }
}
