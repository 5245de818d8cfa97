//! The attribute macros of fdbray; use them through the crate `fdbray`, which documents them with examples.
//!
//! Each attribute parses its item into a validated model ([`model`], [`options`]), collecting everything that is wrong
//! with it, and expands from the model alone ([`remote`], [`main_fn`], [`test_fn`]). Expanded code reaches fdbray
//! through `::fdbray::__private` only.

mod diagnostics;
mod main_fn;
mod model;
mod options;
mod remote;
mod test_fn;

use proc_macro::TokenStream;

/// Makes a function callable in other processes: `add(1, 2)` stays, `add::remote(1, 2)` is added.
///
/// See `fdbray::remote`.
#[proc_macro_attribute]
pub fn remote(attribute: TokenStream, item: TokenStream) -> TokenStream {
    remote::expand(attribute.into(), item.into()).into()
}

/// Makes an `async fn main()` the driver of a cluster, and the same program its workers.
///
/// See `fdbray::main`.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(attribute.into(), item.into()).into()
}

/// Runs an `async fn` as a test in a process of its own, with a private cluster of its own.
///
/// See `fdbray::test`.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    test_fn::expand(attribute.into(), item.into()).into()
}
