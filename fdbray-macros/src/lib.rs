//! The attribute macros of fdbray; use them through the crate `fdbray`, which documents them with examples.
//!
//! Each attribute parses its item into a validated model (`model`, `options`), collecting everything that is wrong with
//! it, and expands from the model alone (`remote`, `actor`, `main_fn`, `test_fn`; `registered` for what workers run). Expanded
//! code reaches fdbray through `::fdbray::__private` only.

// The attributes are documented where `fdbray` re-exports them, which adds what is said here.
#![allow(missing_docs)]

mod actor;
mod diagnostics;
mod main_fn;
mod model;
mod options;
mod registered;
mod remote;
mod test_fn;

use proc_macro::TokenStream;

#[proc_macro_attribute]
pub fn remote(attribute: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(attribute.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn actor(attribute: TokenStream, item: TokenStream) -> TokenStream {
    actor::expand(attribute.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(attribute.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    test_fn::expand(attribute.into(), item.into()).into()
}
