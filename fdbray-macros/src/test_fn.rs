//! `#[fdbray::test]`: a `#[test]` that runs the test binary again for itself.

use crate::{
    diagnostics::Diagnostics,
    options::{Pair, pairs},
};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Error, ItemFn, Result, parse2, spanned::Spanned};

/// The test, or everything that is wrong with it.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let (workers, cpus) = options(attribute, &mut diagnostics);
    let function: ItemFn = match parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = Error::new(error.span(), "`#[fdbray::test]` goes on an `async fn`");
            let error = error.into_compile_error();
            return quote!(#item #error);
        }
    };
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        diagnostics.at(signature.fn_token, "`#[fdbray::test]` goes on an `async fn`; add `async`");
    }
    if !signature.inputs.is_empty() {
        diagnostics.at(&signature.inputs, "a test has no parameters");
    }
    if !signature.generics.params.is_empty() {
        diagnostics.at(&signature.generics, "a test cannot be generic");
    }
    for attribute in function.attrs.iter().filter(|a| a.path().is_ident("test")) {
        diagnostics.at(attribute, "`#[fdbray::test]` makes this a test already; remove `#[test]`");
    }
    if let Some(errors) = diagnostics.into_tokens() {
        return errors;
    }
    let ItemFn { attrs, vis, sig, block } = &function;
    let (name, output) = (&sig.ident, &sig.output);
    let span = match output {
        syn::ReturnType::Default => name.span(),
        syn::ReturnType::Type(_, ty) => ty.span(),
    };
    let run = quote_spanned!(span=> ::fdbray::__private::test(&__TEST, __fdbray_test));
    quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() {
            async fn __fdbray_test() #output #block
            const __TEST: ::fdbray::__private::Test = ::fdbray::__private::Test {
                path: ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                workers: #workers,
                cpus: #cpus,
            };
            #run
        }
    }
}

/// Expressions of type `Option<u32>`.
fn options(attribute: TokenStream, diagnostics: &mut Diagnostics) -> (TokenStream, TokenStream) {
    let mut workers = quote!(::core::option::Option::None);
    let mut cpus = workers.clone();
    let mut set = |pair: &Pair| -> Result<()> {
        let (field, example) = match pair.key.to_string().as_str() {
            "workers" => (&mut workers, "workers = 2"),
            "cpus" => (&mut cpus, "cpus = 2"),
            other => return Err(pair.unknown(other, "`workers` and `cpus`")),
        };
        let n = pair.count(example)?;
        *field = quote!(::core::option::Option::Some(#n));
        Ok(())
    };
    for pair in pairs(attribute, diagnostics) {
        if let Err(error) = set(&pair) {
            diagnostics.push(error);
        }
    }
    (workers, cpus)
}
